"""The failed attempts of each job, the last few: written with the move that they cause, gone with the job."""

import sqlite3
from dataclasses import dataclass

from .model import Job

KEPT_FAILURES = 10
KEPT_WORDS = 500
"""So many characters of an error are kept here; the row itself has the last one whole."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that failed: when (seconds since the epoch), the short kind, what happened."""

    at: float
    cause: str
    words: str


def note(connection: sqlite3.Connection, job: Job, at: float | None, cause: str, words: str) -> None:
    """Notes that the attempt of the job's present claim failed, within the caller's transaction.

    `at`: when it failed; the instant of the claim stands for it where that is not known.
    """
    failed_at = at if at is not None else job.claimed_at
    connection.execute(
        "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?)",
        (job.id, job.claim_id, failed_at, cause, words[:KEPT_WORDS]),
    )
    connection.execute(
        "DELETE FROM failures WHERE job_id = ? AND claim_id <= "
        "(SELECT claim_id FROM failures WHERE job_id = ? ORDER BY claim_id DESC LIMIT 1 OFFSET ?)",
        (job.id, job.id, KEPT_FAILURES),
    )


def of_job(connection: sqlite3.Connection, job_id: int) -> list[Failure]:
    """The failed attempts of a job that are kept, the latest last."""
    rows = connection.execute("SELECT at, cause, words FROM failures WHERE job_id = ? ORDER BY claim_id", (job_id,))
    return [Failure(*row) for row in rows]
