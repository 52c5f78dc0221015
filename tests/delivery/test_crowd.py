"""Endpoints and folders side by side: what fails, is slow or is large holds up nobody else."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.files import wait_for
from tests.tus.fault_server import Fault, FaultServer
from tusd_agent.delivery import worker
from tusd_agent.delivery.breaker import BreakerState
from tusd_agent.delivery.disposal import Disposed
from tusd_agent.delivery.policy import LONGEST_BACKOFF_SECONDS
from tusd_agent.jobs.model import Job
from tusd_agent.jobs.states import TOO_OLD, State
from tusd_agent.tus.errors import AuthRequired, ServerBusy, UploadInterrupted

from .edge import Crowd, Edge, crowd, down
from .living import Clock, delivering

MANY = [f"{number:03}" for number in range(60)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened() -> Iterator[threading.Event]:
    """What answers that hang wait for; set at the end in any case."""
    event = threading.Event()
    yield event
    event.set()


def run_until(c: Crowd, edge: Edge, count: int) -> None:
    """Lets the pool's threads work until so many files have arrived."""

    def arrived() -> bool:
        c.pool.wake()
        return len(edge.names) >= count

    wait_for(arrived, 30, f"{count} files arrived")


def test_dead_slow_and_busy_endpoints_hold_up_no_healthy_one(
    tmp_path: Path, clock: Clock, opened: threading.Event
) -> None:
    def hangs(name: str) -> None:
        opened.wait(60)

    def busy(name: str) -> None:
        raise ServerBusy("429", status=429, retry_after_seconds=3600.0)

    edges = {
        "dead": Edge(clock, down),
        "slow": Edge(clock, hangs),
        "busy": Edge(clock, busy),
        "healthy": Edge(clock),
    }
    with crowd(tmp_path, {name: {} for name in edges}, edges, clock) as c:
        for name in edges:
            c.put(name, MANY, name)
        c.pool.start()
        run_until(c, edges["healthy"], len(MANY))
        wait_for(lambda: edges["slow"].in_flight == 4, 10, "the slow one has its own share")
        assert len(edges["busy"].started_at) <= 4, "those under way when it asked for a pause, and no more"
        assert edges["healthy"].most_in_flight <= 4
        opened.set()


class Hole(Edge):
    """Whoever asks it about an upload waits for `opened`."""

    def __init__(self, clock: Clock, opened: threading.Event) -> None:
        super().__init__(clock)
        self.opened = opened
        self.asked: list[str] = []

    def get_upload_info(self, url: str, **_: Any) -> Any:
        self.asked.append(url)
        self.opened.wait(60)
        return super().get_upload_info(url)


def test_uploads_to_be_terminated_hold_up_nobody(tmp_path: Path, clock: Clock, opened: threading.Event) -> None:
    hole, healthy = Hole(clock, opened), Edge(clock)
    with crowd(tmp_path, {"out": {}}, {"hole": hole, "healthy": healthy}, clock, workers=1) as c:
        for number in range(10):
            c.claims.leftovers.add("hole", f"http://edge/files/{number}", clock())
        c.pool.start()
        wait_for(lambda: hole.asked, 10, "the first is looked at")
        c.put("out", MANY, "healthy")
        c.put("out", ["waits"], "hole")
        run_until(c, healthy, len(MANY))
        assert hole.asked == ["http://edge/files/0"], "one at a time, and it counts as the endpoint's"
        assert hole.in_flight == 0
        opened.set()
        run_until(c, hole, 1)
        wait_for(lambda: len(hole.asked) == 10, 10, "all are looked at")


def test_an_endpoint_gets_no_more_than_its_cap(tmp_path: Path, clock: Clock, opened: threading.Event) -> None:
    edges = {name: Edge(clock, lambda name: opened.wait(60)) for name in ("two", "all")}
    with crowd(tmp_path, {name: {} for name in edges}, edges, clock, most={"two": 2}) as c:
        for name in edges:
            c.put(name, MANY[:10], name)
        c.pool.start()
        wait_for(lambda: edges["two"].in_flight == 2 and edges["all"].in_flight == 4, 10, "all that may are in flight")
        opened.set()
        for edge in edges.values():
            run_until(c, edge, 10)
        assert [edge.most_in_flight for edge in edges.values()] == [2, 4]


def test_small_files_pass_by_those_that_take_for_ever(tmp_path: Path, clock: Clock, opened: threading.Event) -> None:
    def answer(name: str) -> None:
        if name.startswith("large"):
            opened.wait(60)

    edge = Edge(clock, answer)
    with crowd(tmp_path, {"out": {}}, {"default": edge}, clock, small_file_bytes=100) as c:
        c.put("out", [f"large-{number}" for number in range(8)], size=101)
        c.pool.start()
        wait_for(lambda: edge.in_flight == 3, 10, "all that may be large are")
        c.put("out", MANY, size=100)
        run_until(c, edge, len(MANY))
        assert sorted(edge.names) == MANY
        assert edge.in_flight == 3, "of four workers one is kept for small files"
        opened.set()
        run_until(c, edge, len(MANY) + 8)


def test_a_folder_with_many_files_does_not_hold_up_one_with_few(tmp_path: Path, clock: Clock) -> None:
    edge = Edge(clock)
    with crowd(tmp_path, {"many": {}, "few": {}, "first": {"priority": 1}}, {"default": edge}, clock) as c:
        c.put("many", MANY)
        c.put("few", ["few-1", "few-2", "few-3"])
        c.put("first", ["first-1", "first-2"])
        c.live(1.0)
    assert edge.names[:2] == ["first-1", "first-2"]
    assert [name for name in edge.names[2:8] if name.startswith("few")] == ["few-1", "few-2", "few-3"]


def test_new_and_deferred_jobs_of_a_folder_alternate(tmp_path: Path, clock: Clock) -> None:
    edge = Edge(clock, down)
    with crowd(tmp_path, {"out": {}}, {"default": edge}, clock) as c:
        c.put("out", ["tried-1", "tried-2"])
        c.live(5 * LONGEST_BACKOFF_SECONDS)
        c.put("out", MANY)
        clock.go(LONGEST_BACKOFF_SECONDS)
        edge.answer = lambda name: None
        c.live(1.0)
    assert {name for name in edge.names[:4] if name.startswith("tried")} == {"tried-1", "tried-2"}
    assert len(edge.names) == len(MANY) + 2


@pytest.mark.parametrize(
    "error", [AuthRequired("403: a WAF", status=403), UploadInterrupted("500: a hook", status=500)]
)
def test_one_file_that_is_always_refused_waits_alone(tmp_path: Path, clock: Clock, error: Exception) -> None:
    def answer(name: str) -> None:
        if name == "bad":
            raise error

    edge = Edge(clock, answer)
    with crowd(tmp_path, {"out": {}}, {"default": edge}, clock) as c:
        c.put("out", ["bad"])
        for number in range(40):
            c.put("out", [f"good-{number}"])
            c.live(600.0)
            assert c.pool.endpoint_states()[0].breaker is BreakerState.CLOSED
        assert len(edge.names) == 40, "each in its ten minutes"
        assert c.states() == {State.DONE: 40, State.PENDING: 1}
        (bad,) = [job for job in c.jobs() if job.state is State.PENDING]
        assert bad.attempts == len(edge.started_at) - 40 > 8
        edge.started_at.clear()
        c.live(86400.0)
        assert 24 <= len(edge.started_at) <= 24 * 10, "as the only job too: seldom, and by its own backoff"
        assert c.pool.endpoint_states()[0].breaker is BreakerState.CLOSED


def test_files_that_are_refused_after_an_outage_do_not_keep_the_endpoint_away_from_the_others(
    tmp_path: Path, clock: Clock
) -> None:
    edge = Edge(clock, down)
    with crowd(tmp_path, {"out": {}}, {"default": edge}, clock) as c:
        c.put("out", ["bad-1", "bad-2", *MANY])
        c.live(3600.0)

        def answer(name: str) -> None:
            if name.startswith("bad"):
                raise AuthRequired("403: a WAF", status=403)

        edge.answer = answer
        c.live(600.0)
        assert sorted(edge.names) == MANY
        assert c.pool.endpoint_states()[0].breaker is not BreakerState.OPEN


def test_retry_after_holds_for_the_whole_endpoint_and_for_no_other(tmp_path: Path, clock: Clock) -> None:
    def busy(name: str) -> None:
        raise ServerBusy("503", status=503, retry_after_seconds=120.0)

    edges = {"busy": Edge(clock, busy), "other": Edge(clock)}
    with crowd(tmp_path, {name: {} for name in edges}, edges, clock) as c:
        for name in edges:
            c.put(name, MANY, name)
        began_at = clock()
        c.live(600.0)
        assert len(edges["other"].names) == len(MANY)
        asked = [at - began_at for at in edges["busy"].started_at]
        assert all(later - earlier >= 120.0 for earlier, later in pairwise(asked))
        assert 3 <= len(asked) <= 5
        assert sum(job.attempts for job in c.jobs() if job.state is State.PENDING) == 1
        assert "busy" in (c.pool.endpoint_states()[0].reason or "")
        edges["busy"].answer = lambda name: None
        c.live(3700.0)
        assert c.states() == {State.DONE: 2 * len(MANY)}


def test_one_file_that_makes_the_server_ask_for_pauses_holds_up_no_other_for_long(tmp_path: Path, clock: Clock) -> None:
    def answer(name: str) -> None:
        if name == "bad":
            raise ServerBusy("503", status=503, retry_after_seconds=5.0)

    edge = Edge(clock, answer)
    with crowd(tmp_path, {"out": {}}, {"default": edge}, clock) as c:
        c.put("out", ["bad", *MANY])
        c.live(60.0)
        assert sorted(edge.names) == MANY
        for number in range(20):
            c.put("out", [f"good-{number}"])
            c.live(120.0)
            assert edge.names[-1] == f"good-{number}", "at the next probe at the latest, which it is"


def test_what_runs_when_the_breaker_opens_does_not_keep_others_from_probing(
    tmp_path: Path, clock: Clock, opened: threading.Event
) -> None:
    def answer(name: str) -> None:
        if name == "long":
            opened.wait(60)
        elif name < "003":
            raise UploadInterrupted("cut")

    edge = Edge(clock, answer)
    with crowd(tmp_path, {"out": {}}, {"default": edge}, clock, workers=2) as c:
        c.put("out", ["long"], size=1)
        thread = threading.Thread(target=c.pool.run_once)
        thread.start()
        wait_for(lambda: edge.in_flight == 1, 10, "it is under way")
        c.put("out", MANY[:6])
        c.live(600.0)
        assert edge.names == MANY[3:6]
        opened.set()
        thread.join()
        assert edge.names[-1] == "long"


class Taking(Edge):
    """It takes the bodies of large files until it is `over`, and a byte each time that the clock goes on."""

    over = False

    def send(self, source: Any, *, metadata: Mapping[str, Any], on_created: Callable[[str], None], **rest: Any) -> None:
        name = os.fsdecode(metadata["filename"])
        if not name.startswith("large"):
            super().send(source, metadata=metadata, on_created=on_created)
            return
        on_created(f"http://edge/files/{name}")
        sent, at = 0, self._clock()
        while not self.over and not rest["cancel"].wait(0.001):
            if self._clock() > at:
                sent, at = sent + 1, self._clock()
                rest["on_progress"](sent, 0)
        self.names.append(name)


def test_after_an_outage_nobody_waits_for_the_end_of_a_large_file(tmp_path: Path, clock: Clock) -> None:
    edge = Taking(clock, down)
    with crowd(tmp_path, {"out": {}}, {"default": edge}, clock, small_file_bytes=100_000) as c:
        c.put("out", ["old-1", "old-2", "old-3"])
        c.live(30.0)
        assert c.pool.endpoint_states()[0].breaker is BreakerState.OPEN
        edge.answer = lambda name: None
        c.put("out", ["large"], size=100_001)
        clock.go(60.0)
        c.put("out", MANY[:5])
        c.pool.start()
        wait_for(lambda: [each.job.place.name for each in c.pool.in_flight()] == [b"large"], 10, "it is the probe")
        assert edge.names == []

        def arrived() -> bool:
            clock.go(1.0)
            return len(edge.names) == 8

        wait_for(arrived, 30, "all but the large one arrive while it is sent")
        wait_for(lambda: c.states() == {State.DONE: 8, State.UPLOADING: 1}, 10, "their rows say so")
        edge.over = True
        run_until(c, edge, 9)


def test_a_probe_that_shows_nothing_for_a_minute_is_not_waited_for(
    tmp_path: Path, clock: Clock, opened: threading.Event
) -> None:
    """It may be reading again what the server has of it, which takes hours."""

    def answer(name: str) -> None:
        if name == "reads":
            opened.wait(60)

    edge = Edge(clock, down)
    with crowd(tmp_path, {"out": {}}, {"default": edge}, clock) as c:
        c.put("out", ["old-1", "old-2", "old-3"])
        c.live(30.0)
        edge.answer = answer
        c.put("out", ["reads"])
        clock.go(60.0)
        c.put("out", MANY[:5])
        thread = threading.Thread(target=c.pool.run_once)
        thread.start()
        wait_for(lambda: edge.in_flight == 1, 10, "it is the probe")
        c.live(59.0)
        assert edge.names == []
        c.live(1.5)
        assert sorted(edge.names) == sorted([*MANY[:5], "old-1", "old-2", "old-3"])
        opened.set()
        thread.join()


@pytest.mark.parametrize("delete_proof", ["head", "answer"])
def test_after_an_outage_nobody_waits_for_a_file_that_is_moved_for_hours(
    tmp_path: Path, clock: Clock, opened: threading.Event, monkeypatch: pytest.MonkeyPatch, delete_proof: str
) -> None:
    moved: list[bytes] = []

    def dispose(job: Job, *_: object) -> Disposed:
        moved.append(job.place.name)
        opened.wait(60)
        return Disposed("moved")

    monkeypatch.setattr(worker, "prove", lambda *_: None)
    monkeypatch.setattr(worker, "dispose", dispose)
    edge = Edge(clock, down)
    folders = {"move": {"after_upload": "delete", "priority": 1}, "keep": {}}
    with crowd(tmp_path, folders, {"default": edge}, clock, delete_proof=delete_proof) as c:
        c.put("keep", MANY[:10])
        c.live(30.0)
        assert c.pool.endpoint_states()[0].breaker is BreakerState.OPEN
        edge.answer = lambda name: None
        c.put("move", ["moved"])
        clock.go(60.0)
        c.pool.start()
        run_until(c, edge, 11)
        assert moved == [b"moved"]
        wait_for(lambda: c.states() == {State.DONE: 10, State.DISPOSING: 1}, 10, "the rows say so")
        opened.set()


def test_jobs_that_waited_too_long_fail_and_retry_brings_them_back(tmp_path: Path, clock: Clock) -> None:
    edge = Edge(clock, down)
    folders = {"patient": {}, "hasty": {"give_up_after_seconds": 7200.0}}
    with crowd(tmp_path, folders, {"default": edge}, clock) as c:
        c.put("hasty", ["a", "b", "c", "d"])
        c.put("patient", ["e"])
        c.live(3600.0)
        c.put("hasty", ["f"])
        c.live(3601.0)
        assert c.states() == {State.FAILED: 4, State.PENDING: 2}
        failed = [job for job in c.jobs() if job.state is State.FAILED]
        assert {job.reason for job in failed} == {TOO_OLD}
        assert all("7200 s" in (job.last_error or "") for job in failed)
        assert any("nobody answers" in (job.last_error or "") for job in failed), "and what it had waited for"
        c.orders.retry(failed[0].id, clock())
        c.live(3600.0)
        assert c.states() == {State.FAILED: 4, State.PENDING: 2}
        edge.answer = lambda name: None
        c.live(61.0)
        assert sorted(edge.names) == ["a", "e"]


def test_after_the_breaker_opened_the_probe_has_a_connection_of_its_own(tmp_path: Path) -> None:
    with FaultServer() as server, delivering(tmp_path, server.endpoint) as d:
        for number in range(6):
            d.put(b"%d" % number, b"x")
        d.run(1, seconds=0.0)
        server.fail("POST", *[Fault(status=500)] * 3)
        d.run(3, seconds=0.0)
        assert d.pool.endpoint_states()[0].breaker is BreakerState.OPEN
        assert len({request.connection for request in server.requests}) == 1, "kept as long as it seems good"
        before = len(server.requests)
        d.run(12)
        assert d.states() == [State.DONE] * 6
        assert {request.connection for request in server.requests[before:]}.isdisjoint({1})
