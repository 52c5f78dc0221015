"""What waits in the queue, and in which order: the questions behind every claim, each answered by an index alone.

The jobs of a lane fall into kinds: never claimed yet or claimed before, small or large. Each kind has an order of its
own, by the instant its jobs became ready, so that the first of every kind is one look into `jobs_waiting`, at ten jobs
as at a million. Which kind's turn it is decides `delivery`.
"""

import sqlite3
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from .model import Lane
from .rows import SELECT_JOB
from .schema import AGE, IS_TRIED, fitted_small_file_bytes, is_large

_WAITS = "state IN ('pending', 'delivered')"


class Kind(NamedTuple):
    """`tried`: a worker had it before; `large`: larger than what counts as a small file."""

    tried: bool
    large: bool


KINDS = tuple(Kind(tried, large) for tried in (False, True) for large in (False, True))


@dataclass(frozen=True, slots=True)
class Head:
    """The first job of its kind in a lane: when it is ready, in seconds since the epoch."""

    lane: Lane
    kind: Kind
    ready_at: float


def heads(connection: sqlite3.Connection, small_file_bytes: int) -> list[Head]:
    """The heads of all lanes in which jobs wait. The cost depends on the number of lanes, not of jobs."""
    rows = connection.execute(_select_heads(small_file_bytes)).fetchall()
    return [
        Head(Lane(folder, endpoint), kind, at)
        for folder, endpoint, *ats in rows
        for kind, at in zip(KINDS, ats, strict=True)
        if at is not None
    ]


@cache
def _select_heads(small_file_bytes: int) -> str:
    firsts = ", ".join(
        f"(SELECT MIN(not_before) FROM jobs INDEXED BY jobs_waiting WHERE folder_id = w.folder_id "
        f"AND endpoint = w.endpoint AND {_WAITS} AND {_of(kind, small_file_bytes)})"
        for kind in KINDS
    )
    return (
        f"SELECT f.path, w.endpoint, {firsts} FROM (SELECT DISTINCT folder_id, endpoint FROM counters "
        f"WHERE {_WAITS} AND jobs > 0) w JOIN folders f ON f.id = w.folder_id"
    )


def waiting_for(connection: sqlite3.Connection, endpoint: str) -> int:
    """How many jobs wait for this endpoint; the cost does not depend on how many."""
    (jobs,) = connection.execute(
        f"SELECT COALESCE(SUM(jobs), 0) FROM counters WHERE endpoint = ? AND {_WAITS}", (endpoint,)
    ).fetchone()
    return int(jobs)


def claimable(connection: sqlite3.Connection, lane: Lane, kind: Kind, now: float, small_file_bytes: int) -> Any:
    """The row (as of `SELECT_JOB`) of the job of this kind that has been ready longest and may go, or `None`.

    Not one whose path has another job with a worker, or an older one that waits to be sent.
    """
    select = _select_claimable(kind, small_file_bytes)
    return connection.execute(select, (lane.folder, lane.endpoint, now)).fetchone()


@cache
def _select_claimable(kind: Kind, small_file_bytes: int) -> str:
    return f"""{SELECT_JOB.replace("FROM jobs j", "FROM jobs j INDEXED BY jobs_waiting")}
        WHERE j.folder_id = (SELECT id FROM folders WHERE path = ?) AND j.endpoint = ?
        AND j.{_WAITS} AND {_of(kind, small_file_bytes, "j.")} AND j.not_before <= ?
        AND NOT EXISTS (
            SELECT 1 FROM jobs o WHERE o.directory_id = j.directory_id AND o.name = j.name AND o.id <> j.id
            AND (o.state IN ('uploading', 'disposing')
                OR ((o.placed, o.id) < (j.placed, j.id) AND o.state = 'pending'))
        )
        ORDER BY j.not_before LIMIT 1"""


def next_ready_at(
    connection: sqlite3.Connection, lane: Lane, kind: Kind, now: float, small_file_bytes: int
) -> float | None:
    """When the next job of this kind becomes ready that is not so now."""
    (at,) = connection.execute(
        "SELECT MIN(not_before) FROM jobs INDEXED BY jobs_waiting "
        f"WHERE folder_id = (SELECT id FROM folders WHERE path = ?) AND endpoint = ? AND {_WAITS} "
        f"AND {_of(kind, small_file_bytes)} AND not_before > ?",
        (lane.folder, lane.endpoint, now),
    ).fetchone()
    return None if at is None else float(at)


def oldest_at(connection: sqlite3.Connection, folder: str) -> float | None:
    """Since when the folder's job has waited that has waited longest to be sent; needs the index by age."""
    (at,) = connection.execute(
        f"SELECT MIN({AGE}) FROM jobs INDEXED BY jobs_by_age "
        "WHERE folder_id = (SELECT id FROM folders WHERE path = ?) AND state = 'pending'",
        (folder,),
    ).fetchone()
    return None if at is None else float(at)


def oldest(connection: sqlite3.Connection) -> dict[str, float]:
    """Of each folder in which jobs wait to be sent: since when the one that has waited longest does, about.

    Those that no worker had yet are ready since they wait; the others are in an index by their age. The cost depends on
    the number of lanes, not of jobs.
    """
    fresh = ", ".join(
        f"(SELECT MIN(not_before) FROM jobs INDEXED BY jobs_waiting WHERE folder_id = w.folder_id "
        f"AND endpoint = w.endpoint AND {_WAITS} AND {_of(Kind(False, large), fitted_small_file_bytes(connection))})"
        for large in (False, True)
    )
    rows = connection.execute(
        f"SELECT f.path, {fresh}, (SELECT MIN({AGE}) FROM jobs INDEXED BY jobs_tried_by_age "
        f"WHERE folder_id = w.folder_id AND state = 'pending' AND {IS_TRIED}) "
        "FROM (SELECT DISTINCT folder_id, endpoint FROM counters WHERE state = 'pending' AND jobs > 0) w "
        "JOIN folders f ON f.id = w.folder_id"
    )
    found: dict[str, float] = {}
    for folder, *ats in rows:
        for at in ats:
            if at is not None:
                found[folder] = min(at, found.get(folder, at))
    return found


def waiting_since(connection: sqlite3.Connection, folder: str, instant: float, limit: int) -> list[Any]:
    """The rows (as of `SELECT_JOB`) of at most `limit` jobs that have waited to be sent since `instant` or longer."""
    return connection.execute(
        f"{SELECT_JOB} WHERE j.id IN (SELECT id FROM jobs INDEXED BY jobs_by_age "
        "WHERE folder_id = (SELECT id FROM folders WHERE path = ?) AND state = 'pending' "
        f"AND {AGE} <= ? ORDER BY {AGE} LIMIT ?)",
        (folder, instant, limit),
    ).fetchall()


def put_off_beyond(
    connection: sqlite3.Connection, head: Head, instant: float, to: float, small_file_bytes: int, limit: int
) -> int:
    """Has at most `limit` of the head's kind in its lane that wait for longer than until `instant` wait until `to`.

    Returns how many jobs that were.
    """
    return connection.execute(
        "UPDATE jobs SET not_before = ? WHERE id IN (SELECT id FROM jobs INDEXED BY jobs_waiting "
        f"WHERE folder_id = (SELECT id FROM folders WHERE path = ?) AND endpoint = ? AND {_WAITS} "
        f"AND {_of(head.kind, small_file_bytes)} AND not_before > ? LIMIT ?)",
        (to, head.lane.folder, head.lane.endpoint, instant, limit),
    ).rowcount


def _of(kind: Kind, small_file_bytes: int, table: str = "") -> str:
    """The condition for a kind, in the very words of the index: SQLite knows expressions by their text."""
    return f"({table}{IS_TRIED}) = {int(kind.tried)} AND ({table}{is_large(small_file_bytes)}) = {int(kind.large)}"
