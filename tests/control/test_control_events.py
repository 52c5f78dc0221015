"""Events over the control socket: told once on the disk, to those who keep up, for as long as they want to hear."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.control.served import FOLDER, Served, connected
from tests.support.files import wait_for
from tusd_agent.control import events
from tusd_agent.control.commands import Asked
from tusd_agent.control.events import Events, Listener
from tusd_agent.control.refusals import Refused
from tusd_agent.jobs.model import Place
from tusd_agent.jobs.moved import note_new
from tusd_agent.jobs.states import Event, State

REQUEST = b"GET /v1/events HTTP/1.1\r\nHost: agent\r\n\r\n"


@contextmanager
def listening(served: Served) -> Iterator[Iterator[dict[str, Any]]]:
    """The lines of a listener, the first of which has been heard."""
    with connected(served.socket, 10) as connection, connection.makefile("rb") as answer:
        connection.sendall(REQUEST)
        head = list(iter(answer.readline, b"\r\n"))
        assert head[0] == b"HTTP/1.1 200 OK\r\n"
        assert b"Content-Type: application/x-ndjson\r\n" in head
        lines = (json.loads(line) for line in answer)
        assert next(lines)["kind"] == "listening"
        yield lines


def rolled_back(served: Served) -> None:
    with served.database.transaction():
        note_new(1, Place.below(FOLDER, b"x"), State.HELD, Event.HOLD, None)
        raise ZeroDivisionError


def test_each_change_of_a_job_is_told_once_it_is_on_the_disk(served: Served) -> None:
    served.server.start()
    served.enqueue(b"before")
    with listening(served) as lines:
        served.enqueue(b"a\n")
        told = next(lines)
        assert {name: told[name] for name in ("kind", "id", "path", "from", "to", "event", "error")} == {
            "kind": "job", "id": 2, "path": f"{FOLDER}/a\\n", "from": None, "to": "pending", "event": "enqueue",
            "error": None,
        }  # fmt: skip
        with pytest.raises(ZeroDivisionError):
            rolled_back(served)
        job = served.claims.created(served.claim(), "http://localhost/1")
        served.claims.progress(job, 5, None)
        served.claims.fail(job, "403\x1b", 300.0, "refused")
        more = [next(lines) for _ in range(3)]
        assert [(each["from"], each["event"], each["to"]) for each in more] == [
            ("pending", "claim", "uploading"),
            ("uploading", "created", "uploading"),
            ("uploading", "fail", "failed"),
        ]
        assert (more[2]["error"], more[2]["reason"]) == ("403\\x1b", "refused")
        served.commands.events.tell("pause", {"changed": True})
        assert next(lines)["kind"] == "pause"
        served.commands.events.close("the agent stops")
        assert next(lines)["reason"] == "the agent stops"
        assert list(lines) == []


def test_nothing_is_noted_while_nobody_listens(served: Served) -> None:
    served.server.start()
    assert served.database.on_moved is None
    with listening(served):
        assert served.database.on_moved is not None
    wait_for(lambda: served.database.on_moved is None, 10, "that it has gone is found without anything to tell")


def test_too_many_are_refused_and_others_are_still_answered(served: Served) -> None:
    served.server.start()
    open_now = []
    for _ in range(events.MAX_LISTENERS):
        connection = connected(served.socket, 10)
        connection.sendall(REQUEST)
        assert connection.recv(12) == b"HTTP/1.1 200"
        open_now.append(connection)
    answer = served.commands.answer(Asked("GET", "/v1/events"))
    assert (answer.status, dict(answer.body)["code"]) == (503, "too_many_listeners")
    assert served.commands.answer(Asked("GET", "/v1/status")).status == 200
    open_now.pop().close()
    wait_for(lambda: served.commands.answer(Asked("GET", "/v1/events")).status == 200, 10, "one has gone")
    for connection in open_now:
        connection.close()


def heard(listener: Listener) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    while (block := listener.take(0)) is not None:
        lines += [json.loads(line) for line in block.splitlines()]
        if not block:
            break
    return lines


def test_who_is_too_slow_is_let_go_with_a_word_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_BEHIND", 50)
    hub = Events(lambda: 1.0)
    slow, quick = hub.listen(), hub.listen()
    for number in range(60):
        hub.tell("limit", {"number": number})
        assert heard(quick)[-1]["number"] == number
    lines = heard(slow)
    assert lines[0]["kind"] == "listening"
    assert lines[-1]["kind"] == "end"
    assert "too slow" in lines[-1]["reason"]
    assert len(lines) <= 53
    assert slow.take(0) is None
    hub.tell("limit", {"number": 60})
    assert heard(quick) == [{"kind": "limit", "at": 1.0, "number": 60}]


def test_a_heartbeat_where_there_is_nothing_to_tell() -> None:
    hub = Events(lambda: 1.0, heartbeat_seconds=0.0)
    listener = hub.listen()
    blocks = [listener.take(0) for _ in range(2)]
    assert [json.loads(block or b"")["kind"] for block in blocks] == ["listening", "heartbeat"]
    hub.close("over")
    with pytest.raises(Refused):
        hub.listen()


def test_a_reader_that_takes_nothing_holds_up_nobody(served: Served) -> None:
    served.server.start()
    with connected(served.socket, 10) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(REQUEST)
        assert connection.recv(12) == b"HTTP/1.1 200"
        ended = threading.Event()

        def work() -> None:
            for start in range(0, 3000, 100):
                served.enqueue(*(b"%d" % number for number in range(start, start + 100)))
            ended.set()

        threading.Thread(target=work).start()
        assert ended.wait(20), "the queue goes on"
