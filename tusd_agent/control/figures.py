"""What has arrived and what has failed, as `status` tells it: by periods, and of each folder."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:  # who only draws what the agent says does not pay for SQLite
    from ..jobs.totals import Tally, Total

HOUR_SECONDS = 3600
DAY_SECONDS = 86_400


class Period(TypedDict):
    """A period: files that arrived, their bytes, and files that failed in it.

    `success_rate` is what part of those arrived, from 0 to 1, null where there were none. `bytes_per_second`: the bytes
    of the files that arrived over the whole period, null for all times. A file is counted when it has arrived.
    """

    arrived: int
    arrived_bytes: int
    failed: int
    success_rate: float | None
    bytes_per_second: float | None


class Periods(TypedDict):
    """The last hour and the last 24 hours begin with the quarter of an hour that they reach into; a day at midnight,
    where the agent is."""

    ever: Period
    today: Period
    last_hour: Period
    last_24_hours: Period


def instants(now: float) -> tuple[float, float, float]:
    """Since when `Reader.overview` is to count: midnight, an hour ago, a day ago."""
    year, month, day, *_ = time.localtime(now)
    midnight = time.mktime((year, month, day, 0, 0, 0, 0, 0, -1))
    return midnight, now - HOUR_SECONDS, now - DAY_SECONDS


def periods(tallies: "Iterable[Tally]", now: float) -> Periods:
    """The totals of all folders and endpoints; `tallies` are since `instants(now)`."""
    from ..jobs.totals import Total, bucket_of

    ever, sums = Total(), [Total(), Total(), Total()]
    for tally in tallies:
        ever += tally.ever
        sums = [one + more for one, more in zip(sums, tally.since, strict=True)]
    lasted = [max(now - bucket_of(since), 1.0) for since in instants(now)]
    today, hour, day = (_period(total, seconds) for total, seconds in zip(sums, lasted, strict=True))
    return Periods(ever=_period(ever, None), today=today, last_hour=hour, last_24_hours=day)


def today_of(tallies: "Iterable[Tally]", folder: str) -> "Total":
    """What arrived and failed today in a folder."""
    from ..jobs.totals import Total

    total = Total()
    for tally in tallies:
        if tally.folder == folder:
            total += tally.since[0]
    return total


def _period(total: "Total", seconds: float | None) -> Period:
    ended = total.arrived + total.failed
    return Period(
        arrived=total.arrived,
        arrived_bytes=total.bytes,
        failed=total.failed,
        success_rate=total.arrived / ended if ended else None,
        bytes_per_second=total.bytes / seconds if seconds else None,
    )
