"""What arrived and what failed, by periods."""

import time

import pytest

from tusd_agent.control.figures import instants, periods, today_of
from tusd_agent.jobs.totals import Tally, Total

NOW = 1_800_000_000.0


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"])
def test_a_day_begins_at_midnight_and_a_quarter_with_it(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        midnight, hour, day = instants(NOW)
        assert time.strftime("%H:%M:%S", time.localtime(midnight)) == "00:00:00"
        assert 0 <= NOW - midnight < 86_400
        assert midnight % 900 == 0
        assert (NOW - hour, NOW - day) == (3600, 86_400)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_periods_are_sums_over_folders_and_endpoints() -> None:
    tallies = [
        Tally("/a", "x", Total(10, 1000, 2), (Total(4, 400, 1), Total(1, 3600, 0), Total(9, 900, 1))),
        Tally("/a", "y", Total(1, 10, 0), (Total(1, 10, 0), Total(0, 0, 0), Total(1, 10, 0))),
        Tally("/b", "x", Total(5, 50, 0), (Total(0, 0, 0), Total(0, 0, 0), Total(0, 0, 0))),
    ]
    assert today_of(tallies, "/a") == Total(5, 410, 1)
    found = periods(tallies, NOW)
    assert (found["ever"]["arrived"], found["ever"]["bytes_per_second"]) == (16, None)
    assert (found["today"]["arrived"], found["today"]["failed"]) == (5, 1)
    assert found["last_hour"]["success_rate"] == 1
    assert found["last_24_hours"]["success_rate"] == 10 / 11
    # From the quarter on that the hour reaches into: at most a quarter more.
    assert 3600 / 4500 <= (found["last_hour"]["bytes_per_second"] or 0) <= 1


def test_nothing_yet() -> None:
    found = periods([], NOW)
    assert found["today"]["success_rate"] is None
    assert found["last_hour"]["bytes_per_second"] == 0
