"""From a file that is quiet to a job: has anybody still got it open, does the ledger know it, is it only renamed?"""

import logging
import os
from collections.abc import Callable, Iterable
from enum import Enum

from .. import beneath
from ..jobs.ledger import Ledger, Verdict
from ..jobs.model import Fingerprint, Found, Job, Place, shown
from ..jobs.states import State
from .folder import WatchedFolder
from .scan import ABSENT

log = logging.getLogger("tusd_agent.intake")

MAX_BATCH = 1000
"""So many new jobs go into one commit at most: it holds the queue's only lock."""


class _Rest(Enum):
    AT_REST = "at rest"
    IN_USE = "in use"
    GONE = "gone"


class Taking:
    """Takes files of one folder into the queue. `doubt(job, found)` is told what only the digest can decide."""

    def __init__(self, folder: WatchedFolder, ledger: Ledger, doubt: Callable[[Job, Found], None]) -> None:
        self._folder = folder
        self._ledger = ledger
        self._doubt = doubt

    def take(self, quiet: Iterable[tuple[Place, Fingerprint]], now: float) -> list[Place]:
        """Queues the files that have no job yet; returns those that are in use after all and must settle again.

        `now` is wall clock. Raises what the ledger raises; the same files can then simply be taken again.
        """
        unsettled: list[Place] = []
        batch: list[Found] = []
        for place, fingerprint in quiet:
            rest = _look_at_rest(place, fingerprint)
            if rest is _Rest.IN_USE:
                unsettled.append(place)
            elif rest is _Rest.AT_REST and (found := self._unknown(place, fingerprint, now)) is not None:
                batch.append(found)
            if len(batch) >= MAX_BATCH:
                self._enqueue(batch, now)
                batch = []
        if batch:
            self._enqueue(batch, now)
        return unsettled

    def _enqueue(self, batch: list[Found], now: float) -> None:
        self._ledger.enqueue(batch, now)
        for found in batch:
            log.debug("Taken: %s (%d bytes)", shown(found.place.path), found.fingerprint.size_bytes)
        if len(batch) == 1:
            log.info("Taken: %s", shown(batch[0].place.path))
        else:
            log.info("Taken: %d files of %s", len(batch), shown(self._folder.path))

    def _unknown(self, place: Place, fingerprint: Fingerprint, now: float) -> Found | None:
        """The file as a content to be queued; `None` when the ledger has it, or has it now under its new name."""
        found = Found(place, fingerprint, self._folder.endpoint)
        look = self._ledger.look(found)
        if look.verdict is Verdict.NEW:
            renamed = look.job is None and self._folder.renamed == "same" and self._follow(look.twins, found, now)
            return None if renamed else found
        if look.job is not None:
            if look.verdict is Verdict.CTIME_MOVED:
                self._ledger.refresh(look.job.id, fingerprint, now)
            elif look.verdict is Verdict.DOUBT:
                self._doubt(look.job, found)
        return None

    def _follow(self, twins: Iterable[Job], found: Found, now: float) -> bool:
        """Whether a job with the same inode, size and mtime has followed its file to this place, and waits there."""
        for twin in twins:
            if _still_there(twin.place, found.fingerprint.inode):
                continue
            if self._ledger.rename(twin.id, found.place, found.fingerprint, now):
                log.info("Renamed: %s is now %s", shown(twin.place.path), shown(found.place.path))
                return twin.state is not State.VANISHED
        return False


def _still_there(place: Place, inode: int) -> bool:
    """Whether the place still holds this file: then the other name is a hard link of it. Raises no `OSError`."""
    try:
        return Fingerprint.of(beneath.status(place.folder, place.directory, place.name)).inode == inode
    except OSError as error:
        return error.errno not in ABSENT


def _look_at_rest(place: Place, fingerprint: Fingerprint) -> _Rest:
    """Whether nobody writes the file, as far as can be told, and it still is the one that was found quiet."""
    try:
        descriptor = beneath.open_regular(place.folder, place.directory, place.name)
    except beneath.NotRegular:
        return _Rest.GONE
    except PermissionError:
        # It can't be told; the upload will say that it can't be read, and try again when it can.
        return _Rest.AT_REST
    except OSError as error:
        return _Rest.GONE if error.errno in ABSENT else _Rest.IN_USE
    try:
        if beneath.at_rest(descriptor) is False:
            return _Rest.IN_USE
        return _Rest.AT_REST if Fingerprint.of(os.fstat(descriptor)) == fingerprint else _Rest.IN_USE
    finally:
        os.close(descriptor)
