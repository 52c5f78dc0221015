"""The intake's side of the queue: which contents are known, and which are new."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from .database import Database
from .model import Fingerprint, Found, Job, Place
from .moves import (
    abandon_upload,
    insert,
    jobs_at,
    jobs_of_file,
    move,
    newest_placed,
    rewrite_fingerprint,
    supersede_at,
)
from .rows import SELECT_JOB, directory_id, folder_id, job_by_id, job_of
from .states import Event, State

_STILL_AT_HAND = frozenset({State.PENDING, State.FAILED, State.HELD, State.VANISHED, State.CANCELLED})


class Verdict(StrEnum):
    """What the ledger says of a content that was found."""

    NEW = "new"
    """No job for it: `enqueue`, unless one of the twins turns out to be this very file under its old name."""

    KNOWN = "known"
    """It has its job: nothing to do."""

    CTIME_MOVED = "ctime moved"
    """It has its job and nothing was decided on yet that the moved ctime could put in doubt: `refresh`."""

    DOUBT = "doubt"
    """Sent already, same size and mtime, but ctime moved: the digest decides, then `refresh` or `enqueue`."""


@dataclass(frozen=True, slots=True)
class Look:
    """The ledger's answer: the verdict, the job it is about, and jobs of the same file under other names."""

    verdict: Verdict
    job: Job | None
    twins: tuple[Job, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What a scan needs of a row, and no more: a directory of many files fits into memory."""

    job_id: int
    state: State
    fingerprint: Fingerprint


def judge(rows: Iterable[tuple[State, Fingerprint, bool]], found: Fingerprint) -> tuple[Verdict, int]:
    """What rows of one path (newest first: state, fingerprint, whether a whole digest is kept) say of `found`.

    Returns the verdict and the index of the row it is about (-1: none). Only the newest content of a path counts:
    an older one that comes back is a new content of that path. Pure.
    """
    for index, (state, fingerprint, has_digest) in enumerate(rows):
        if state is State.SUPERSEDED:
            continue
        if not fingerprint.same_identity(found):
            return Verdict.NEW, -1
        if state is State.VANISHED:
            return Verdict.NEW, index
        if fingerprint.ctime_ns == found.ctime_ns:
            return Verdict.KNOWN, index
        if state in _STILL_AT_HAND:
            return Verdict.CTIME_MOVED, index
        if state is State.DONE:
            return (Verdict.DOUBT if has_digest else Verdict.CTIME_MOVED), index
        # uploading, delivered, disposing: the worker that has the file open, or will, compares it itself.
        return Verdict.KNOWN, index
    return Verdict.NEW, -1


class Ledger:
    """What the intake asks and tells. Safe for use by several threads.

    `on_ready()` is called when jobs became ready; `on_revoked(job_id)` when one that a worker holds was taken away.
    """

    def __init__(
        self,
        database: Database,
        on_ready: Callable[[], None] = lambda: None,
        on_revoked: Callable[[int], None] = lambda job_id: None,
    ) -> None:
        self._database = database
        self._on_ready = on_ready
        self._on_revoked = on_revoked

    def known(self, folder: str, directory: bytes) -> dict[bytes, list[tuple[Known, bool]]]:
        """The rows of one directory, by name, newest first; the flag says whether a whole digest is kept."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT j.name, j.id, j.state, j.size_bytes, j.mtime_ns, j.ctime_ns, j.inode, "
                "j.digest IS NOT NULL AND j.digest_bytes = j.size_bytes FROM jobs j "
                "WHERE j.directory_id = (SELECT d.id FROM directories d JOIN folders f ON f.id = d.folder_id "
                "WHERE f.path = ? AND d.path = ?) ORDER BY j.placed DESC, j.id DESC",
                (folder, directory),
            ).fetchall()
        found: dict[bytes, list[tuple[Known, bool]]] = {}
        for name, job_id, state, size, mtime, ctime, inode, whole in rows:
            row = Known(job_id, State(state), Fingerprint(size, mtime, ctime, inode))
            found.setdefault(name, []).append((row, bool(whole)))
        return found

    def look(self, found: Found) -> Look:
        """What is known of this content; for a new one also its twins: same inode, size and mtime, other name."""
        with self._database.reading() as connection:
            jobs = jobs_at(connection, found.place)
            verdict, index = judge(
                ((job.state, job.fingerprint, job.whole_digest is not None) for job in jobs),
                found.fingerprint,
            )
            if index >= 0:
                return Look(verdict, jobs[index])
            twins = tuple(job for job in jobs_of_file(connection, found) if job.place != found.place)
            return Look(verdict, None, twins)

    def enqueue(self, batch: Iterable[Found], now: float) -> int:
        """Queues the contents that have no job yet, in one commit; returns how many jobs became ready.

        Asking again for a content that is known does nothing, so a batch can be repeated after a failure.
        """
        ready = 0
        revoked: list[int] = []
        with self._database.transaction() as connection:
            for found in batch:
                jobs = jobs_at(connection, found.place)
                verdict, index = judge(
                    ((job.state, job.fingerprint, job.whole_digest is not None) for job in jobs),
                    found.fingerprint,
                )
                if verdict is Verdict.NEW and index >= 0:
                    back = move(
                        connection,
                        jobs[index],
                        Event.ENQUEUE,
                        attempts=0,
                        not_before=now,
                        finished_at=None,
                        reason=None,
                    )
                    rewrite_fingerprint(connection, back, found.fingerprint)
                elif verdict in (Verdict.NEW, Verdict.DOUBT):
                    _, stopped = insert(connection, found, now, now)
                    revoked += [job.id for job in stopped]
                else:
                    continue
                ready += 1
        for job_id in revoked:
            self._on_revoked(job_id)
        if ready:
            self._on_ready()
        return ready

    def refresh(self, job_id: int, fingerprint: Fingerprint, now: float) -> None:
        """The same content has a new ctime (chmod, link, rename). A deferred job is tried at once: what kept it
        from being read may have been mended."""
        with self._database.transaction() as connection:
            job = job_by_id(connection, job_id)
            if job is None:
                return
            rewrite_fingerprint(connection, job, _as_far_as_told(job, fingerprint))
            if job.state is State.PENDING:
                move(connection, job, Event.RETRY, not_before=min(job.not_before, now))
        self._on_ready()

    def unsent_directories(self, folder: str) -> list[bytes]:
        """The directories with jobs whose file has yet to be sent: one that is gone as a whole no scan comes to."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT path FROM directories WHERE id IN (SELECT DISTINCT directory_id FROM jobs "
                "WHERE folder_id = (SELECT id FROM folders WHERE path = ?) AND state IN ('pending', 'failed', 'held'))",
                (folder,),
            ).fetchall()
        return [path for (path,) in rows]

    def rename(self, job_id: int, place: Place, fingerprint: Fingerprint, now: float) -> bool:
        """The job's file has a new name (the old one is gone); returns whether the row followed.

        It does not where the row went meanwhile. The uploads, attempts and digests of the job stay as they are. From
        now on it is the newest of that path: what had been there and was not sent yet is superseded.
        """
        with self._database.transaction() as connection:
            job = job_by_id(connection, job_id)
            if job is None or job.state is State.SUPERSEDED or job.place.folder != place.folder:
                return False
            revoked = supersede_at(connection, place, now)
            moved = move(connection, job, Event.RENAME)
            folder = folder_id(connection, place.folder)
            directory = directory_id(connection, folder, place.directory)
            highest = newest_placed(connection, directory, place.name)
            connection.execute(
                "UPDATE jobs SET directory_id = ?, name = ?, placed = ? WHERE id = ?",
                (directory, place.name, 0 if highest is None else highest + 1, job_id),
            )
            rewrite_fingerprint(connection, moved, _as_far_as_told(moved, fingerprint))
        for other in revoked:
            self._on_revoked(other.id)
        return True

    def vanish(self, job_id: int, now: float) -> bool:
        """The file is gone; returns whether the job ended by that (one being disposed of, or done, does not)."""
        with self._database.transaction() as connection:
            job = job_by_id(connection, job_id)
            if job is None or job.state not in (State.PENDING, State.FAILED, State.HELD):
                return False
            abandon_upload(connection, job, now)
            move(connection, job, Event.VANISH, finished_at=now, upload_url=None, reason="the file is gone")
        return True

    def has_job(self, uuid: bytes) -> Job | None:
        """The job of this uuid: whose aside file is it?"""
        with self._database.reading() as connection:
            row = connection.execute(f"{SELECT_JOB} WHERE j.uuid = ?", (uuid,)).fetchone()
        return job_of(row) if row else None


def _as_far_as_told(job: Job, fingerprint: Fingerprint) -> Fingerprint:
    """What may be noted of a file whose ctime moved, by a rename say.

    While a part of it lies on the server the old ctime stays: to the worker that goes on with it the moved one is the
    sign that the part may be of another content.
    """
    if job.upload_url is None or job.state is State.DONE:
        return fingerprint
    return replace(fingerprint, ctime_ns=job.fingerprint.ctime_ns)
