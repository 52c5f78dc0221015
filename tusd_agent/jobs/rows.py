"""Rows to values and back: the one column list that reading and writing share."""

import sqlite3
from typing import Any
from uuid import UUID

from .model import Fingerprint, Job, Place
from .states import State

JOB_COLUMNS = """
    j.id, j.uuid, f.path, d.path, j.name, j.endpoint, j.state, j.size_bytes, j.mtime_ns, j.ctime_ns, j.inode,
    j.not_before, j.created_at, j.claimed_at, j.delivered_at, j.finished_at, j.attempts, j.restarts, j.claim_id,
    j.upload_url, j.offset_bytes, j.digest, j.digest_bytes, j.last_error, j.reason,
    j.final_answer, j.waiting_since, j.cause
"""
JOB_TABLES = "jobs j JOIN directories d ON d.id = j.directory_id JOIN folders f ON f.id = j.folder_id"
SELECT_JOB = f"SELECT {JOB_COLUMNS} FROM {JOB_TABLES}"


JOBS_OF_PATH = f"""{SELECT_JOB}
    WHERE j.directory_id = (SELECT d2.id FROM directories d2 JOIN folders f2 ON f2.id = d2.folder_id
        WHERE f2.path = ? AND d2.path = ?) AND j.name = ?
    ORDER BY j.placed DESC, j.id DESC"""
"""The jobs of one path (folder, directory, name), newest content first."""


def job_of(row: tuple[Any, ...]) -> Job:
    """The job that a row of `SELECT_JOB` holds."""
    (
        id_, uuid, folder, directory, name, endpoint, state, size, mtime, ctime, inode, not_before, created_at,
        claimed_at, delivered_at, finished_at, attempts, restarts, claim_id, upload_url, offset, digest,
        digest_bytes, last_error, reason, final_answer, waiting_since, cause,
    ) = row  # fmt: skip
    return Job(
        id=id_,
        uuid=UUID(bytes=uuid),
        place=Place(folder, directory, name),
        endpoint=endpoint,
        state=State(state),
        fingerprint=Fingerprint(size, mtime, ctime, inode),
        not_before=not_before,
        created_at=created_at,
        claimed_at=claimed_at,
        delivered_at=delivered_at,
        finished_at=finished_at,
        attempts=attempts,
        restarts=restarts,
        claim_id=claim_id,
        upload_url=upload_url,
        offset_bytes=offset,
        digest=digest,
        digest_bytes=digest_bytes,
        last_error=last_error,
        reason=reason,
        final_answer=final_answer,
        waiting_since=waiting_since,
        cause=cause,
    )


def job_by_id(connection: sqlite3.Connection, job_id: int) -> Job | None:
    """The job of this id, as the row stands now."""
    row = connection.execute(f"{SELECT_JOB} WHERE j.id = ?", (job_id,)).fetchone()
    return job_of(row) if row else None


def folder_id(connection: sqlite3.Connection, folder: str) -> int:
    """The id of a watched folder's row, made where there is none."""
    row = connection.execute("SELECT id FROM folders WHERE path = ?", (folder,)).fetchone()
    if row:
        return int(row[0])
    return int(connection.execute("INSERT INTO folders (path) VALUES (?)", (folder,)).lastrowid or 0)


def directory_id(connection: sqlite3.Connection, folder: int, directory: bytes) -> int:
    """The id of a directory's row below a watched folder, made where there is none."""
    row = connection.execute(
        "SELECT id FROM directories WHERE folder_id = ? AND path = ?", (folder, directory)
    ).fetchone()
    if row:
        return int(row[0])
    made = connection.execute("INSERT INTO directories (folder_id, path) VALUES (?, ?)", (folder, directory))
    return int(made.lastrowid or 0)
