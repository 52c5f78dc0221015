"""The delivery's side of the queue: claiming a job, and telling what became of it.

Each verb is one guarded move; one that comes too late raises `StaleClaim`, and the worker drops the job.
"""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from . import history, totals, waiting
from .causes import OTHER, UPLOAD_LOST
from .database import Database
from .leftovers import Leftovers
from .model import Fingerprint, Found, Job, Lane, Sent
from .moves import FRESH_UPLOAD, StaleClaim, abandon_upload, insert, jobs_at, jobs_of_file, move, rewrite_fingerprint
from .rows import SELECT_JOB, job_by_id, job_of
from .schema import DEFAULT_SMALL_FILE_BYTES, fit_indexes
from .states import TOO_OLD, Event, State
from .waiting import Head, Kind

MAX_RESTARTS = 3
"""So often in a row may the server lose an upload before a person has to look."""

CLAMP_STEP_JOBS = 2000
"""So many rows change in one commit when the clock was set back."""


class Claims:
    """What workers ask and tell. Safe for use by several threads; `now` is seconds since the epoch."""

    def __init__(self, database: Database, small_file_bytes: int = DEFAULT_SMALL_FILE_BYTES) -> None:
        self._database = database
        self._small_file_bytes = small_file_bytes
        self.leftovers = Leftovers(database)

    def fit(self, *, by_age: bool) -> None:
        """Fits the indexes to the settings, before anything else is asked.

        `by_age`: whether `too_old` and `oldest_at` will be.
        """
        with self._database.transaction() as connection:
            fit_indexes(connection, self._small_file_bytes, by_age=by_age)

    def step_aside(self, aside: Callable[[], AbstractContextManager[object]]) -> None:
        """From now on each thread enters `aside()` for as long as it waits for a commit to be on the disk."""
        self._database.aside = aside

    def ensure_writable(self) -> None:
        """After the database could not be written: raises `DatabaseUnwritable` when it still can't."""
        self._database.ensure_writable()

    def recover(self) -> int:
        """Puts what a crash left with a worker back to waiting; at start, before any worker. Returns how many."""
        with self._database.transaction(durable=True) as connection:
            rows = connection.execute(f"{SELECT_JOB} WHERE j.state IN ('uploading', 'disposing')").fetchall()
            for row in rows:
                job = job_of(row)
                move(connection, job, Event.RECOVER, attempts=max(job.attempts - 1, 0))
        return len(rows)

    def clamp(self, now: float, longest_seconds: float, is_stopping: Callable[[], bool] = lambda: False) -> int:
        """The clock was set back: nothing waits longer from now than it ever would have. Returns how many jobs did.

        In steps, so that others come to the queue in between; `is_stopping()` ends it after any of them.
        """
        changed = 0
        for head in self.heads():
            while not is_stopping():
                with self._database.transaction() as connection:
                    step = waiting.put_off_beyond(
                        connection, head, now + longest_seconds, now, self._small_file_bytes, CLAMP_STEP_JOBS
                    )
                changed += step
                if step < CLAMP_STEP_JOBS:
                    break
        return changed

    def heads(self) -> list[Head]:
        """The first job of each kind in each lane, ready or not."""
        with self._database.reading() as connection:
            return waiting.heads(connection, self._small_file_bytes)

    def next_ready_at(self, head: Head, now: float) -> float | None:
        """When the next job of this lane and kind becomes ready that is not so now."""
        with self._database.reading() as connection:
            return waiting.next_ready_at(connection, head.lane, head.kind, now, self._small_file_bytes)

    def waiting_for(self, endpoint: str) -> int:
        """How many jobs wait for this endpoint."""
        with self._database.reading() as connection:
            return waiting.waiting_for(connection, endpoint)

    def claim(self, lane: Lane, now: float, kind: Kind | None = None) -> Job | None:
        """The job of the lane that has been ready longest, now ours; `None` when none is ready. `kind`: of this kind.

        Of one path at most one job is claimed at a time, and contents are sent in order of age. One that is on the
        server and only waits to be disposed of holds up nothing: its path's newer content may go.
        """
        kinds = (kind,) if kind is not None else waiting.KINDS
        with self._database.transaction() as connection:
            found = [waiting.claimable(connection, lane, each, now, self._small_file_bytes) for each in kinds]
            jobs = [job_of(row) for row in found if row is not None]
            if not jobs:
                return None
            job = min(jobs, key=lambda each: each.not_before)
            return move(
                connection,
                job,
                Event.CLAIM,
                attempts=job.attempts + 1,
                claim_id=job.claim_id + 1,
                claimed_at=now,
            )

    def too_old(self, folder: str, since: float, now: float, words: str, limit: int = 500) -> list[Job]:
        """Fails the folder's jobs, at most `limit`, that have waited to be sent since then or longer; returns them.

        What the server has of them is kept, and `retry` begins a new wait.
        """
        with self._database.transaction(durable=True) as connection:
            jobs = [job_of(row) for row in waiting.waiting_since(connection, folder, since, limit)]
            failed = [
                move(
                    connection,
                    job,
                    Event.EXPIRE,
                    reason=TOO_OLD,
                    cause=TOO_OLD,
                    last_error=f"{words}; {job.last_error}" if job.last_error else words,
                    finished_at=now,
                )
                for job in jobs
            ]
            for job in failed:
                totals.count(connection, job, now, failed=1)
        return failed

    def oldest_at(self, folder: str) -> float | None:
        """Since when the folder's job has waited that has waited longest to be sent; `None`: none does."""
        with self._database.reading() as connection:
            return waiting.oldest_at(connection, folder)

    def forget_url(self, job: Job, now: float) -> Job:
        """A claimed job's upload belongs to another origin, or may be of another content: a new one is begun."""
        with self._database.transaction(durable=True) as connection:
            abandon_upload(connection, job, now)
            return move(connection, job, Event.PROGRESS, **FRESH_UPLOAD)

    def created(self, job: Job, upload_url: str, digest: bytes | None = None) -> Job:
        """The server has made an upload: its URL is on the disk when this returns.

        `digest` is the SHA-256 of the whole content, where that was read before. When the claim is stale it raises
        `StaleClaim`, and the upload just made is the caller's to terminate.
        """
        with self._database.transaction(durable=True) as connection:
            return move(
                connection,
                job,
                Event.CREATED,
                **{**FRESH_UPLOAD, "upload_url": upload_url, **_digested(digest, job.size_bytes)},
            )

    def read_whole(self, job: Job, digest: bytes) -> Job:
        """All of it was read, and `digest` is its SHA-256; on the disk when this returns."""
        with self._database.transaction(durable=True) as connection:
            return move(connection, job, Event.PROGRESS, **_digested(digest, job.size_bytes))

    def answered_last_byte(self, job: Job, answer: str | None) -> Job:
        """The server answered the request with the last byte with an error; on the disk when this returns.

        `None`: it turned out not to have all of it, so that answer was about something else.
        """
        with self._database.transaction(durable=True) as connection:
            return move(connection, job, Event.PROGRESS, final_answer=answer)

    def progress(self, job: Job, offset_bytes: int, digest: bytes | None, digest_bytes: int | None = None) -> Job:
        """So far the upload has come. `digest` is the SHA-256 of the first `digest_bytes` bytes, which may be more than
        those that have arrived (`None`: exactly those)."""
        covered = offset_bytes if digest_bytes is None else digest_bytes
        with self._database.transaction() as connection:
            return move(connection, job, Event.PROGRESS, offset_bytes=offset_bytes, **_digested(digest, covered))

    def defer(
        self,
        job: Job,
        not_before: float,
        error: str,
        *,
        now: float | None = None,
        cause: str = OTHER,
        advanced: bool = False,
    ) -> Job:
        """It did not work now: try again at `not_before`. An attempt that moved the offset counts as the first.

        `cause`: the short kind of `error`. `now`: when it failed; the instant of the claim stands for it otherwise.
        """
        with self._database.transaction() as connection:
            deferred = move(
                connection,
                job,
                Event.DEFER,
                not_before=not_before,
                last_error=error,
                cause=cause,
                attempts=0 if advanced else job.attempts,
                restarts=0 if advanced else job.restarts,
            )
            history.note(connection, job, now, cause, error)
        return deferred

    def interrupt(
        self, job: Job, *, not_before: float | None = None, error: str | None = None, cause: str | None = None
    ) -> Job:
        """A stop was asked for, or the whole endpoint is out of reach (`error`): as if it had not been claimed.

        With `not_before` it goes behind those that have been ready since before that. `cause`: the kind of `error`.
        """
        given = {"not_before": not_before, "last_error": error, "cause": cause}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        with self._database.transaction() as connection:
            return move(connection, job, Event.INTERRUPT, attempts=max(job.attempts - 1, 0), **changes)

    def restart(self, job: Job, not_before: float, error: str, *, now: float | None = None) -> Job:
        """The server has lost the upload: begin a new one, but not for ever without progress. `now`: as of `defer`."""
        if job.restarts >= MAX_RESTARTS:
            words = f"{UPLOAD_LOST} {MAX_RESTARTS + 1} times in a row"
            return self.fail(job, error, not_before if now is None else now, words, UPLOAD_LOST)
        with self._database.transaction(durable=True) as connection:
            restarted = move(
                connection,
                job,
                Event.RESTART,
                **FRESH_UPLOAD,
                restarts=job.restarts + 1,
                not_before=not_before,
                last_error=error,
                cause=UPLOAD_LOST,
            )
            history.note(connection, job, now, UPLOAD_LOST, error)
        return restarted

    def fail(self, job: Job, error: str, now: float, reason: str, cause: str | None = None) -> Job:
        """A person must look: `error` is what happened, `reason` its short kind, `cause` a more exact one."""
        cause = cause or reason
        with self._database.transaction(durable=True) as connection:
            failed = move(connection, job, Event.FAIL, last_error=error, reason=reason, cause=cause, finished_at=now)
            history.note(connection, job, now, cause, error)
            totals.count(connection, job, now, failed=1)
        return failed

    def finish(self, job: Job, now: float, reason: str | None = None, *, sent: Sent | None = None) -> Job:
        """Done. From uploading (with `sent`): the server has it all and nothing is to be disposed of."""
        changes: dict[str, Any] = {"finished_at": now, "last_error": None, "reason": reason, "cause": None}
        with self._database.transaction(durable=True) as connection:
            if sent is None:
                return move(connection, job, Event.FINISH, **changes)
            done = move(connection, job, Event.FINISH, **changes, **_delivered(job, now, sent))
            totals.count(connection, job, now, arrived=1)
            return rewrite_fingerprint(connection, done, sent.fingerprint)

    def deliver(self, job: Job, now: float, sent: Sent) -> Job:
        """The server has it all; durable before anything is done to the file."""
        with self._database.transaction(durable=True) as connection:
            changes = {"attempts": 0, "last_error": None, "cause": None, **_delivered(job, now, sent)}
            delivered = move(connection, job, Event.DELIVER, **changes)
            totals.count(connection, job, now, arrived=1)
            rewrite_fingerprint(connection, delivered, sent.fingerprint)
            return job_by_id(connection, job.id) or delivered  # it may have been renamed meanwhile

    def vanish(self, job: Job, now: float) -> Job:
        """The file is gone before it was sent."""
        with self._database.transaction() as connection:
            if _renamed(connection, job):
                return move(connection, job, Event.INTERRUPT, attempts=max(job.attempts - 1, 0))
            abandon_upload(connection, job, now)
            return move(connection, job, Event.VANISH, finished_at=now, upload_url=None, reason="the file is gone")

    def put_back(self, job: Job, fingerprint: Fingerprint) -> Job:
        """The file was renamed aside and back, which moved its ctime and nothing else."""
        with self._database.transaction() as connection:
            _current(connection, job)
            return rewrite_fingerprint(connection, job, fingerprint)

    def replace(self, job: Job, found: Found, now: float, not_before: float) -> int | None:
        """The path holds newer content: this job is superseded and the newer one queued, in one commit.

        A job of which nothing was sent yet becomes the newer one itself: a file that keeps growing leaves no trail of
        rows.

        The newer one is tried from `not_before` on: it must have time to settle. Returns its id; `None` when none was
        queued, because the file has a job under another name: only the intake can tell whether it was renamed. Raises
        `StaleClaim`, with nothing changed, when the claim is.
        """
        with self._database.transaction() as connection:
            current = _current(connection, job)
            if current.place != job.place:  # it is looked at again under its new name
                return move(connection, job, Event.INTERRUPT, attempts=max(job.attempts - 1, 0)).id
            known = _known_elsewhere(connection, job, found)
            if known is not None:
                abandon_upload(connection, job, now)
                move(connection, job, Event.SUPERSEDE, finished_at=now, reason="its path holds newer content")
                return known.id
            if _under_another_name(connection, found):
                abandon_upload(connection, job, now)
                move(connection, job, Event.SUPERSEDE, finished_at=now, reason="its path holds newer content")
                return None
            if job.upload_url is None:
                waiting = move(
                    connection, job, Event.INTERRUPT, not_before=not_before, attempts=max(job.attempts - 1, 0)
                )
                return rewrite_fingerprint(connection, waiting, found.fingerprint).id
            made, _ = insert(connection, found, jobs_at(connection, found.place), now, not_before)
        return made

    def hold(self, job: Job, reason: str) -> Job:
        """The agent keeps the job back, for a reason the operator can mend."""
        with self._database.transaction() as connection:
            return move(connection, job, Event.HOLD, reason=reason, cause=reason, attempts=max(job.attempts - 1, 0))


def _delivered(job: Job, now: float, sent: Sent) -> dict[str, Any]:
    return {
        "delivered_at": now,
        "upload_url": job.upload_url,
        "offset_bytes": job.size_bytes,
        **_digested(sent.digest, job.size_bytes),
    }


def _digested(digest: bytes | None, covered_bytes: int) -> dict[str, Any]:
    return {"digest": digest, "digest_bytes": covered_bytes if digest is not None else 0}


def _current(connection: sqlite3.Connection, job: Job) -> Job:
    """The job as its row stands now; raises `StaleClaim` when the claim is."""
    current = job_by_id(connection, job.id)
    if current is None or current.claim_id != job.claim_id or current.state is not job.state:
        raise StaleClaim(f"job {job.id} is no longer {job.state} under claim {job.claim_id}")
    return current


def _known_elsewhere(connection: sqlite3.Connection, job: Job, found: Found) -> Job | None:
    """The newest other job of the path, if it is about this very content and sent it, or is about to."""
    for other in jobs_at(connection, job.place):
        if other.id == job.id or other.state is State.SUPERSEDED:
            continue
        same = other.fingerprint.same_identity(found.fingerprint)
        return other if same and other.state in (State.DONE, State.PENDING) else None
    return None


def _under_another_name(connection: sqlite3.Connection, found: Found) -> bool:
    """Whether the very file that was found has a job at another path."""
    return any(job.place != found.place for job in jobs_of_file(connection, found))


def _renamed(connection: sqlite3.Connection, job: Job) -> bool:
    """Whether the row has followed its file to another name since it was read."""
    current = job_by_id(connection, job.id)
    return current is not None and current.place != job.place
