"""What the log says of a server that is down, or comes and goes, with many files waiting."""

import logging
import random
import re
from pathlib import Path

import pytest

from tests.delivery.edge import Edge, crowd, down
from tests.delivery.living import Clock
from tusd_agent.jobs.states import State
from tusd_agent.tus.errors import UploadInterrupted

HOUR = 3600.0


def about_endpoints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.getMessage().startswith("endpoint ")]


@pytest.mark.parametrize("waiting", [500, pytest.param(10_000, marks=pytest.mark.heavy)])
def test_an_hour_without_a_server_is_a_few_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, waiting: int
) -> None:
    caplog.set_level(logging.INFO, "tusd_agent")
    clock = Clock()
    edge = Edge(clock, down)
    names = [f"{number}" for number in range(waiting)]
    with crowd(tmp_path, {"out": {}}, {"default": edge}, clock) as c:
        c.put("out", names)
        c.live(HOUR)
        assert len(edge.started_at) > 50, "it was asked again and again"
        assert len(caplog.records) < 24
        first, *still = about_endpoints(caplog)
        assert first.startswith("endpoint default: its jobs wait (out of reach): ")
        assert 4 <= len(still) <= 7
        for line in still:
            assert re.match(
                rf"endpoint default: still out of reach, {waiting - 1:,} jobs wait, since \S+ \(\d:\d\d:\d\d\): ",
                line,
            )
        assert {each.endpoint for each in caplog.records} == {"default"}  # type: ignore[attr-defined]  # our own field

        caplog.clear()
        edge.answer = lambda name: clock.go(1.0)
        c.live(120)
    (back,) = about_endpoints(caplog)
    assert re.fullmatch(r"endpoint default: works again after 1:0[01]:\d\d", back)
    assert caplog.records[0].levelno == logging.INFO


@pytest.mark.heavy
def test_a_server_that_comes_and_goes_is_a_few_lines_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tusd_agent")
    clock, rng = Clock(), random.Random(3)
    edge = Edge(clock)

    def answer(name: str) -> None:
        clock.go(5.0)
        if rng.random() < 0.6:
            raise UploadInterrupted("now and then")

    edge.answer = answer
    with crowd(tmp_path, {"out": {}}, {"default": edge}, clock) as c:
        c.put("out", [f"{number}" for number in range(1000)])
        c.live(6 * HOUR)
        assert c.states()[State.DONE] > 200
    others = [each for each in caplog.records if ": arrived at " not in each.getMessage()]
    assert len(others) < 60, [each.getMessage() for each in others]
    assert any("for the" in line and "th time" in line for line in about_endpoints(caplog))


def test_a_job_that_fails_alone_is_said_less_and_less(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    edge = Edge(clock, down)
    caplog.set_level(logging.INFO, "tusd_agent")
    with crowd(tmp_path, {"out": {}}, {"default": edge}, clock) as c:
        c.put("out", ["a"])
        c.live(48 * HOUR)
        (job,) = c.jobs()
    assert job.attempts > 32
    said = [int(found[1]) for each in caplog.records if (found := re.search(r"attempt (\d+)", each.getMessage()))]
    assert said[:6] == [1, 2, 4, 8, 16, 32]
    assert all(each.getMessage().startswith(f"job 1 ({tmp_path}/out/a): ") for each in caplog.records)
