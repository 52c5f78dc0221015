"""Looks whether the files of jobs that have ended are still there, so that rows nobody needs can be forgotten.

In slices with pauses between them: nothing waits for it, and a look at a million paths takes its time.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .. import beneath
from ..jobs.model import Place, shown
from ..jobs.retention import Ended, Retention
from .doubts import Stop
from .follow import FollowedFolder
from .scan import ABSENT

log = logging.getLogger("tusd_agent.intake")

ROUND_SECONDS = 6 * 3600.0
FIRST_ROUND_SECONDS = 600.0
"""The first look comes so long after the start: that is busy enough."""

SLICE_JOBS = 500
SLICE_PAGES = 200
PAUSE_SECONDS = 0.1
LEAST_ABSENCE_SECONDS = 86_400.0
"""However many rows there are, a path must have been absent for this long: it may be a disk that is being changed."""


class EndingPauses(Stop, Protocol):
    """What the pauses can be ended by, too: a `threading.Event`, for instance."""

    def wait(self, timeout: float | None = None) -> bool: ...


@dataclass(frozen=True, slots=True)
class Keep:
    """How long rows outlive their jobs: `seconds`, less while there are more than `jobs` of them (0: no limit)."""

    retention: Retention
    seconds: float
    jobs: int


class Retiring:
    """Forgets the rows of what has ended, as `keep` says; without it, none. Both may be exchanged at any time."""

    def __init__(self, keep: Keep | None, folders: Sequence[FollowedFolder], clock: Callable[[], float]) -> None:
        self.keep = keep
        self.folders = folders
        self._clock = clock

    def run(self, stop: EndingPauses) -> None:
        """A round now and then, until `stop` is set."""
        wait_seconds = FIRST_ROUND_SECONDS
        while not stop.wait(wait_seconds):
            try:
                self.round(stop)
            except sqlite3.Error as error:
                log.warning("Old jobs can't be forgotten now, the queue can't be written: %s", error)
            wait_seconds = ROUND_SECONDS

    def round(self, stop: EndingPauses) -> int:
        """Looks at every job that has ended; returns how many rows were forgotten. Raises what the queue raises."""
        keep = self.keep
        if keep is None:
            return 0
        retention = keep.retention
        forgotten = 0
        for followed in self.folders:
            after_id = 0
            while followed.is_present() and not stop.is_set():
                ended = retention.ended(followed.folder.path, after_id, SLICE_JOBS)
                if not ended:
                    while retention.forget_empty_directories(followed.folder.path, SLICE_JOBS):
                        stop.wait(PAUSE_SECONDS)
                    break
                forgotten += self._slice(keep, followed, ended)
                after_id = ended[-1].job_id
                stop.wait(PAUSE_SECONDS)
        while not stop.is_set() and retention.give_back(SLICE_PAGES):
            stop.wait(PAUSE_SECONDS)
        if forgotten:
            log.info("%d jobs that ended long ago forgotten: their files are gone, or have newer content", forgotten)
        return forgotten

    def _slice(self, keep: Keep, followed: FollowedFolder, ended: list[Ended]) -> int:
        now = self._clock()
        too_many = 0 < keep.jobs < keep.retention.count()
        keep_seconds = 0.0 if too_many else keep.seconds
        absence_seconds = min(keep.seconds, LEAST_ABSENCE_SECONDS) if too_many else keep.seconds
        forget: list[int] = []
        absent: list[int] = []
        present: list[int] = []
        for job in ended:
            if job.outlived:
                if now - job.finished_at >= keep_seconds:
                    forget.append(job.job_id)
            elif not _is_absent(job.place):
                if job.absent_since is not None:
                    present.append(job.job_id)
            elif job.absent_since is None:
                absent.append(job.job_id)
            elif now - job.absent_since >= absence_seconds and now - job.finished_at >= keep_seconds:
                forget.append(job.job_id)
        if not followed.is_present():
            # It went while we looked: what was not found says nothing.
            return 0
        keep.retention.note(absent, present, now)
        return keep.retention.forget(forget)


def _is_absent(place: Place) -> bool:
    """Whether there is surely nothing at the path."""
    try:
        beneath.status(place.folder, place.directory, place.name)
    except OSError as error:
        if error.errno not in ABSENT:
            log.debug("%s can't be looked at: %s", shown(place.path), os.strerror(error.errno or 0))
        return error.errno in ABSENT
    return False
