"""What has arrived and what has failed, by quarters of an hour: asking costs the same at ten jobs and at a million.

A quarter: every offset of a time zone is a multiple of it, so that a day begins with one wherever the agent is.
"""

import sqlite3
from dataclasses import dataclass

from .model import Job

BUCKET_SECONDS = 900
KEPT_SECONDS = 48 * 3600
"""So long the quarters are kept apart; what is older is one sum."""

_ALL_OLDER = 0


@dataclass(frozen=True, slots=True)
class Total:
    """Files that arrived, their bytes, and files that failed."""

    arrived: int = 0
    bytes: int = 0
    failed: int = 0

    def __add__(self, other: "Total") -> "Total":
        return Total(self.arrived + other.arrived, self.bytes + other.bytes, self.failed + other.failed)


@dataclass(frozen=True, slots=True)
class Tally:
    """The totals of a folder and an endpoint: of all times, and since each of the instants that were asked for."""

    folder: str
    endpoint: str
    ever: Total
    since: tuple[Total, ...]


def bucket_of(at: float) -> int:
    """The beginning of the quarter that an instant lies in, in seconds since the epoch."""
    return max(int(at // BUCKET_SECONDS) * BUCKET_SECONDS, _ALL_OLDER + 1)


def count(connection: sqlite3.Connection, job: Job, now: float, *, arrived: int = 0, failed: int = 0) -> None:
    """Counts a job that arrived, or failed, within the caller's transaction."""
    size_bytes = job.size_bytes if arrived else 0
    bucket = bucket_of(now)
    folder = "(SELECT id FROM folders WHERE path = ?)"
    updated = connection.execute(
        "UPDATE totals SET arrived = arrived + ?, bytes = bytes + ?, failed = failed + ? "
        f"WHERE bucket = ? AND folder_id = {folder} AND endpoint = ?",
        (arrived, size_bytes, failed, bucket, job.place.folder, job.endpoint),
    )
    if not updated.rowcount:
        connection.execute(
            f"INSERT INTO totals VALUES (?, {folder}, ?, ?, ?, ?)",
            (bucket, job.place.folder, job.endpoint, arrived, size_bytes, failed),
        )
        _sum_up(connection, bucket_of(now - KEPT_SECONDS))


def _sum_up(connection: sqlite3.Connection, before: int) -> None:
    """Adds the quarters before this one to the sum of all that is older."""
    connection.execute(
        "INSERT INTO totals SELECT ?, folder_id, endpoint, SUM(arrived), SUM(bytes), SUM(failed) FROM totals "
        "WHERE bucket > ? AND bucket < ? GROUP BY folder_id, endpoint ON CONFLICT DO UPDATE SET "
        "arrived = arrived + excluded.arrived, bytes = bytes + excluded.bytes, failed = failed + excluded.failed",
        (_ALL_OLDER, _ALL_OLDER, before),
    )
    connection.execute("DELETE FROM totals WHERE bucket > ? AND bucket < ?", (_ALL_OLDER, before))


def tallies(connection: sqlite3.Connection, since: tuple[float, ...]) -> list[Tally]:
    """The totals of every folder and endpoint; each instant (of the last two days) counts from its quarter on.

    The cost depends on the folders and endpoints of the last two days, not on the number of jobs.
    """
    names = ("arrived", "bytes", "failed")
    ever = ", ".join(f"SUM(t.{name})" for name in names)
    asked = "".join(f", SUM(t.{name} * (t.bucket >= {bucket_of(at)}))" for at in since for name in names)
    rows = connection.execute(
        f"SELECT f.path, t.endpoint, {ever}{asked} FROM totals t JOIN folders f ON f.id = t.folder_id "
        "GROUP BY t.folder_id, t.endpoint ORDER BY f.path, t.endpoint"
    )
    return [
        Tally(path, endpoint, Total(*sums[:3]), tuple(Total(*sums[at : at + 3]) for at in range(3, len(sums), 3)))
        for path, endpoint, *sums in rows
    ]
