"""What the delivery counts."""

from pathlib import Path

from tests.delivery.edge import Edge, crowd
from tests.delivery.living import Clock
from tusd_agent.delivery.tally import DURATION_BOUNDS_SECONDS, Durations, Tally
from tusd_agent.tus.errors import UploadInterrupted, UploadRefused


def test_durations_fall_below_their_bounds() -> None:
    durations = Durations()
    for seconds in (0.0, DURATION_BOUNDS_SECONDS[0], 0.2, 1e9):
        durations.add(seconds)
    assert durations.counts == [2, 1, *[0] * (len(DURATION_BOUNDS_SECONDS) - 2), 1]
    assert durations.sum_seconds == 1e9 + 0.2 + DURATION_BOUNDS_SECONDS[0]


def test_totals_stay_as_they_were() -> None:
    tally = Tally()
    tally.arrived("default", 10, 1.0)
    before = tally.totals()
    tally.arrived("default", 10, 1.0)
    tally.erred("default", "no tus server")
    assert (before.arrived_bytes, sum(before.durations["default"].counts), before.errors) == ({"default": 10}, 1, {})
    assert tally.totals().errors == {("default", "no_tus_server"): 1}


def test_attempts_errors_and_arrivals_of_a_pool(tmp_path: Path) -> None:
    clock = Clock()
    seen: set[str] = set()

    def answer(name: str) -> None:
        clock.go(3.0)
        if name == "refused":
            raise UploadRefused("no")
        if name == "late" and name not in seen:
            seen.add(name)
            raise UploadInterrupted("not now")

    edge = Edge(clock, answer)
    with crowd(tmp_path, {"out": {}}, {"default": edge}, clock) as c:
        c.put("out", ["refused", "late", "fine"], size=7)
        c.live(3600)
        totals = c.pool.totals()
    assert totals.attempts == {"default": 4}
    assert totals.errors == {("default", "refused"): 1, ("default", "out_of_reach"): 1}
    assert totals.arrived_bytes == {"default": 14}
    assert totals.durations["default"].sum_seconds == 6.0
