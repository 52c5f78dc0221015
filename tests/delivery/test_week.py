"""A week without a server, in simulated time, and the day it comes back."""

import gc
import random
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from tests.support.files import wait_for
from tusd_agent.delivery.breaker import Breaker, BreakerState
from tusd_agent.delivery.policy import LONGEST_BACKOFF_SECONDS, backoff_seconds
from tusd_agent.jobs.states import State
from tusd_agent.tus.errors import UploadInterrupted

from .edge import Edge, crowd, down
from .living import Clock

HOUR = 3600.0
DAY = 24 * HOUR


def memory_of_the_agent() -> int:
    """Bytes that code of the agent has allocated since tracing began, what is only waiting to be collected apart."""
    gc.collect()
    own = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/tusd_agent/*")])
    return sum(trace.size for trace in own.traces)


@pytest.mark.heavy
def test_a_week_without_a_server(tmp_path: Path) -> None:
    clock = Clock()
    edge = Edge(clock, down)
    names = [f"{number}.dat" for number in range(100)]
    with crowd(tmp_path, {"out": {}}, {"default": edge}, clock) as c:
        c.put("out", names)
        c.live(6 * DAY)
        tracemalloc.start()
        try:
            c.live(HOUR)
            before = memory_of_the_agent()
            c.live(3 * HOUR)
            after = memory_of_the_agent()
        finally:
            tracemalloc.stop()
        assert after - before < 32 * 1024, "memory does not grow with the attempts"
        c.live(DAY - 4 * HOUR)
        hours = edge.starts_per(HOUR)
        # One probe at a time, the longest step 60 s with jitter in its upper half.
        assert max(hours.values()) <= 150
        assert min(hours[hour] for hour in range(min(hours) + 1, max(hours))) >= 55, "it never gives up"
        assert c.states() == {State.PENDING: len(names)}
        assert sum(job.attempts for job in c.jobs()) <= 3, "waiting for the endpoint burns no attempts"
        assert edge.renewed >= 1, "with connections of its own each time"

        edge.started_at.clear()

        def takes_two_seconds(name: str) -> None:
            clock.go(2.0)

        edge.answer = takes_two_seconds
        began_at = clock()
        c.live(HOUR)
        assert c.states() == {State.DONE: len(names)}
        assert sorted(edge.names) == sorted(names), "each of them once"
        assert edge.started_at[0] - began_at <= 61.0
        assert max(edge.starts_per(1.0).values()) <= 1


def test_a_job_that_fails_alone_is_tried_as_the_policy_says(tmp_path: Path) -> None:
    clock = Clock()
    edge = Edge(clock, down)
    with crowd(tmp_path, {"out": {}}, {"default": edge}, clock) as c:
        c.put("out", ["a"])
        c.live(7 * DAY)
        gaps = [later - earlier for earlier, later in zip(edge.started_at, edge.started_at[1:], strict=False)]
        (job,) = c.jobs()
    assert job.state is State.PENDING
    assert job.attempts == len(edge.started_at), "one job alone is no reason to blame the endpoint"
    assert max(gaps) <= LONGEST_BACKOFF_SECONDS + 1
    for number, gap in enumerate(gaps[:12], 1):
        assert gap <= 5.0 * 2 ** (number - 1) + 1
    assert max(edge.starts_per(HOUR).values()) <= 30
    assert len([at for at in edge.started_at if at >= clock() - DAY]) <= 24 * 10


def test_backoff_of_many_jobs_spreads_over_time() -> None:
    rng = random.Random(5)
    at = Counter(int(backoff_seconds(20, rng) // 60) for _ in range(6000))
    assert max(at.values()) <= 6000 / 60 * 2, "in no minute more than twice the average of an hour"


def test_a_fleet_does_not_come_back_all_at_once() -> None:
    """Starts per second over three hundred agents that lost the server at the same instant."""
    starts: Counter[int] = Counter()
    for number in range(300):
        breaker, now = Breaker(4, rng=random.Random(number)), 0.0
        for job in range(3):
            breaker.failed(job, "down", now)
        while (now := breaker.probe_at) < 6 * HOUR:
            breaker.failed(1, "down", now)
        starts[int(now)] += 1
    assert max(starts.values()) <= 300 / 30 * 2.5
    assert max(starts) - min(starts) >= 30


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_the_return_is_never_faster_than_one_more_for_each_success(tmp_path: Path, workers: int) -> None:
    clock = Clock()
    edge = Edge(clock, down)
    with crowd(tmp_path, {"out": {}}, {"default": edge}, clock, workers=workers) as c:
        c.put("out", [f"{number}" for number in range(40)])
        c.live(HOUR)
        ahead = []

        def answer(name: str) -> None:
            ahead.append(edge.in_flight - len(edge.names))

        edge.answer = answer
        clock.go(61.0)
        c.pool.start()

        def arrived() -> bool:
            c.pool.wake()
            return len(edge.names) == 40

        wait_for(arrived, 30, "all arrived")
        assert max(ahead) <= 1


def test_a_server_that_fails_now_and_then_gets_everything(tmp_path: Path) -> None:
    clock, rng = Clock(), random.Random(7)
    edge = Edge(clock)

    def answer(name: str) -> None:
        clock.go(0.1)
        if rng.random() < 0.5:
            raise UploadInterrupted("now and then")

    edge.answer = answer
    names = [f"{number}" for number in range(150)]
    with crowd(tmp_path, {"out": {}}, {"default": edge}, clock) as c:
        c.put("out", names)
        c.live(3 * DAY)
        assert c.states() == {State.DONE: len(names)}
        (endpoint,) = c.pool.endpoint_states()
        assert endpoint.breaker is not BreakerState.OPEN
    assert sorted(edge.names) == sorted(names)
