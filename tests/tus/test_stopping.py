"""A call stops within a second wherever it is: cancel, deadline, idle timeout."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from tusd_agent.tus import BytesSource, DeadlineExceeded, TUSClient, UploadCancelled, UploadInterrupted
from tusd_agent.tus.patience import Watch, stepping_aside

from .conftest import quick
from .fault_server import Fault, FaultServer

BIG = BytesSource(bytes(16 << 20))
SMALL = BytesSource(bytes(1000))


class Stopper:
    """Sets `cancel` once `ready` returned, and remembers when."""

    def __init__(self, ready: Callable[[], object]) -> None:
        self.cancel = threading.Event()
        self.set_at = 0.0
        self._ready = ready
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._ready()
        self.set_at = time.monotonic()
        self.cancel.set()

    def took_seconds(self) -> float:
        self._thread.join(10)
        return time.monotonic() - self.set_at


@contextmanager
def silent_listener(backlog: int = 5) -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as listener:
        yield listener


@pytest.mark.parametrize(
    ("method", "fault", "source"),
    [
        ("PATCH", Fault(read=1000, stall=True), BIG),
        ("PATCH", Fault(stall=True), SMALL),
        ("POST", Fault(stall=True), SMALL),
        ("PATCH", Fault(status=503, headers={"Retry-After": "1000"}), SMALL),
        ("PATCH", Fault(status=503, headers={"Retry-After": "1000"}, stall=True), BIG),
    ],
    ids=["in the body", "waiting for the answer", "creating", "between attempts", "answer late"],
)
def test_cancel(server: FaultServer, client: TUSClient, method: str, fault: Fault, source: BytesSource) -> None:
    server.fail(method, fault)
    stopper = Stopper(lambda: server.wait_for(method))
    with pytest.raises(UploadCancelled):
        client.send(source, cancel=stopper.cancel)
    assert stopper.took_seconds() < 1.0


def test_cancel_while_connecting() -> None:
    with silent_listener(backlog=0) as listener:
        address = listener.getsockname()
        fillers = []
        try:
            for _ in range(4):  # beyond the backlog the kernel lets connection attempts wait
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(address)
                fillers.append(filler)
            stopper = Stopper(lambda: time.sleep(0.1))
            with quick(f"http://127.0.0.1:{address[1]}/") as client, pytest.raises(UploadCancelled):
                client.send(SMALL, cancel=stopper.cancel)
            assert stopper.took_seconds() < 1.0
        finally:
            for filler in fillers:
                filler.close()


def dribble(listener: socket.socket, over: threading.Event) -> None:
    """Answers the first request, a byte at a time, without ever coming to an end."""
    connection, _ = listener.accept()
    with connection, suppress(OSError):
        connection.sendall(b"HTTP/1.1 201 Created\r\nX-Long: ")
        while not over.wait(0.05):
            connection.sendall(b"x")


@pytest.mark.parametrize("stopped_by", ["cancel", "deadline"])
def test_an_answer_that_never_ends_is_called_off(stopped_by: str) -> None:
    over = threading.Event()
    with silent_listener() as listener, quick(f"http://127.0.0.1:{listener.getsockname()[1]}/") as client:
        dribbling = threading.Thread(target=dribble, args=(listener, over))
        dribbling.start()
        begun = time.monotonic()
        try:
            if stopped_by == "deadline":
                with pytest.raises(DeadlineExceeded):
                    client.create(5, deadline=0.5)
            else:
                cancel = threading.Event()
                threading.Timer(0.5, cancel.set).start()
                with pytest.raises(UploadCancelled):
                    client.create(5, cancel=cancel)
        finally:
            over.set()
            dribbling.join(10)
        assert time.monotonic() - begun < 1.5


def test_a_short_patience_with_connecting_is_none_with_the_body(server: FaultServer) -> None:
    server.fail("PATCH", Fault(read=1000, stall=True))
    threading.Timer(1.5, server.release.set).start()
    with quick(server.endpoint, connect_timeout=0.3, max_retries=0) as client:
        client.send(BIG)
    assert len(server.only().data) == BIG.size


def test_cancel_in_the_tls_handshake() -> None:
    with silent_listener() as listener:
        accepted: list[socket.socket] = []
        stopper = Stopper(lambda: accepted.append(listener.accept()[0]))
        with quick(f"https://127.0.0.1:{listener.getsockname()[1]}/") as client, pytest.raises(UploadCancelled):
            client.send(SMALL, cancel=stopper.cancel)
        assert stopper.took_seconds() < 1.0
        accepted[0].close()


class Aside:
    """Whether the thread that waits has stepped aside."""

    def __init__(self) -> None:
        self.times = 0
        self.now = threading.Event()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self.times += 1
        self.now.set()
        yield
        self.now.clear()


def test_who_waits_for_an_answer_steps_aside(server: FaultServer, client: TUSClient) -> None:
    server.fail("POST", Fault(stall=True))
    aside = Aside()

    def send() -> None:
        with stepping_aside(aside):
            client.send(SMALL)
        client.send(SMALL)

    thread = threading.Thread(target=send)
    thread.start()
    server.wait_for("POST")
    assert aside.now.wait(10)
    server.release.set()
    thread.join(10)
    assert aside.times >= 2, "for each answer, and not any more when nobody wants it"
    assert not aside.now.is_set()
    assert server.methods() == "POST PATCH POST PATCH"


def test_who_waits_for_the_tls_handshake_steps_aside() -> None:
    aside = Aside()
    with silent_listener() as listener:
        accepted: list[socket.socket] = []

        def hang_up() -> None:
            accepted.append(listener.accept()[0])
            assert aside.now.wait(10)
            accepted[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        with quick(url, max_retries=0) as client, stepping_aside(aside), pytest.raises(UploadInterrupted):
            client.create(1)
        thread.join(10)


def test_cancelled_before_it_began_makes_no_request(server: FaultServer, client: TUSClient) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(UploadCancelled):
        client.send(SMALL, cancel=cancel)
    assert server.requests == []


def test_what_was_cancelled_can_be_resumed(server: FaultServer, client: TUSClient) -> None:
    cancel = threading.Event()

    def stop_at_some_point(sent: int, acknowledged: int) -> None:
        if sent > BIG.size // 2:
            cancel.set()

    with pytest.raises(UploadCancelled) as caught:
        client.send(BIG, cancel=cancel, on_progress=stop_at_some_point)
    url = caught.value.url
    assert url is not None
    result = client.send(BIG, upload_url=url)
    assert result.size == BIG.size
    # HEAD may come before the server has stored what was under way: then a 409 leads to another.
    assert server.methods().startswith("POST PATCH HEAD PATCH")
    assert len(server.only().data) == BIG.size


@pytest.mark.parametrize("source", [BIG, SMALL])
def test_deadline(server: FaultServer, client: TUSClient, source: BytesSource) -> None:
    server.fail("PATCH", Fault(read=0, stall=True))
    began_at = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        client.send(source, deadline=0.3)
    assert 0.3 <= time.monotonic() - began_at < 1.3


def test_a_pause_beyond_the_deadline_is_not_begun(server: FaultServer, client: TUSClient) -> None:
    server.fail("PATCH", Fault(status=503, headers={"Retry-After": "1000"}))
    with pytest.raises(DeadlineExceeded, match="resumed later"):
        client.send(SMALL, deadline=100)


@pytest.mark.parametrize("source", [BIG, SMALL])
def test_idle_timeout(server: FaultServer, source: BytesSource) -> None:
    server.fail("PATCH", Fault(read=0, stall=True))
    with (
        quick(server.endpoint, timeout=0.5, max_retries=0) as client,
        pytest.raises(UploadInterrupted, match="no bytes moved"),
    ):
        client.send(source)


def test_a_slow_upload_is_no_idle_one(server: FaultServer) -> None:
    """Longer than the timeout in all, never as long without movement."""
    source = BytesSource(bytes(8 * 65536))
    with quick(server.endpoint, timeout=0.5, max_retries=0) as client:
        began_at = time.monotonic()
        client.send(source, throttle=lambda count: time.sleep(0.1))
        assert time.monotonic() - began_at > 0.5


def test_an_early_answer_is_heard_while_the_server_reads_no_further(server: FaultServer, client: TUSClient) -> None:
    server.fail("PATCH", Fault(status=400, text="ERR_UPLOAD_STOPPED: enough", read=1000, linger=True))
    began_at = time.monotonic()
    with quick(server.endpoint, timeout=10.0) as client, pytest.raises(Exception, match="enough") as caught:
        client.send(BIG)
    assert type(caught.value).__name__ == "UploadRefused"
    assert time.monotonic() - began_at < 5


def test_after_an_early_answer_the_connection_is_not_used_again(server: FaultServer, client: TUSClient) -> None:
    server.fail("PATCH", Fault(status=503, read=1000, keep=1000, linger=True))
    client.send(BIG)
    first, second = server.of("PATCH")
    assert second.connection != first.connection
    assert second.headers["upload-offset"] == "1000"
    assert len(server.only().data) == BIG.size


def test_connections_are_kept(server: FaultServer, client: TUSClient) -> None:
    client.send(SMALL, chunk_size=100)
    assert {request.connection for request in server.requests} == {1}
    client.fresh_connections()
    client.send(SMALL)
    assert server.requests[-1].connection == 2


def test_a_kept_connection_that_died_is_no_failure(server: FaultServer) -> None:
    server.fail("HEAD", Fault(drop=True), Fault(drop=True))
    with quick(server.endpoint, max_retries=0) as client:
        url = client.create(10)
        with pytest.raises(UploadInterrupted):  # the second one dies on a fresh connection
            client.get_upload_info(url)
        assert server.methods() == "POST HEAD HEAD"
        assert client.get_upload_info(url).offset == 0


def test_watch_pauses_by_the_given_clock() -> None:
    now = 0.0
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    watch = Watch(deadline_seconds=10.0, clock=lambda: now, sleep=sleep)
    watch.pause(1.0)
    assert now == pytest.approx(1.0)
    assert max(slept) <= 0.25
    with pytest.raises(DeadlineExceeded):
        watch.pause(9.0)
    assert now == pytest.approx(1.0)
