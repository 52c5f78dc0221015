"""From a file that is quiet to a job: has anybody still got it open, does the ledger know it, is it only renamed?"""

import logging
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from .. import beneath
from ..jobs.folders import FolderMemory
from ..jobs.ledger import Ledger, Made, Verdict
from ..jobs.model import Entry, Fingerprint, Found, Job, Place, shown
from ..jobs.states import State
from ..jobs.story import MAX_TOLD_SINGLY, Story, about
from .asides import RECOVERED_PREFIX
from .filters import Filter
from .folder import WatchedFolder
from .scan import ABSENT

log = logging.getLogger("tusd_agent.intake")

MAX_BATCH = 1000
"""So many new jobs go into one commit at most: it holds the queue's only lock."""


_WORDS = {
    Entry.QUEUE: "taken",
    Entry.HOLD: "held until you release or adopt it, for the ledger is incomplete",
    Entry.IGNORE: "lay there before the folder was watched, not taken",
}


class Rest(Enum):
    """What a look at an open file says."""

    AT_REST = "at rest"
    IN_USE = "in use"
    GONE = "gone"


# The kernel stamps files with a clock that ticks a few milliseconds at a time: what was made just after the folder was
# first seen may look older than that.
_CLOCK_TICK_SECONDS = 0.1


@dataclass(slots=True)
class Unsettled:
    """Files that are not to be taken yet: those in use, and those that are so at an instant since the epoch."""

    in_use: list[Place] = field(default_factory=list)
    too_young: list[tuple[Place, float]] = field(default_factory=list)


class Taking:
    """Takes files of one folder into the queue. `doubt(job, found)` is told what only the digest can decide.

    `memory()` is what the ledger remembers of the folder.
    """

    def __init__(
        self,
        folder: WatchedFolder,
        rules: Filter,
        ledger: Ledger,
        memory: Callable[[], FolderMemory | None],
        doubt: Callable[[Job, Found], None],
    ) -> None:
        self._folder = folder
        self._rules = rules
        self._ledger = ledger
        self._memory = memory
        self._doubt = doubt

    def take(self, quiet: Iterable[tuple[Place, Fingerprint]], now: float) -> Unsettled:
        """Gives the files a job that have none yet; returns those that are not complete, or not old enough, after all.

        `now` is wall clock. Raises what the ledger raises; the same files can then simply be taken again.
        """
        unsettled = Unsettled()
        batch: list[Found] = []
        for place, fingerprint in quiet:
            verdict = self._rules.content(fingerprint, now)
            if verdict.again_at is not None:
                unsettled.too_young.append((place, verdict.again_at))
            if not verdict.taken or self.marker_missing(place, fingerprint):
                continue
            rest = look_at_rest(place, fingerprint)
            if rest is Rest.IN_USE or (rest is Rest.AT_REST and self._may_just_be_opened(fingerprint, now)):
                unsettled.in_use.append(place)
            elif rest is Rest.AT_REST and (found := self._unknown(place, fingerprint, now)) is not None:
                batch.append(found)
            if len(batch) >= MAX_BATCH:
                self._enqueue(batch, now)
                batch = []
        if batch:
            self._enqueue(batch, now)
        return unsettled

    def marker_missing(self, place: Place, fingerprint: Fingerprint) -> bool:
        """Whether the folder's contract wants a marker file beside this one, and there is none that is newer.

        A marker older than the content was set for what lay there before. The content is as old as its ctime, or its
        mtime where that was set back: a chmod after the marker does no harm.
        """
        if self._folder.contract != "marker":
            return False
        marked_ns = self._marked_ns(place)
        return marked_ns is None or marked_ns < min(fingerprint.mtime_ns, fingerprint.ctime_ns)

    def _marked_ns(self, place: Place) -> int | None:
        """When the marker beside the file was written, nanoseconds since the epoch; `None`: there is none."""
        try:
            found = beneath.status(place.folder, place.directory, place.name + os.fsencode(self._folder.marker_suffix))
        except OSError:
            return None
        return Fingerprint.of(found).ctime_ns if stat.S_ISREG(found.st_mode) else None

    def _may_just_be_opened(self, fingerprint: Fingerprint, now: float) -> bool:
        """Whether an empty file may be one that is made under its final name, against the contract.

        The kernel tells of the new name before it counts its maker among the writers, and until then nothing else tells
        the two apart.
        """
        if self._folder.contract != "rename" or fingerprint.size_bytes:
            return False
        return 0 <= now - fingerprint.ctime_ns / 1e9 < self._folder.settle_seconds

    def entry(self, place: Place, fingerprint: Fingerprint) -> Entry:
        """How a content that no job knows enters the ledger."""
        changed_at = fingerprint.ctime_ns / 1e9
        incomplete_since, memory = self._ledger.incomplete_since, self._memory()
        if incomplete_since is not None and (
            changed_at <= incomplete_since
            # It had been sent when it was put aside, and only its recovery made it look new.
            or place.name.startswith(RECOVERED_PREFIX)
        ):
            return Entry.HOLD
        if self._folder.existing == "upload" or memory is None:
            return Entry.QUEUE
        seen_at = memory.first_seen_at - _CLOCK_TICK_SECONDS
        if self._folder.contract == "marker":
            # What lay there without a marker is complete when that comes, and not before.
            changed_at = max(changed_at, (self._marked_ns(place) or 0) / 1e9)
        if changed_at > seen_at:
            return Entry.QUEUE
        # A tree that is moved in keeps the times of its files; what lay there before has its row once all was scanned.
        return Entry.QUEUE if memory.recorded_at is not None and _is_moved_in(place, seen_at) else Entry.IGNORE

    def _enqueue(self, batch: list[Found], now: float) -> None:
        made: list[Made] = []
        self._ledger.enqueue(batch, now, made.append)
        for entry, words in _WORDS.items():
            chosen = [each for each in made if each.found.entry is entry]
            # Of many at once each has its line too, for who wants to read it.
            level = logging.INFO if len(chosen) <= MAX_TOLD_SINGLY else logging.DEBUG
            for job_id, found, superseded in chosen:
                for older in superseded:
                    story = Story(log, older, found.place, found.endpoint)
                    story.log(level, "superseded: its path holds newer content, job %d", job_id)
                story = Story(log, job_id, found.place, found.endpoint)
                story.log(level, "%s, %d bytes", words, found.fingerprint.size_bytes)
            if len(chosen) > MAX_TOLD_SINGLY:
                log.info("%s: %d files of %s", words, len(chosen), shown(self._folder.path))

    def _unknown(self, place: Place, fingerprint: Fingerprint, now: float) -> Found | None:
        """The file as a content to be queued; `None` when the ledger has it, or has it now under its new name."""
        found = Found(place, fingerprint, self._folder.endpoint, self.entry(place, fingerprint))
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
                about(log, twin).info("renamed: it is %s now", shown(found.place.path))
                return twin.state is not State.VANISHED
        return False


def _is_moved_in(place: Place, seen_at: float) -> bool:
    """Whether a directory on the way to the file may have come later than `seen_at`: a rename sets its ctime too."""
    directory = place.directory
    while directory:
        try:
            found = beneath.status(place.folder, *_split(directory))
        except OSError:
            return False
        if found.st_ctime > seen_at:
            return True
        directory = directory.rpartition(b"/")[0]
    return False


def _split(relative: bytes) -> tuple[bytes, bytes]:
    parent, _, name = relative.rpartition(b"/")
    return parent, name


def _still_there(place: Place, inode: int) -> bool:
    """Whether the place still holds this file: then the other name is a hard link of it. Raises no `OSError`."""
    try:
        return Fingerprint.of(beneath.status(place.folder, place.directory, place.name)).inode == inode
    except OSError as error:
        return error.errno not in ABSENT


def look_at_rest(place: Place, fingerprint: Fingerprint) -> Rest:
    """Whether nobody writes the file, as far as can be told, and it still is the one that was found quiet."""
    try:
        descriptor = beneath.open_regular(place.folder, place.directory, place.name)
    except beneath.NotRegular:
        return Rest.GONE
    except PermissionError:
        # It can't be told; the upload will say that it can't be read, and try again when it can.
        return Rest.AT_REST
    except OSError as error:
        return Rest.GONE if error.errno in ABSENT else Rest.IN_USE
    try:
        if beneath.at_rest(descriptor) is False:
            return Rest.IN_USE
        return Rest.AT_REST if Fingerprint.of(os.fstat(descriptor)) == fingerprint else Rest.IN_USE
    finally:
        os.close(descriptor)
