"""Every change of a job's state goes through `move`: the table says whether, one guarded statement does it."""

import sqlite3
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from .model import Entry, Fingerprint, Found, Job, Place
from .moved import note, note_new
from .rows import JOBS_OF_PATH, SELECT_JOB, directory_id, folder_id, job_of
from .states import EXISTING_IGNORED, LEDGER_LOST, SUPERSEDABLE, Event, State, target

COLUMNS = frozenset(
    {
        "not_before", "claimed_at", "delivered_at", "finished_at", "attempts", "restarts", "claim_id",
        "upload_url", "offset_bytes", "digest", "digest_bytes", "last_error", "reason", "final_answer", "waiting_since",
        "cause",
    }
)  # fmt: skip
"""The columns that an event may change under their own names; path and fingerprint have verbs of their own."""

FRESH_UPLOAD: Mapping[str, Any] = MappingProxyType(
    {"upload_url": None, "offset_bytes": 0, "digest": None, "digest_bytes": 0, "final_answer": None}
)
"""The columns of a job none of whose content lies on a server."""

_ENTRIES: Mapping[Entry, tuple[Event, str | None]] = MappingProxyType(
    {
        Entry.QUEUE: (Event.ENQUEUE, None),
        Entry.HOLD: (Event.HOLD, LEDGER_LOST),
        Entry.IGNORE: (Event.CANCEL, EXISTING_IGNORED),
    }
)
"""The event that makes the row, and the reason it carries."""


class StaleClaim(Exception):
    """Somebody else has decided about this job: it is to be dropped, and nothing of it to be written."""


def move(connection: sqlite3.Connection, job: Job, event: Event, **changes: Any) -> Job:
    """Moves `job` by `event` and returns it as it is now.

    Guarded by state and claim: raises `StaleClaim` when the row has moved on since `job` was read, `IllegalMove`
    when the table has no such event for its state.
    """
    unknown = changes.keys() - COLUMNS
    if unknown:
        raise TypeError(f"not columns that an event may change: {sorted(unknown)}")
    state = target(job.state, event)
    # A state that stays is left alone: most indexes depend on it, and each would be written anew.
    assigned = changes if state is job.state and changes else {"state": state, **changes}
    assignments = ", ".join(f"{column} = ?" for column in assigned)
    moved = connection.execute(
        f"UPDATE jobs SET {assignments} WHERE id = ? AND state = ? AND claim_id = ?",
        (*assigned.values(), job.id, job.state, job.claim_id),
    )
    if moved.rowcount != 1:
        raise StaleClaim(f"job {job.id} is no longer {job.state} under claim {job.claim_id}")
    if event is not Event.PROGRESS:
        note(job, state, event, changes)
    return job._replace(state=state, **changes)


def rewrite_fingerprint(connection: sqlite3.Connection, job: Job, fingerprint: Fingerprint) -> Job:
    """Notes the fingerprint that the job's content has now; returns the job with it."""
    values = fingerprint.size_bytes, fingerprint.mtime_ns, fingerprint.ctime_ns, fingerprint.inode
    # Mostly the row has it already, and writing it again would cost as much as writing another.
    connection.execute(
        "UPDATE jobs SET size_bytes = ?, mtime_ns = ?, ctime_ns = ?, inode = ? "
        "WHERE id = ? AND (size_bytes, mtime_ns, ctime_ns, inode) <> (?, ?, ?, ?)",
        (*values, job.id, *values),
    )
    return job._replace(fingerprint=fingerprint)


def jobs_at(connection: sqlite3.Connection, place: Place) -> list[Job]:
    """The jobs of a path, newest first."""
    rows = connection.execute(JOBS_OF_PATH, (place.folder, place.directory, place.name))
    return [job_of(row) for row in rows]


def jobs_of_file(connection: sqlite3.Connection, found: Found) -> list[Job]:
    """Jobs of the folder with this inode, size and mtime under whatever name, newest first; the latest few of them."""
    fingerprint = found.fingerprint
    if not fingerprint.inode:
        return []
    rows = connection.execute(
        f"{SELECT_JOB} WHERE j.inode = ? AND j.size_bytes = ? AND j.mtime_ns = ? AND j.state <> ? "
        "AND f.path = ? ORDER BY j.id DESC LIMIT 16",
        (
            fingerprint.inode,
            fingerprint.size_bytes,
            fingerprint.mtime_ns,
            State.SUPERSEDED,
            found.place.folder,
        ),
    )
    return [job_of(row) for row in rows]


def insert(
    connection: sqlite3.Connection, found: Found, older: list[Job], now: float, not_before: float
) -> tuple[int, list[Job]]:
    """A new job for this content; of the `older` ones, all of its path, those that wait, send or failed are superseded.

    Returns the new job's id and the superseded jobs that a worker was sending.
    """
    revoked = supersede(connection, older, now)
    folder = folder_id(connection, found.place.folder)
    directory = directory_id(connection, folder, found.place.directory)
    fingerprint = found.fingerprint
    event, reason = _ENTRIES[found.entry]
    made = connection.execute(
        "INSERT INTO jobs (uuid, folder_id, directory_id, name, endpoint, state, reason, cause, finished_at, "
        "size_bytes, mtime_ns, ctime_ns, inode, not_before, created_at, placed) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            uuid4().bytes,
            folder,
            directory,
            found.place.name,
            found.endpoint,
            target(None, event),
            reason,
            reason if found.entry is Entry.HOLD else None,
            now if found.entry is Entry.IGNORE else None,
            fingerprint.size_bytes,
            fingerprint.mtime_ns,
            fingerprint.ctime_ns,
            fingerprint.inode,
            not_before,
            now,
            (newest_placed(connection, directory, found.place.name) or 0) if older else 0,
        ),
    )
    job_id = int(made.lastrowid or 0)
    note_new(job_id, found.place, target(None, event), event, reason)
    return job_id, revoked


def supersede(connection: sqlite3.Connection, jobs: list[Job], now: float) -> list[Job]:
    """Other content is at their path now: those that wait, send or failed are superseded, their uploads terminated.

    Returns those that a worker was sending.
    """
    revoked = []
    for older in jobs:
        if older.state in SUPERSEDABLE:
            abandon_upload(connection, older, now)
            move(connection, older, Event.SUPERSEDE, finished_at=now, reason="its path holds newer content")
            if older.state is State.UPLOADING:
                revoked.append(older)
    return revoked


def newest_placed(connection: sqlite3.Connection, directory: int, name: bytes) -> int | None:
    """The highest `placed` among the rows of a path; `None`: it has no row."""
    (highest,) = connection.execute(
        "SELECT MAX(placed) FROM jobs WHERE directory_id = ? AND name = ?", (directory, name)
    ).fetchone()
    return None if highest is None else int(highest)


def abandon_upload(connection: sqlite3.Connection, job: Job, now: float) -> None:
    """Queues the termination of a job's unfinished upload, if it has one."""
    if job.upload_url is not None:
        add_leftover(connection, job.endpoint, job.upload_url, now)


def add_leftover(connection: sqlite3.Connection, endpoint: str, upload_url: str, now: float) -> None:
    """Queues the termination of an upload that has lost its job."""
    connection.execute(
        "INSERT INTO leftovers (endpoint, upload_url, not_before) VALUES (?, ?, ?)", (endpoint, upload_url, now)
    )
