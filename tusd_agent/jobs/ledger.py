"""The intake's side of the queue: which contents are known, and which are new."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from .database import Database
from .model import Entry, Fingerprint, Found, Job, Place
from .moves import (
    abandon_upload,
    insert,
    jobs_at,
    jobs_of_file,
    move,
    newest_placed,
    rewrite_fingerprint,
    supersede,
)
from .rows import SELECT_JOB, directory_id, folder_id, job_by_id, job_of
from .states import SUPERSEDABLE, Event, State

_STILL_AT_HAND = frozenset({State.PENDING, State.FAILED, State.HELD, State.VANISHED, State.CANCELLED})


_SAY_NOTHING_OF_THE_PRESENT = frozenset(map(str, (State.VANISHED, State.SUPERSEDED)))


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


class Made(NamedTuple):
    """A content that has its job now, new or again; `superseded` are the jobs of older contents that ended by that."""

    job_id: int
    found: Found
    superseded: tuple[int, ...]


KnownRow = tuple[bytes, int, int, int, int, str]
"""A `Known` as the database gives it, by the million."""


class Known(NamedTuple):
    """What a scan needs of the newest row of a name."""

    name: bytes
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    state: str

    def covers(self, found: Fingerprint) -> bool:
        """Whether `found` has its job, and nothing has to be asked or noted."""
        fingerprint = Fingerprint(self.size_bytes, self.mtime_ns, self.ctime_ns, self.inode)
        return judge([(State(self.state), fingerprint, False)], found)[0] is Verdict.KNOWN


def is_exactly(row: KnownRow, found: os.stat_result) -> bool:
    """Whether the row is of this very content, so that nothing is left to ask; most files of most scans are.

    False only means that `Known.covers` has to look closer.
    """
    _, size_bytes, mtime_ns, ctime_ns, inode, state = row
    return (
        ctime_ns == found.st_ctime_ns
        and mtime_ns == found.st_mtime_ns
        and size_bytes == found.st_size
        and inode == found.st_ino
        and state not in _SAY_NOTHING_OF_THE_PRESENT
    )


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


_KNOWN = """SELECT j.name, j.size_bytes, j.mtime_ns, j.ctime_ns, j.inode, j.state FROM jobs j
    WHERE j.directory_id = (SELECT d.id FROM directories d JOIN folders f ON f.id = d.folder_id
        WHERE f.path = ? AND d.path = ?)"""
_NEWEST_LAST = "AND j.state <> 'superseded' ORDER BY j.name, j.placed, j.id"


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

    @property
    def incomplete_since(self) -> float | None:
        """Contents older than this may have been sent though the ledger does not know (`Entry.HOLD`)."""
        return self._database.incomplete_since

    def known(self, folder: str, directory: bytes, limit: int) -> dict[bytes, KnownRow] | None:
        """The newest row of each name in a directory; `None` when it has more than `limit` rows."""
        asked = (folder, directory, limit + 1)
        with self._database.reading() as connection:
            rows = connection.execute(f"{_KNOWN} LIMIT ?", asked).fetchall()
            found = {row[0]: row for row in rows}
            if len(found) < len(rows):
                # Some name has several rows. To sort those of every directory would cost a third more.
                found = {row[0]: row for row in connection.execute(f"{_KNOWN} {_NEWEST_LAST} LIMIT ?", asked)}
        return found if len(rows) <= limit else None

    def known_among(self, folder: str, directory: bytes, names: Sequence[bytes]) -> dict[bytes, KnownRow]:
        """The newest row of each of these names (at most 1000) that has one."""
        query = f"{_KNOWN} AND j.name IN ({', '.join('?' * len(names))}) {_NEWEST_LAST}"
        with self._database.reading() as connection:
            return {row[0]: row for row in connection.execute(query, (folder, directory, *names))}

    def unsent(self, folder: str, directory: bytes) -> list[tuple[bytes, int]]:
        """The names in a directory with a job whose file has yet to be sent, and that job."""
        with self._database.reading() as connection:
            return connection.execute(
                "SELECT j.name, j.id FROM jobs j JOIN folders f ON f.id = j.folder_id "
                "JOIN directories d ON d.id = j.directory_id "
                "WHERE f.path = ? AND d.path = ? AND d.folder_id = f.id AND j.state IN ('pending', 'failed', 'held')",
                (folder, directory),
            ).fetchall()

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

    def newest(self, place: Place) -> Job | None:
        """The newest job of a path."""
        with self._database.reading() as connection:
            return next(iter(jobs_at(connection, place)), None)

    def enqueue(self, batch: Iterable[Found], now: float, told: Callable[["Made"], object] = lambda made: None) -> int:
        """Makes the jobs of contents that have none yet, in one commit; returns how many of them became ready.

        `told(made)` is called for each that has its job from this commit, after it.
        Asking again for a content that is known does nothing, so a batch can be repeated after a failure.
        """
        ready = 0
        revoked: list[int] = []
        made: list[Made] = []
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
                        waiting_since=now,
                        finished_at=None,
                        reason=None,
                        cause=None,
                    )
                    rewrite_fingerprint(connection, back, found.fingerprint)
                    made.append(Made(back.id, found, ()))
                elif verdict in (Verdict.NEW, Verdict.DOUBT):
                    job_id, stopped = insert(connection, found, jobs, now, now)
                    revoked += [job.id for job in stopped]
                    ended = tuple(job.id for job in jobs if job.state in SUPERSEDABLE)
                    made.append(Made(job_id, found, ended))
                    if found.entry is not Entry.QUEUE:
                        continue
                else:
                    continue
                ready += 1
        for job_id in revoked:
            self._on_revoked(job_id)
        if ready:
            self._on_ready()
        for each in made:
            told(each)
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
            revoked = supersede(connection, jobs_at(connection, place), now)
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
