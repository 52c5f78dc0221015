"""The operator's side of the queue: what a person may ask of a job, and what the settings ask of all."""

from collections.abc import Callable, Collection
from typing import Any

from .database import Database
from .model import Job
from .moves import FRESH_UPLOAD, abandon_upload, move
from .rows import SELECT_JOB, job_by_id, job_of
from .states import FINISHED_WITH_SERVER_ERROR, Event, State

FOLDER_REMOVED = "its folder is no longer in the configuration"
ENDPOINT_REMOVED = "its endpoint is no longer in the configuration"


class NoSuchJob(LookupError):
    """There is no job of this id."""


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
        return self._order(job_id, Event.CANCEL, now, finished_at=now, reason=reason)

    def hold(self, job_id: int, now: float, reason: str = "held by the operator") -> Job:
        """Keep it back; what the server has is kept too."""
        return self._order(job_id, Event.HOLD, now, reason=reason)

    def release(self, job_id: int, now: float) -> Job:
        """Let a held job go on."""
        return self._order(job_id, Event.RELEASE, now, attempts=0, not_before=now, finished_at=None, reason=None)

    def retry(self, job_id: int, now: float) -> Job:
        """Try it now: a deferred one at once, a failed, held or cancelled one again."""
        job = self._job(job_id)
        if job.state in (State.PENDING, State.DELIVERED):
            return self._order(job_id, Event.RETRY, now, not_before=now)
        changes: dict[str, Any] = {
            "attempts": 0,
            "restarts": 0,
            "not_before": now,
            "finished_at": None,
            "reason": None,
        }
        if job.reason == FINISHED_WITH_SERVER_ERROR or job.state is State.CANCELLED:
            changes |= FRESH_UPLOAD
        return self._order(job_id, Event.RETRY, now, **changes)

    def adopt(self, job_id: int, now: float) -> Job:
        """Take a held job as done: its content was sent before, though the ledger does not know."""
        return self._order(job_id, Event.ADOPT, now, finished_at=now, reason="adopted: taken as sent before")

    def resend(self, job_id: int, now: float) -> Job:
        """Send a done job's file once more, as a new upload."""
        return self._order(
            job_id, Event.RESEND, now, attempts=0, restarts=0, not_before=now, finished_at=None, delivered_at=None,
            reason=None, **FRESH_UPLOAD,
        )  # fmt: skip

    def hold_orphans(self, folders: Collection[str], endpoints: Collection[str], now: float) -> int:
        """Holds the jobs whose folder or endpoint the settings no longer name, and releases those that are back.

        Delivered jobs of such a folder are done: their file is left where it is. Returns how many were held.
        """
        held = 0
        with self._database.transaction() as connection:
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
                chosen = (
                    "j.state IN ('pending', 'delivered')"
                    if removed
                    else f"j.state = 'held' AND j.reason IN ('{FOLDER_REMOVED}', '{ENDPOINT_REMOVED}')"
                )
                query = f"{SELECT_JOB} WHERE f.path = ? AND j.endpoint = ? AND {chosen} LIMIT 1000"
                while rows := connection.execute(query, (folder, endpoint)).fetchall():  # each leaves what is chosen
                    for job in map(job_of, rows):
                        if removed is None:
                            move(connection, job, Event.RELEASE, reason=None, not_before=now)
                        elif job.state is State.PENDING:
                            move(connection, job, Event.HOLD, reason=removed)
                            held += 1
                        else:
                            words = f"file left in place: {removed}"
                            move(connection, job, Event.CANCEL, reason=words, finished_at=now)
        return held

    def _job(self, job_id: int) -> Job:
        with self._database.reading() as connection:
            job = job_by_id(connection, job_id)
        if job is None:
            raise NoSuchJob(f"there is no job {job_id}")
        return job

    def _order(self, job_id: int, event: Event, now: float, **changes: object) -> Job:
        with self._database.transaction(durable=True) as connection:
            before = job_by_id(connection, job_id)
            if before is None:
                raise NoSuchJob(f"there is no job {job_id}")
            after = move(connection, before, event, **changes)
            if event is Event.CANCEL and before.state is not State.DELIVERED:
                abandon_upload(connection, before, now)
        if before.state is State.UPLOADING:
            self._on_revoked(job_id)
        if after.state in (State.PENDING, State.DELIVERED):
            self._on_ready()
        return after
