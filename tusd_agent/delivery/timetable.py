"""Limits by the hour: which of them hold at an instant, by the clock on the wall."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

MINUTES_OF_A_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class TimedLimit:
    """At most `rate_bytes_per_second` (more than 0) between two times of the day, in minutes since midnight.

    From `from_minute`, which counts, to `to_minute`, which does not; where that is the smaller one, to that time of the
    next day. `days` are those on which it begins, 0 being Monday; none: every day. `endpoint` `None`: the whole agent.
    """

    from_minute: int
    to_minute: int
    rate_bytes_per_second: float
    days: frozenset[int] = frozenset()
    endpoint: str | None = None

    def holds(self, day: int, minute: int) -> bool:
        """Whether it holds in that minute of that day of the week."""
        if self.from_minute < self.to_minute:
            return self._begins_on(day) and self.from_minute <= minute < self.to_minute
        if minute >= self.from_minute:
            return self._begins_on(day)
        return minute < self.to_minute and self._begins_on((day - 1) % 7)

    def _begins_on(self, day: int) -> bool:
        return not self.days or day in self.days


def smallest(rates: Iterable[float]) -> float:
    """The smallest of the rates that are a limit at all; 0, no limit, where none is."""
    return min((rate for rate in rates if rate), default=0.0)


def rate_at(
    limits: Iterable[TimedLimit], now: float, local: Callable[[float], time.struct_time] = time.localtime
) -> float:
    """The smallest rate of the limits that hold at the instant `now` (seconds since the epoch); 0: none holds.

    What the clock on the wall shows decides: an hour that a change to summer time leaves out is left out of a limit
    too, and one that comes twice counts twice.
    """
    here = local(now)
    minute = here.tm_hour * 60 + here.tm_min
    return smallest(limit.rate_bytes_per_second for limit in limits if limit.holds(here.tm_wday, minute))
