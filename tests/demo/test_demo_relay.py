"""The relay of the demonstration: it counts what goes by, cuts once, and in an order that lets a client resume."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import Server
from tests.support import files
from tests.support.ports import ReservedPort
from tusd_agent import TUSClient
from tusd_agent.demo.overheard import Listener
from tusd_agent.demo.relay import BLOCK_BYTES, HOST, Relay

SIZE = 3_000_000
CUT = 1_000_000
SECONDS = 20


@pytest.fixture
def in_front() -> Iterator[Callable[..., Relay]]:
    """Puts a relay in front of a port: ``in_front(port, cut_after_bytes)``."""
    relays = []

    def put(port: int, cut_after_bytes: int | None = None) -> Relay:
        relay = Relay(port, cut_after_bytes)
        relays.append(relay)
        relay.start()
        return relay

    yield put
    for each in relays:
        each.stop()


def client(relay: Relay) -> TUSClient:
    return TUSClient(f"http://{HOST}:{relay.port}/files/", retry_delay=0.1)


def connected(relay: Relay) -> socket.socket:
    return socket.create_connection((HOST, relay.port), timeout=SECONDS)


def read_to_the_end(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def patch(length_bytes: int) -> bytes:
    return f"PATCH /files/x HTTP/1.1\r\nUpload-Offset: 0\r\nContent-Length: {length_bytes}\r\n\r\n".encode()


def test_what_goes_by_is_counted(embedded_server: Server, in_front: Callable[..., Relay], tmp_path: Path) -> None:
    relay = in_front(embedded_server.port)
    digest = files.write(tmp_path / "file", SIZE)
    result = client(relay).upload(tmp_path / "file")
    path = result.url.removeprefix(f"http://{HOST}:{relay.port}")
    assert relay.body_bytes(path) == SIZE
    assert relay.body_bytes("/files/another") == 0
    assert [each.method for each in relay.requests()] == ["POST", "PATCH"]
    assert relay.cut is None
    assert relay.resumed is None
    assert [upload.sha256() for upload in embedded_server.stored()] == [digest]


def test_the_cut_comes_once_and_is_survived(
    embedded_server: Server, in_front: Callable[..., Relay], tmp_path: Path
) -> None:
    relay = in_front(embedded_server.port, CUT)
    digest = files.write(tmp_path / "file", SIZE)
    sender = client(relay)
    result = sender.upload(tmp_path / "file")
    assert result.attempts == 2
    assert relay.cut is not None
    assert relay.resumed is not None
    assert CUT <= relay.cut.sent_bytes < CUT + BLOCK_BYTES
    assert 0 < relay.resumed.offset_bytes < relay.cut.sent_bytes
    assert relay.resumed.at > relay.cut.at
    assert relay.body_bytes(relay.cut.path) - SIZE == relay.cut.sent_bytes - relay.resumed.offset_bytes
    assert [upload.sha256() for upload in embedded_server.stored()] == [digest]

    assert sender.upload(tmp_path / "file").attempts == 1


def test_the_other_connections_are_left_alone(embedded_server: Server, in_front: Callable[..., Relay]) -> None:
    relay = in_front(embedded_server.port, CUT)
    with connected(relay) as idle:
        idle.sendall(b"OPTIONS /files/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(1) == b"H"
        client(relay).upload_bytes(bytes(SIZE), "file")
        assert relay.cut is not None
        idle.sendall(b"OPTIONS /files/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        read_to_the_end(idle)  # a reset would raise ConnectionResetError


def test_the_client_learns_of_the_cut_only_when_the_server_has(in_front: Callable[..., Relay]) -> None:
    """Else it would be back, and be told an offset, before the server has stored what came last."""
    happened: list[str] = []
    client_knows = threading.Event()
    listening = socket.create_server((HOST, 0))

    def server() -> None:
        connection, _ = listening.accept()
        with connection:
            while connection.recv(BLOCK_BYTES):
                pass
            client_knows.wait(0.3)
            happened.append("server closes")

    thread = threading.Thread(target=server)
    thread.start()
    relay = in_front(listening.getsockname()[1], CUT)
    with connected(relay) as sending:
        sending.sendall(patch(SIZE) + bytes(CUT))
        with pytest.raises(ConnectionResetError):
            sending.recv(1)
        happened.append("client is reset")
        client_knows.set()
    thread.join(SECONDS)
    listening.close()
    assert happened == ["server closes", "client is reset"]


def test_without_a_server_the_client_is_reset(in_front: Callable[..., Relay]) -> None:
    nobody = ReservedPort()
    relay = in_front(nobody.number)
    with pytest.raises(ConnectionResetError), connected(relay) as sending:
        sending.recv(1)
    nobody.release()


def test_stop_leaves_nothing(embedded_server: Server) -> None:
    before = set(threading.enumerate())
    relay = Relay(embedded_server.port)
    relay.stop()
    relay.start()
    with connected(relay) as open_one:
        open_one.sendall(patch(SIZE)[:10])
        relay.stop()
        relay.stop()
        assert set(threading.enumerate()) - before == set()
        with pytest.raises(ConnectionRefusedError):
            connected(relay)


@pytest.mark.parametrize("step", [1, 2, 7, 64, 10_000])
def test_requests_are_understood_however_they_are_split(step: int) -> None:
    head = b"POST /files/ HTTP/1.1\r\nUpload-Length: 300\r\nContent-Length: 0\r\n\r\n"
    body = b"PATCH /files/x HTTP/1.1\r\nupload-offset: 40\r\ncontent-length: 300\r\n\r\n" + b"\r\n\r\n" * 75
    stream = head + body + b"HEAD /files/x HTTP/1.1\r\n\r\n"
    listener, begun = Listener(), []
    for start in range(0, len(stream), step):
        begun += listener.hear(stream[start : start + step])
    assert [(each.method, each.path, each.offset_bytes, each.body_bytes) for each in begun] == [
        ("POST", "/files/", 0, 0),
        ("PATCH", "/files/x", 40, 300),
        ("HEAD", "/files/x", 0, 0),
    ]
    assert listener.request is begun[-1]
