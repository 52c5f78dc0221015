"""The server on a real socket: how the socket comes and goes, and that nobody can hold it up."""

import grp
import json
import logging
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.control.served import Served, all_of, busy, connected
from tests.support.control import ask
from tests.support.files import wait_for
from tusd_agent.control.arrivals import MAX_ARRIVING, MAX_BODY_BYTES, MAX_HELD_BYTES, MAX_REQUEST_BYTES
from tusd_agent.control.replies import Status
from tusd_agent.control.server import ControlServer, SocketInUse, SocketUnusable

REQUEST = b"GET /v1/status HTTP/1.1\r\nHost: agent\r\n\r\n"


def exchange(path: Path, request: bytes) -> tuple[int, dict[str, object]]:
    """Status and body of the answer to raw bytes."""
    with connected(path) as connection:
        connection.sendall(request)
        head, _, body = all_of(connection).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.fixture
def hasty(served: Served) -> Iterator[Path]:
    """The socket of a server that gives a request half a second."""
    server = ControlServer(served.socket, served.commands, deadline_seconds=0.5)
    server.start()
    yield served.socket
    server.stop()


# The socket's file.


def test_only_user_and_group_may_connect(served: Served) -> None:
    before = os.umask(0)
    try:
        served.server.start()
        assert os.umask(0) == 0, "the umask is what it was"
    finally:
        os.umask(before)
    found = served.socket.stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o660


def test_a_missing_folder_is_made_and_others_can_not_enter_it(served: Served) -> None:
    path = served.short / "run" / "control.sock"
    server = ControlServer(path, served.commands)
    server.start()
    try:
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750
        assert ask(path, "GET", "/v1/status")[0] == 200
    finally:
        server.stop()


def test_the_group_gets_the_socket(served: Served) -> None:
    group = grp.getgrgid(os.getgid()) if os.getuid() else grp.getgrnam("daemon")
    path = served.short / "run" / "control.sock"
    server = ControlServer(path, served.commands, group=group.gr_name)
    server.start()
    try:
        assert (path.stat().st_gid, path.parent.stat().st_gid) == (group.gr_gid, group.gr_gid)
    finally:
        server.stop()


def test_an_unknown_group_is_said(served: Served) -> None:
    server = ControlServer(served.socket, served.commands, group="no-such-group")
    with pytest.raises(SocketUnusable, match="no group 'no-such-group'") as raised:
        server.start()
    assert raised.value.exit_code == 78
    assert not served.socket.exists()


def test_a_dead_socket_is_replaced(served: Served) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(served.socket))
    served.server.start()
    assert ask(served.socket, "GET", "/v1/status")[0] == 200


def test_a_live_socket_is_never_touched(served: Served) -> None:
    served.server.start()
    inode = served.socket.stat().st_ino
    with pytest.raises(SocketInUse, match=str(served.socket)):
        ControlServer(served.socket, served.commands).start()
    assert served.socket.stat().st_ino == inode
    assert ask(served.socket, "GET", "/v1/status")[0] == 200


def test_a_live_socket_that_accepts_nobody_is_never_touched(served: Served) -> None:
    with ExitStack() as open_now:
        busy = open_now.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        busy.bind(str(served.socket))
        busy.listen(0)
        open_now.enter_context(connected(served.socket))
        with pytest.raises(SocketInUse):
            served.server.start()
    assert served.socket.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_never_removed(served: Served, kind: str) -> None:
    if kind == "file":
        served.socket.write_text("precious")
    elif kind == "folder":
        served.socket.mkdir()
    else:
        served.socket.symlink_to("elsewhere")
    with pytest.raises(SocketUnusable, match="is no socket"):
        served.server.start()
    assert os.path.lexists(served.socket)


def test_a_path_too_long_for_the_kernel_is_said(served: Served) -> None:
    path = served.short / ("x" * (108 - len(str(served.short)) - 1))
    with pytest.raises(SocketUnusable, match="108 bytes long, the kernel takes 107"):
        ControlServer(path, served.commands).start()
    longest = Path(str(path)[:-1])
    server = ControlServer(longest, served.commands)
    server.start()
    server.stop()


def test_a_folder_that_can_not_be_made_is_said(served: Served) -> None:
    (served.short / "file").touch()
    with pytest.raises(SocketUnusable, match="can't be made"):
        ControlServer(served.short / "file" / "control.sock", served.commands).start()


def test_stop_removes_the_socket_and_can_be_repeated(served: Served) -> None:
    served.server.start()
    served.server.stop()
    served.server.stop()
    assert not served.socket.exists()
    served.server.start()
    assert ask(served.socket, "GET", "/v1/status")[0] == 200


def test_stop_leaves_the_socket_of_somebody_else(served: Served) -> None:
    served.server.start()
    served.socket.unlink()
    other = ControlServer(served.socket, served.commands)
    other.start()
    try:
        served.server.stop()
        assert ask(served.socket, "GET", "/v1/status")[0] == 200
    finally:
        other.stop()


# Requests.


def test_an_answer_is_json_and_ends_the_connection(served: Served) -> None:
    served.server.start()
    with connected(served.socket) as connection:
        connection.sendall(REQUEST)
        answer = all_of(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert {"Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close"} <= set(lines)
    assert json.loads(body) == served.status()


def test_a_wrong_method_gets_allow_and_a_body_is_no_trouble(served: Served) -> None:
    served.server.start()
    with connected(served.socket) as connection:
        body = b"x" * 300_000
        connection.sendall(b"POST /v1/status HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        answer = all_of(connection)
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow: GET\r\n" in answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /" + b"x" * MAX_REQUEST_BYTES + b" HTTP/1.1\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET /v1/status HTTP/1.1\r\nX: " + b"y" * MAX_REQUEST_BYTES + b"\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
    ids=["line", "headers", "one header", "many headers"],
)
def test_an_oversized_request_is_refused(served: Served, request_bytes: bytes) -> None:
    served.server.start()
    status, body = exchange(served.socket, request_bytes)
    assert status == 431
    assert body["message"]
    assert exchange(served.socket, REQUEST)[0] == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\x1b[31m\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
        b"GET\r\n\r\n",
        b"GET /v1/status HTTP/9.9\r\n\r\n",
        b"GET /v1/status FTP/1.0\r\n\r\n",
        b"GET  /v1/status  HTTP/1.1 x\r\n\r\n",
    ],
)
def test_garbage_gets_an_error_and_does_no_harm(
    served: Served, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    served.server.start()
    status, body = exchange(served.socket, garbage)
    assert status in (400, 505)
    assert set(body) == {"code", "message", "hint"}
    assert exchange(served.socket, REQUEST)[0] == 200
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_a_connection_that_says_nothing_and_goes_is_no_trouble(served: Served) -> None:
    served.server.start()
    connected(served.socket).close()
    with connected(served.socket) as connection:
        connection.sendall(b"\r\n")
        connection.shutdown(socket.SHUT_WR)
        assert all_of(connection) == b""
    assert exchange(served.socket, REQUEST)[0] == 200


@pytest.mark.parametrize("begun", [b"", b"GET /v1/st", b"GET /v1/status HTTP/1.1\r\nHost: ag"])
def test_half_a_request_is_cut_at_the_deadline(hasty: Path, begun: bytes) -> None:
    with connected(hasty, 20) as connection:
        began = time.monotonic()
        connection.sendall(begun)
        answer = all_of(connection)
        assert 0.4 < time.monotonic() - began < 15
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_request_that_drips_is_cut_at_the_deadline_too(hasty: Path) -> None:
    with connected(hasty) as connection:
        began = time.monotonic()
        answer = b""
        connection.settimeout(0.02)
        while not answer:
            assert time.monotonic() - began < 15, "each byte has won it a new deadline"
            try:
                connection.send(b"G")
                answer = connection.recv(100)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_thirty_at_once_all_get_an_answer(served: Served) -> None:
    served.server.start()
    start = threading.Barrier(30)
    answers: list[int] = []

    def visit() -> None:
        start.wait()
        answers.append(exchange(served.socket, REQUEST)[0])

    threads = [threading.Thread(target=visit) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(answers) == 30
    assert set(answers) <= {200, 503}
    assert 200 in answers
    assert exchange(served.socket, REQUEST)[0] == 200


def test_who_says_nothing_keeps_nobody_waiting(served: Served) -> None:
    server = ControlServer(served.socket, served.commands, deadline_seconds=60)
    server.start()
    try:
        with ExitStack() as open_now:
            for begun in [b"", b"GET /v1/st", b"POST /v1/rescan HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"] * 60:
                open_now.enter_context(connected(served.socket)).sendall(begun)
            before = threading.active_count()
            assert exchange(served.socket, REQUEST)[0] == 200
            assert threading.active_count() <= before + 1
    finally:
        server.stop()


def test_of_too_many_that_say_nothing_the_oldest_are_refused(served: Served) -> None:
    served.server.start()
    with ExitStack() as open_now:
        first = open_now.enter_context(connected(served.socket))
        for _ in range(MAX_ARRIVING):
            open_now.enter_context(connected(served.socket))
        assert exchange(served.socket, REQUEST)[0] == 200
        assert all_of(first).startswith(b"HTTP/1.1 503 ")


def test_of_bodies_that_do_not_end_the_largest_are_refused(served: Served) -> None:
    served.server.start()
    body = b"x" * (MAX_BODY_BYTES - 1)
    with ExitStack() as open_now:
        slow = []
        for _ in range(1 + MAX_HELD_BYTES // len(body)):
            slow.append(open_now.enter_context(connected(served.socket, 20)))
            with suppress(BrokenPipeError):
                slow[-1].sendall(b"POST /v1/rescan HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % MAX_BODY_BYTES + body)
        assert exchange(served.socket, REQUEST)[0] == 200
        assert select.select(slow, [], [], 5)[0], "one of them was answered before its time"


def test_who_does_not_take_the_answer_keeps_nobody_waiting(served: Served) -> None:
    served.reasons = ["x" * 3_000_000]
    server = ControlServer(served.socket, served.commands, deadline_seconds=20, max_connections=2, max_waiting=50)
    server.start()
    try:
        with ExitStack() as open_now:
            idle = [open_now.enter_context(connected(served.socket, 20)) for _ in range(10)]
            for number, connection in enumerate(idle):
                connection.sendall(REQUEST if number < 4 else b"nonsense\n" + b"x" * 10_000)
            began = time.monotonic()
            assert exchange(served.socket, REQUEST.replace(b"/v1/status", b"/v1/jobs"))[0] == 200
            assert time.monotonic() - began < 5
            assert json.loads(all_of(idle[0]).partition(b"\r\n\r\n")[2])["reasons"] == served.reasons
            assert all_of(idle[9]).startswith(b"HTTP/1.1 400 ")
    finally:
        server.stop()


def test_an_answer_that_nobody_takes_does_not_hold_up_the_stop(served: Served) -> None:
    served.reasons = ["x" * 3_000_000]
    server = ControlServer(served.socket, served.commands, deadline_seconds=0.5)
    server.start()
    with connected(served.socket) as idle:
        idle.sendall(REQUEST)
        assert idle.recv(1) == b"H"
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 10
        wait_for(lambda: not [each for each in threading.enumerate() if each.name.startswith("control")], 5, "the end")


def test_of_answers_that_nobody_takes_some_are_cut(served: Served) -> None:
    served.reasons = ["x" * 3_000_000]
    served.server.start()
    with ExitStack() as open_now:
        idle = [open_now.enter_context(connected(served.socket)) for _ in range(12)]
        for connection in idle:
            connection.sendall(REQUEST)
        whole = [len(all_of(connection)) > 3_000_000 for connection in idle]
    assert 4 <= whole.count(True) <= 11


def test_one_request_too_many_is_refused_at_once_and_room_comes_back(served: Served) -> None:
    with busy(served):
        status, body = exchange(served.socket, REQUEST)
        assert (status, body["code"]) == (503, "busy")
    served.server.start()
    assert exchange(served.socket, REQUEST)[0] == 200


def test_an_error_of_the_program_stays_in_the_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Status:
        raise OSError("the secret of the house")

    served.commands.status = broken
    served.server.start()
    status, body = exchange(served.socket, REQUEST)
    assert (status, body["code"]) == (500, "internal")
    assert "secret" not in json.dumps(body)
    wait_for(lambda: "the secret of the house" in caplog.text, 5, "the log has it")


def test_an_answer_that_is_no_json_is_an_error_of_the_program(served: Served) -> None:
    served.commands.status = lambda: {"now": float("nan")}  # type: ignore[typeddict-item]  # on purpose
    served.server.start()
    assert exchange(served.socket, REQUEST)[0] == 500


def test_half_surrogates_reach_the_other_side_as_valid_json(served: Served) -> None:
    served.reasons = ["/srv/\udcff"]
    served.server.start()
    assert exchange(served.socket, REQUEST)[1]["reasons"] == ["/srv/\udcff"]


def test_stop_lets_an_answer_finish_and_cuts_who_has_not_asked(served: Served) -> None:
    asked, go_on = threading.Event(), threading.Event()
    plain = served.status

    def slow() -> Status:
        asked.set()
        assert go_on.wait(10)
        return plain()

    served.commands.status = slow
    server = ControlServer(served.socket, served.commands, deadline_seconds=30)
    server.start()
    with connected(served.socket) as asking, connected(served.socket) as silent:
        asking.sendall(REQUEST)
        assert asked.wait(10)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        with suppress(ConnectionResetError):  # as it is for one that had not been accepted yet
            assert all_of(silent) == b""
        with pytest.raises(OSError, match=r"."):
            connected(served.socket)
        go_on.set()
        assert all_of(asking).startswith(b"HTTP/1.1 200 ")
        stopping.join(10)
        assert not stopping.is_alive()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("control")]


def test_requests_are_logged_at_debug_without_control_characters(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.server.start()
    with caplog.at_level(logging.DEBUG, "tusd_agent.control"):
        exchange(served.socket, b"GET /v1/\x1b[31m HTTP/1.1\r\n\r\n")
    assert "GET /v1/\\x1b[31m HTTP/1.1: 404" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
