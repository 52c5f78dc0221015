"""The queue of an agent that does not run, or does not answer, as its database has it."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..control.counting import folder_counts
from ..control.figures import instants, periods
from ..control.replies import (
    JobReply,
    JobsReply,
    bytes_by_state,
    jobs_by_state,
    jobs_reply,
    path_b64,
    pause_replies,
)
from ..control.selecting import selection_of
from ..control.troubles import ErrorsReply, JobDetail, errors_reply, job_detail
from ..jobs.reader import Reader
from ..jobs.selection import Selection
from ..jobs.troubles import MAX_COUNTED
from .views import MAX_PAGE, StoppedStatus, of_exactly


class NotReadable(Exception):
    """This user may not look at the database."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"user {os.geteuid()} may not read the database {path}")


@dataclass(frozen=True, slots=True)
class StoredView:
    """The database. Every call raises `DatabaseUnusable`, or `NotReadable` where this user may not look at it.

    `state` is that of the agent: ``not running`` or ``not answering``.
    """

    path: Path
    state: str = "not running"

    @property
    def _reader(self) -> Reader:
        try:
            os.stat(self.path)
        except FileNotFoundError:
            pass  # the reader has a better word for it
        except OSError as error:
            raise NotReadable(self.path) from error
        else:
            if not os.access(self.path, os.R_OK, effective_ids=True):
                raise NotReadable(self.path)
        return Reader(self.path)

    def status(self) -> StoppedStatus:
        now = time.time()
        overview = self._reader.overview(instants(now))
        counts = overview.counts
        return StoppedStatus(
            state=self.state,
            reasons=[],
            paused=pause_replies(self._reader.pauses()),
            now=now,
            database_bytes=size_bytes(self.path),
            jobs=jobs_by_state(counts),
            bytes=bytes_by_state(counts),
            totals=periods(overview.tallies, now),
            folders=[folder_counts(path, overview) for path in sorted({count.folder for count in counts})],
            endpoints=[],
            in_flight=[],
        )

    def page(self, members: Mapping[str, Any], limit: int, cursor: int | None) -> JobsReply:
        selection = selection_of(members) if members else Selection()
        return jobs_reply(self._reader.page(selection, limit=limit, cursor=cursor))

    def job(self, job_id: int) -> JobDetail | None:
        found = self._reader.job(job_id)
        return None if found is None else job_detail(found, self._reader.failures(job_id))

    def errors(self) -> ErrorsReply:
        return errors_reply(self._reader.troubles(), MAX_COUNTED)

    def at(self, path: bytes) -> list[JobReply]:
        return of_exactly(path, self.page({"paths_b64": [path_b64(path)]}, MAX_PAGE, None))


def size_bytes(database: Path) -> int:
    """What it takes on the disk, its log included."""
    found = 0
    for suffix in ("", "-wal"):
        with suppress(OSError):
            found += os.stat(f"{database}{suffix}").st_size
    return found
