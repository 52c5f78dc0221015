"""The operator's side of the queue: what a person may ask of a job, and what the settings ask of all."""

import sqlite3
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from .causes import ENDPOINT_REMOVED, FOLDER_REMOVED, HELD_BY_OPERATOR
from .database import Database
from .model import Job
from .moves import FRESH_UPLOAD, abandon_upload, move
from .rows import SELECT_JOB, job_by_id, job_of
from .selection import Selection, select
from .states import FINISHED_WITH_SERVER_ERROR, Event, IllegalMove, State

_AGAIN: Mapping[str, Any] = MappingProxyType(
    {"attempts": 0, "restarts": 0, "finished_at": None, "reason": None, "cause": None}
)

ORPHANS_AT_ONCE = 1000
"""So many jobs go into one commit at most: it holds the queue's only lock."""


class Verb(StrEnum):
    """What may be asked of jobs; each is the name of its event."""

    RETRY = "retry"
    HOLD = "hold"
    RELEASE = "release"
    CANCEL = "cancel"
    RESEND = "resend"
    ADOPT = "adopt"


# Of a path that has newer content only that can still be sent; who names a job by its number means that very one.
_FOR_THE_NEWEST = frozenset({Verb.RETRY, Verb.RELEASE, Verb.RESEND})


class NoSuchJob(LookupError):
    """There is no job of this id."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What an order has changed (jobs as they are now), and which jobs it was refused for, as they are.

    `next_cursor`: where to go on; `None`: that were all.
    """

    changed: list[Job]
    refused: list[Job]
    next_cursor: int | None


class Orders:
    """What operators ask. Each verb returns the job as it is then; `IllegalMove` says that its state does not allow it.

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

    def cancel(self, job_id: int, now: float, reason: str = "cancelled by the operator") -> Job:
        """Do not send it (its unfinished upload is terminated); delivered already: leave the file where it is."""
        return self._one(job_id, Verb.CANCEL, now, reason)

    def hold(self, job_id: int, now: float, reason: str = HELD_BY_OPERATOR) -> Job:
        """Keep it back; what the server has is kept too."""
        return self._one(job_id, Verb.HOLD, now, reason)

    def release(self, job_id: int, now: float) -> Job:
        """Let a held job go on."""
        return self._one(job_id, Verb.RELEASE, now)

    def retry(self, job_id: int, now: float) -> Job:
        """Try it now: a deferred one at once, a failed, held or cancelled one again."""
        return self._one(job_id, Verb.RETRY, now)

    def adopt(self, job_id: int, now: float) -> Job:
        """Take a held job as done: its content was sent before, though the ledger does not know."""
        return self._one(job_id, Verb.ADOPT, now)

    def resend(self, job_id: int, now: float) -> Job:
        """Send a done job's file once more, as a new upload."""
        return self._one(job_id, Verb.RESEND, now)

    def apply(self, verb: Verb, selection: Selection, now: float, *, limit: int, cursor: int | None = None) -> Applied:
        """The verb for each of at most `limit` selected jobs with ids below `cursor`, the newest first, in one commit.

        A job whose state does not allow it is left as it is, and told of. Asking with the cursor that is returned,
        until that is `None`, reaches all.
        """
        changes: list[tuple[Job, Job]] = []
        refused: list[Job] = []
        with self._database.transaction(durable=True) as connection:
            newest_only = verb in _FOR_THE_NEWEST and not selection.ids
            rows = select(connection, selection, cursor, limit, newest_only=newest_only)
            jobs = [job_of(row) for row in rows]
            for job in jobs:
                try:
                    changes.append((job, _order(connection, verb, job, now)))
                except IllegalMove:
                    refused.append(job)
        self._tell(changes)
        after = [after for _, after in changes]
        return Applied(after, refused, jobs[-1].id if len(jobs) == limit else None)

    def hold_orphans(
        self,
        folders: Collection[str],
        endpoints: Collection[str],
        now: float,
        is_over: Callable[[], bool] = lambda: False,
    ) -> int:
        """Holds the jobs whose folder or endpoint the settings no longer name, and releases those that are back.

        Delivered jobs of such a folder are done: their file is left where it is. Returns how many were held. Ends when
        `is_over()`: the next start does the rest.
        """
        held, released = 0, False
        with self._database.reading() as connection:
            lanes = connection.execute(
                "SELECT f.path, c.endpoint, MAX(c.state = 'held') FROM counters c JOIN folders f ON f.id = c.folder_id "
                "WHERE c.state IN ('pending', 'delivered', 'held') AND c.jobs > 0 GROUP BY f.path, c.endpoint"
            ).fetchall()
        for folder, endpoint, some_held in lanes:
            removed = (
                FOLDER_REMOVED if folder not in folders else ENDPOINT_REMOVED if endpoint not in endpoints else None
            )
            if removed is None and not some_held:
                continue
            # Each leaves what is chosen.
            while not is_over() and (batch := self._orphan_batch(folder, endpoint, removed, now)):
                held += sum(job.state is State.HELD for job in batch)
                released |= removed is None
        if released:
            self._on_ready()
        return held

    def _orphan_batch(self, folder: str, endpoint: str, removed: str | None, now: float) -> list[Job]:
        """Holds some jobs of the lane, or (nothing is `removed`) releases some; returns them as they are then."""
        chosen = (
            "j.state IN ('pending', 'delivered')"
            if removed
            else f"j.state = 'held' AND j.reason IN ('{FOLDER_REMOVED}', '{ENDPOINT_REMOVED}')"
        )
        query = f"{SELECT_JOB} WHERE f.path = ? AND j.endpoint = ? AND {chosen} LIMIT {ORPHANS_AT_ONCE}"
        moved = []
        with self._database.transaction() as connection:
            for job in map(job_of, connection.execute(query, (folder, endpoint)).fetchall()):
                if removed is None:
                    moved.append(
                        move(connection, job, Event.RELEASE, reason=None, cause=None, not_before=now, waiting_since=now)
                    )
                elif job.state is State.PENDING:
                    moved.append(move(connection, job, Event.HOLD, reason=removed, cause=removed))
                else:
                    words = f"file left in place: {removed}"
                    moved.append(move(connection, job, Event.CANCEL, reason=words, finished_at=now))
        return moved

    def _one(self, job_id: int, verb: Verb, now: float, reason: str | None = None) -> Job:
        with self._database.transaction(durable=True) as connection:
            before = job_by_id(connection, job_id)
            if before is None:
                raise NoSuchJob(f"there is no job {job_id}")
            after = _order(connection, verb, before, now, reason)
        self._tell([(before, after)])
        return after

    def _tell(self, changes: list[tuple[Job, Job]]) -> None:
        for before, after in changes:
            if before.state is State.UPLOADING:
                self._on_revoked(after.id)
        if any(after.state in (State.PENDING, State.DELIVERED) for _, after in changes):
            self._on_ready()


def _order(connection: sqlite3.Connection, verb: Verb, job: Job, now: float, reason: str | None = None) -> Job:
    """Carries out the verb for one job; raises `IllegalMove` when its state does not allow it."""
    changes: dict[str, Any]
    match verb:
        case Verb.CANCEL:
            changes = {"finished_at": now, "reason": reason or "cancelled by the operator"}
        case Verb.HOLD:
            words = reason or HELD_BY_OPERATOR
            changes = {"reason": words, "cause": words}
        case Verb.RELEASE:
            changes = {"attempts": 0, "not_before": now, "finished_at": None, "waiting_since": now}
            changes |= {"reason": None, "cause": None}
        case Verb.ADOPT:
            changes = {"finished_at": now, "reason": "adopted: taken as sent before"}
        case Verb.RESEND:
            changes = {**_AGAIN, "not_before": now, "waiting_since": now, "delivered_at": None, **FRESH_UPLOAD}
        case Verb.RETRY if job.state in (State.PENDING, State.DELIVERED):
            changes = {"not_before": now, "waiting_since": now}
        case Verb.RETRY:
            changes = {**_AGAIN, "not_before": now, "waiting_since": now}
            if job.reason == FINISHED_WITH_SERVER_ERROR or job.state is State.CANCELLED:
                changes |= FRESH_UPLOAD
    after = move(connection, job, Event(verb), **changes)
    if verb is Verb.CANCEL and job.state is not State.DELIVERED:
        abandon_upload(connection, job, now)
    return after
