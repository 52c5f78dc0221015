"""The jobs in trouble, counted by their cause: failed, held, or waiting after an attempt that failed.

Each question is a look into one index; a group of very many is counted up to `MAX_COUNTED` only, and there are never
more than `MAX_GROUPS`, so that the answer takes no longer for a million jobs.
"""

import sqlite3
from dataclasses import dataclass

from .model import Job
from .rows import job_by_id
from .schema import IN_TROUBLE
from .states import State

MAX_GROUPS = 100
MAX_COUNTED = 100_000


@dataclass(frozen=True, slots=True)
class Trouble:
    """The jobs of one cause and state: how many (`counted_all`: not more than that), and the newest of them."""

    cause: str
    state: State
    jobs: int
    counted_all: bool
    example: Job


def troubles(connection: sqlite3.Connection) -> list[Trouble]:
    """All causes there are, at most `MAX_GROUPS` of cause and state, in the order of their words."""
    found: list[Trouble] = []
    those = f"FROM jobs INDEXED BY jobs_in_trouble WHERE {IN_TROUBLE}"
    at: tuple[str, str] = ("", "")
    while len(found) < MAX_GROUPS:
        # From group to group through the index, past all the jobs of one.
        after = connection.execute(
            f"SELECT cause, state {those} AND (cause, state) > (?, ?) ORDER BY cause, state LIMIT 1", at
        ).fetchone()
        if after is None:
            break
        at = (after[0], after[1])
        (jobs,) = connection.execute(
            f"SELECT COUNT(*) FROM (SELECT 1 {those} AND cause = ? AND state = ? LIMIT ?)", (*at, MAX_COUNTED + 1)
        ).fetchone()
        (newest,) = connection.execute(f"SELECT MAX(id) {those} AND cause = ? AND state = ?", at).fetchone()
        example = job_by_id(connection, newest)
        if example is not None:
            all_of_them = jobs <= MAX_COUNTED
            found.append(Trouble(at[0], State(at[1]), min(jobs, MAX_COUNTED), all_of_them, example))
    return found
