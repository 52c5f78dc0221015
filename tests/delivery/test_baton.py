"""One worker at a time at the interpreter, and nobody is held up by one who waits."""

import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.files import wait_for
from tests.tus.fault_server import Fault, FaultServer
from tusd_agent.delivery import baton
from tusd_agent.delivery.bandwidth import Throttle
from tusd_agent.delivery.baton import Baton
from tusd_agent.delivery.command import Command
from tusd_agent.delivery.pool import QUICK_BYTES
from tusd_agent.delivery.ratelimit import TokenBucket
from tusd_agent.delivery.rules import EndpointRules, FolderRules
from tusd_agent.jobs.states import State
from tusd_agent.tus import TUSClient

from .edge import Crowd, Edge, crowd
from .living import Clock

FOR_EVER_SECONDS = 60.0


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not make room holds up all others."""
    monkeypatch.setattr(baton, "PATIENCE_SECONDS", FOR_EVER_SECONDS)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


class Room:
    """Counts who is in it at a time; each stays for a moment."""

    def __init__(self) -> None:
        self.most = 0
        self._inside = 0
        self._lock = threading.Lock()

    def visit(self) -> None:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        threading.Event().wait(0.001)
        with self._lock:
            self._inside -= 1


@pytest.mark.usefixtures("kept")
def test_one_at_a_time(threads: ThreadPoolExecutor) -> None:
    passed_on, room = Baton(), Room()

    def work() -> None:
        for _ in range(10):
            with passed_on.carried():
                room.visit()
                with passed_on.laid_down():
                    pass
                room.visit()

    for done in [threads.submit(work) for _ in range(8)]:
        done.result(30)
    assert room.most == 1


@pytest.mark.usefixtures("kept")
def test_who_waits_makes_room(threads: ThreadPoolExecutor) -> None:
    passed_on, worked = Baton(), threading.Event()

    def work() -> None:
        with passed_on.carried():
            worked.set()

    with passed_on.carried():
        other = threads.submit(work)
        with passed_on.laid_down():
            assert worked.wait(10)
        other.result(10)


@pytest.mark.usefixtures("kept")
def test_who_dropped_it_neither_has_nor_wants_it(threads: ThreadPoolExecutor) -> None:
    passed_on, over = Baton(), threading.Event()

    def work() -> bool:
        with passed_on.carried():
            return over.wait(10)

    with passed_on.carried():
        passed_on.drop()
        other = threads.submit(work)
        with passed_on.laid_down():
            pass
        over.set()
        assert other.result(10)


def test_who_keeps_it_is_not_waited_for(threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baton, "PATIENCE_SECONDS", 0.02)
    passed_on, room, over = Baton(), Room(), threading.Event()

    def keep() -> None:
        with passed_on.carried():
            assert over.wait(30)

    def work() -> None:
        with passed_on.carried():
            pass

    keeper = threads.submit(keep)
    for done in [threads.submit(work) for _ in range(4)]:
        done.result(10)
    over.set()
    keeper.result(10)
    monkeypatch.setattr(baton, "PATIENCE_SECONDS", FOR_EVER_SECONDS)

    def visit() -> None:
        with passed_on.carried():
            room.visit()

    for done in [threads.submit(visit) for _ in range(20)]:
        done.result(10)
    assert room.most == 1, "there is one again"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def sending(base: Path, clock: Clock, endpoint: EndpointRules, **rules: Any) -> Iterator[Crowd]:
    """Two workers for that endpoint, and two folders; the rules are those of `out`."""
    folders = {"out": rules, "quick": {}}
    with crowd(base, folders, {"default": Edge(clock)}, clock) as c:
        c.pool.use([endpoint], [FolderRules(str(base / name), **folders[name]) for name in folders], workers=2)
        c.pool.start()
        yield c


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def real(server: FaultServer) -> Iterator[EndpointRules]:
    with TUSClient(server.endpoint, max_retries=0) as client:
        yield EndpointRules("default", server.endpoint, client)


def put(c: Crowd, folder: str, name: str, size: int = 1) -> None:
    c.put(folder, [name], size=size)
    c.pool.wake()


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_others_go_on_while_one_waits_for_an_answer(
    tmp_path: Path, clock: Clock, server: FaultServer, real: EndpointRules, method: str
) -> None:
    server.fail(method, Fault(stall=True))
    with sending(tmp_path, clock, real) as c:
        put(c, "out", "waits")
        server.wait_for(method)
        put(c, "out", "arrives")
        wait_for(lambda: c.states().get(State.DONE) == 1, 20, "the other has arrived")
        server.release.set()
        wait_for(lambda: c.states().get(State.DONE) == 2, 20, "both have arrived")


@pytest.mark.usefixtures("kept")
def test_others_go_on_while_one_waits_for_the_disk(
    tmp_path: Path, clock: Clock, server: FaultServer, real: EndpointRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, begun = os.fdatasync, threading.Event()

    def sync_after_both(descriptor: int) -> None:
        begun.set()
        server.wait_for("POST", 2)
        sync(descriptor)

    with sending(tmp_path, clock, real) as c:
        clock.go(60)
        c.put("out", ["later"])
        clock.go(-60)
        c.put("out", ["now"])
        monkeypatch.setattr(os, "fdatasync", sync_after_both)
        c.pool.wake()
        assert begun.wait(10)
        clock.go(60)
        c.pool.wake()
        wait_for(lambda: c.states().get(State.DONE) == 2, 20, "both have arrived")


@pytest.mark.usefixtures("kept")
def test_what_is_small_and_never_waits_is_done_one_by_one(tmp_path: Path, clock: Clock) -> None:
    room = Room()
    edge = Edge(clock, lambda name: room.visit())
    endpoint = EndpointRules("default", "http://edge/files/", cast(TUSClient, edge))
    with sending(tmp_path, clock, endpoint) as c:
        c.put("out", [f"{number:02}" for number in range(20)])
        c.pool.wake()
        wait_for(lambda: c.states().get(State.DONE) == 20, 20, "all have arrived")
    assert room.most == 1


LIMITED = Throttle(TokenBucket(lambda: 1e9))
MOVE = {"after_upload": "move", "move_to": ""}
COMMAND = {"after_upload": "command", "command": Command((shutil.which("true") or "true",), 10.0)}


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("size", "throttle", "rules"),
    [(QUICK_BYTES + 1, Throttle(), {}), (1, LIMITED, {}), (1, Throttle(), MOVE), (1, Throttle(), COMMAND)],
    ids=["large", "limited", "move", "command"],
)
def test_what_may_take_long_is_done_without(
    tmp_path: Path, clock: Clock, size: int, throttle: Throttle, rules: dict[str, Any]
) -> None:
    arrived = threading.Event()
    if "move_to" in rules:
        rules = {**rules, "move_to": str(tmp_path / "moved")}

    def answer(name: str) -> None:
        if name == "long":
            assert arrived.wait(20), "the other did not arrive meanwhile"
        else:
            arrived.set()

    edge = Edge(clock, answer)
    client = cast(TUSClient, edge)
    endpoint = EndpointRules("default", "http://edge/files/", client, delete_proof="answer", throttle=throttle)
    with sending(tmp_path, clock, endpoint, **rules) as c:
        put(c, "out", "long", size)
        wait_for(lambda: edge.in_flight, 10, "it is on its way")
        put(c, "quick", "short")
        wait_for(lambda: c.states().get(State.DONE) == 2, 20, "both have arrived")
    assert edge.names == ["short", "long"]
