"""The client: an answer, or an error that says which of the many ways of not answering it was."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.control.served import Served, busy, connected
from tusd_agent.control.client import ControlClient, ControlError, NoAnswer, NotAllowed, NotRunning

NOBODY = 65534


@contextmanager
def listening(path: Path, *, answer: bytes | None) -> Iterator[None]:
    """Somebody who reads a request and sends `answer`; None: who reads it and says nothing."""
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            if answer is None:
                over.wait(30)
            else:
                connection.sendall(answer)

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(10)


@contextmanager
def nobody() -> Iterator[None]:
    """The effective user is one that may do nothing in particular."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_parameters_arrive(served: Served) -> None:
    served.enqueue(b"a", b"b", b"c")
    served.fail()
    served.server.start()
    client = ControlClient(served.socket)
    assert client.get("/v1/status")["version"] == "1.2.3"
    page = client.get("/v1/jobs", {"state": ["failed", "pending"], "limit": 2})
    assert [job["id"] for job in page["jobs"]] == [3, 2]


def test_an_error_of_the_agent_is_raised_with_all_it_says(served: Served) -> None:
    served.server.start()
    with pytest.raises(ControlError, match="there is no job 7") as raised:
        ControlClient(served.socket).get("/v1/jobs/7")
    assert (raised.value.code, raised.value.status) == ("no_such_job", 404)
    assert "GET /v1/jobs" in raised.value.hint


def test_no_socket_and_a_dead_one_are_an_agent_that_does_not_run(served: Served) -> None:
    client = ControlClient(served.socket)
    with pytest.raises(NotRunning, match=str(served.socket)):
        client.get("/v1/status")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(served.socket))
    with pytest.raises(NotRunning):
        client.get("/v1/status")
    with pytest.raises(NotRunning):
        ControlClient(served.socket / "below").get("/v1/status")
    with pytest.raises(NotRunning, match="too long"):
        ControlClient(served.short / ("x" * 200)).get("/v1/status")


def test_who_may_not_connect_is_told_who_may(served: Served) -> None:
    served.server.start()
    os.chmod(served.short, 0o755)
    os.chmod(served.socket, 0o000)
    with nobody(), pytest.raises(NotAllowed) as raised:
        ControlClient(served.socket).get("/v1/status")
    assert "socket_group" in raised.value.hint


def test_silence_ends_with_the_timeout(served: Served) -> None:
    with listening(served.socket, answer=None), pytest.raises(NoAnswer, match=r"within 0\.2 s"):
        ControlClient(served.socket, timeout_seconds=0.2).get("/v1/status")


def test_an_agent_that_accepts_nobody_does_not_answer(served: Served) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stuck:
        stuck.bind(str(served.socket))
        stuck.listen(0)
        with connected(served.socket), pytest.raises(NoAnswer):
            ControlClient(served.socket, timeout_seconds=0.2).get("/v1/status")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.9\r\n",
    ],
)
def test_a_cut_answer_is_none(served: Served, answer: bytes) -> None:
    with listening(served.socket, answer=answer), pytest.raises(NoAnswer, match=r"was cut|is no tusd-agent"):
        ControlClient(served.socket).get("/v1/status")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"\xff"])
def test_somebody_else_on_the_socket_is_said(served: Served, body: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with listening(served.socket, answer=answer), pytest.raises(NoAnswer, match="no tusd-agent"):
        ControlClient(served.socket).get("/v1/status")


def test_a_busy_agent_says_so(served: Served) -> None:
    with busy(served), pytest.raises(ControlError, match="too many requests") as raised:
        ControlClient(served.socket).get("/v1/status")
    assert raised.value.status == 503
