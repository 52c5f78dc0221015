"""Sent already, size and mtime as before, but the ctime moved: chmod or new content? The digest decides.

It has a thread of its own, because reading a large file takes minutes and fresh files must not wait for it.
"""

import hashlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Collection
from typing import Protocol

from .. import beneath
from ..jobs.ledger import Ledger, Made
from ..jobs.model import Fingerprint, Found, Job, Place
from ..jobs.story import Story, about
from .scan import ABSENT

log = logging.getLogger("tusd_agent.intake")

BLOCK_BYTES = 1 << 20


class Stop(Protocol):
    """What says that it is time to stop: a `threading.Event`, for instance."""

    def is_set(self) -> bool: ...


class _Stopped(Exception):
    """A stop was asked for while a file was read."""


class Doubts:
    """Files to be compared with what was sent. `note(path)` is called for one that changed meanwhile."""

    def __init__(self, ledger: Ledger, note: Callable[[bytes], object], clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._note = note
        self._clock = clock
        self._open: dict[Place, tuple[Job, Found]] = {}
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, job: Job, found: Found) -> None:
        """This content was found where `job` had sent one with the same size and mtime."""
        with self._changed:
            self._open[found.place] = (job, found)
            self._changed.notify()

    def keep_only(self, folders: Collection[str]) -> None:
        """Drops the doubts of folders that are no longer watched."""
        with self._changed:
            self._open = {place: doubt for place, doubt in self._open.items() if place.folder in folders}

    def wake(self) -> None:
        """Lets `run` see at once that its `stop` is set."""
        with self._changed:
            self._changed.notify()

    def run(self, stop: Stop) -> None:
        """Decides until `stop` is set, and waits while there is nothing to decide."""
        while not stop.is_set():
            if not self.run_once(stop):
                with self._changed:
                    self._changed.wait_for(lambda: self._open or stop.is_set())

    def run_once(self, stop: Stop) -> bool:
        """Decides the oldest doubt; returns whether there was one. A stop leaves it to the next start's scan."""
        with self._changed:
            if not self._open:
                return False
            place = next(iter(self._open))
            job, found = self._open.pop(place)
        try:
            digest = _digest_of(found, stop)
        except (_Stopped, beneath.NotRegular):
            return True
        except OSError as error:
            if error.errno not in ABSENT:
                about(log, job).warning("its file was changed or touched, and can't be read to tell: %s", error)
            return True
        if digest is None:
            self._note(place.path)
            return True
        try:
            self._decide(job, found, digest)
        except sqlite3.Error as error:
            about(log, job).warning("its file is looked at again, for the queue can't be written: %s", error)
            self._note(place.path)
        return True

    def _decide(self, job: Job, found: Found, digest: bytes) -> None:
        if digest == job.whole_digest:
            about(log, job).debug("its file was only touched")
            self._ledger.refresh(job.id, found.fingerprint, self._clock())
        else:
            self._ledger.enqueue([found], self._clock(), lambda made: self._tell(job, made))

    def _tell(self, job: Job, made: Made) -> None:
        about(log, job).info("its file changed though size and mtime are as before: queued anew as job %d", made.job_id)
        Story(log, made.job_id, made.found.place, made.found.endpoint).info("queued in place of job %d", job.id)


def _digest_of(found: Found, stop: Stop) -> bytes | None:
    """The SHA-256 of the file; `None` when it is not, or was not all the time, the content that was found."""
    place = found.place
    descriptor = beneath.open_regular(place.folder, place.directory, place.name)
    try:
        if Fingerprint.of(os.fstat(descriptor)) != found.fingerprint:
            return None
        digest = hashlib.sha256()
        while block := os.read(descriptor, BLOCK_BYTES):
            if stop.is_set():
                raise _Stopped
            digest.update(block)
        unchanged = Fingerprint.of(os.fstat(descriptor)) == found.fingerprint
        return digest.digest() if unchanged else None
    finally:
        os.close(descriptor)
