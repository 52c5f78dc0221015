"""One watched folder on its way from disk to queue: the steps that the intake thread takes for it."""

import logging
import os
import random
import stat
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .. import beneath
from ..jobs.folders import Folders
from ..jobs.ledger import Ledger
from ..jobs.model import Fingerprint, Found, Job, Place, shown
from ..jobs.story import MAX_TOLD_SINGLY, Story
from .filters import Filter
from .folder import FolderState, WatchedFolder
from .ground import Ground
from .notes import LIMIT, Notes
from .scan import ABSENT, FolderUnavailable, Scan, end_absent
from .settle import Later, Observation, Settling
from .taking import MAX_BATCH, Taking

log = logging.getLogger("tusd_agent.intake")


@dataclass(frozen=True, slots=True)
class Clocks:
    """The time: `wall` in seconds since the epoch, `monotonic` for durations."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]


# A scan may take at most one part in so many of the time.
_SCAN_SHARE = 10


class FollowedFolder:
    """The steps are taken by one thread; `notes` takes in from any. `now` is monotonic throughout.

    A step raises `FolderUnavailable` when the folder itself can't be looked at, and what the ledger raises when that
    can't be used: nothing is lost by that, what was in hand settles again.
    """

    def __init__(
        self,
        folder: WatchedFolder,
        ledger: Ledger,
        folders: Folders,
        clocks: Clocks,
        doubt: Callable[[Job, Found], None],
        rescan_interval_seconds: float,
    ) -> None:
        self.folder = folder
        self.rules = Filter(folder)
        self.notes = Notes()
        self.ground = Ground(folder, folders, clocks.wall)
        self.taking = Taking(folder, self.rules, ledger, lambda: self.ground.memory, doubt)
        # Where a contract says that a file is complete, nothing has to be waited for.
        self.settling = Settling(
            folder.settle_seconds if folder.contract == "settle" else 0.0, folder.growing_after_seconds
        )
        self.available = False
        self.problem: str | None = None
        self.look_at = 0.0
        self.identity: tuple[int, int] | None = None
        self.polled_because: str | None = None
        """Why it is scanned again and again instead of being watched; `None`: it is watched."""
        self.is_watched: Callable[[bytes], bool] = lambda directory: True
        """Whether a directory below has its watch; set by whoever keeps the watches."""
        self.unwatched: list[bytes] | None = None
        """Directories that a complete scan found without a watch; `None`: no scan ended since they were looked at."""
        self._marker = os.fsencode(folder.marker_suffix) if folder.contract == "marker" else None
        self._rescan_interval_seconds = rescan_interval_seconds
        self._ledger = ledger
        self._clocks = clocks
        self._later = Later()
        self._dirty_at: float | None = None
        self._subtrees: dict[bytes, None] = {}
        self._scan: Scan | None = None
        self._scan_started = 0.0
        self._absent: deque[tuple[float, bytes]] = deque()
        self._unreadable: dict[bytes, str] = {}
        self._last_scan: tuple[float, float, int] | None = None

    @property
    def last_scan_at(self) -> float | None:
        """When the last complete scan ended, seconds since the epoch."""
        return None if self._last_scan is None else self._last_scan[0]

    def rescan_every(self, seconds: float, now: float) -> None:
        """From now on the folder is read as a whole so often."""
        if seconds != self._rescan_interval_seconds:
            self._rescan_interval_seconds = seconds
            self.mark_dirty(now + seconds)

    def mark_dirty(self, at: float) -> None:
        """The whole folder is to be scanned, at `at` (monotonic) or as soon as the scan that runs is over."""
        self._dirty_at = at if self._dirty_at is None else min(self._dirty_at, at)

    def read_notes(self, now: float) -> None:
        """Looks at each noted path: files begin to settle, directories are to be scanned."""
        paths, dirty = self.notes.drain()
        if dirty:
            self.mark_dirty(now)
        for relative in paths:
            self._look_at(relative, now)

    def _look_at(self, relative: bytes, now: float) -> None:
        if self._marker is not None and relative.endswith(self._marker):
            # The marker says that the file beside it is complete.
            self._look_at_path(relative.removesuffix(self._marker), now)
        self._look_at_path(relative, now)

    def _look_at_path(self, relative: bytes, now: float) -> None:
        place = Place.below(self.folder.path, relative)
        as_file = self.rules.verdict(relative, is_directory=False).taken
        if not as_file and not self.rules.verdict(relative, is_directory=True).taken:
            return
        try:
            found = beneath.status(place.folder, place.directory, place.name)
        except OSError:
            # Gone, or the scan will say why it can't be looked at.
            return
        if stat.S_ISDIR(found.st_mode):
            if self.rules.verdict(relative, is_directory=True).taken:
                self._add_subtree(relative)
        elif as_file and stat.S_ISREG(found.st_mode):
            self._settle(place, Fingerprint.of(found), now)

    def _add_subtree(self, relative: bytes) -> None:
        # A tree that is moved in is noted directory by directory, the uppermost first.
        above = relative
        while above:
            if above in self._subtrees:
                return
            above = above.rpartition(b"/")[0]
        self._subtrees[relative] = None

    def _settle(self, place: Place, fingerprint: Fingerprint, now: float) -> None:
        if len(self.settling) >= LIMIT and place not in self.settling:
            # Memory stays bounded: the rest is found again by a scan, quiet by then.
            self.mark_dirty(now + self.folder.settle_seconds)
            return
        self.settling.note(place, now)
        self.settling.observe(place, fingerprint, now)

    def take_settled(self, now: float) -> int:
        """Takes the files whose quiet time is over, at most one batch of them; returns how many."""
        ready: list[tuple[Place, Fingerprint]] = []
        for place in self._later.take_due(now, MAX_BATCH):
            self.settling.note(place, now)
        for place in self.settling.due(now, MAX_BATCH):
            try:
                found = beneath.status(place.folder, place.directory, place.name)
            except OSError as error:
                if error.errno in ABSENT or isinstance(error, PermissionError):
                    self.settling.observe(place, None, now)
                else:
                    self.settling.note(place, now)
                continue
            fingerprint = Fingerprint.of(found) if stat.S_ISREG(found.st_mode) else None
            if self.settling.observe(place, fingerprint, now) is Observation.READY and fingerprint is not None:
                ready.append((place, fingerprint))
        return self._take(ready, now)

    def _take(self, ready: list[tuple[Place, Fingerprint]], now: float) -> int:
        try:
            wall = self._clocks.wall()
            unsettled = self.taking.take(ready, wall)
        except Exception:
            for place, fingerprint in ready:
                self._settle(place, fingerprint, now)
            raise
        for place, again_at in unsettled.too_young:
            self._look_later(place, now + again_at - wall)
        in_use = set(unsettled.in_use)
        for place, _ in ready:
            if place not in in_use:
                self.settling.forget(place)
            elif self.folder.contract == "settle":
                self.settling.note(place, now)
            else:
                self.settling.forget(place)
                self._look_later(place, now + self.folder.settle_seconds)
        return len(ready)

    def _look_later(self, place: Place, due: float) -> None:
        if len(self._later) >= LIMIT:
            # Found again by a scan, but not by one after the other.
            _, seconds, _ = self._last_scan or (0.0, 0.0, 0)
            self.mark_dirty(max(due, self._clocks.monotonic() + _SCAN_SHARE * seconds))
        else:
            self._later.add(place, due)

    def advance_scan(self, now: float) -> int:
        """Begins a scan that is due, and goes on by a slice with the one that runs; returns how many files it took."""
        if self._scan is None:
            self._begin_scan(now)
        if self._scan is None:
            return 0
        try:
            part = self._scan.step(self._clocks.wall())
        except Exception:
            # What it had yet to see is seen by the next one.
            self._scan = None
            self.mark_dirty(now)
            raise
        if part is None:
            self._end_scan(self._scan, now)
            return 0
        for place, fingerprint in part.fresh:
            if place not in self.settling:
                self._settle(place, fingerprint, now)
        return self._take([found for found in part.ready if found[0] not in self.settling], now)

    def _begin_scan(self, now: float) -> None:
        if self._dirty_at is not None and self._dirty_at <= now:
            self._dirty_at = None
            self._subtrees.clear()
            self._scan = Scan(self.folder, self.rules, self._ledger, is_watched=self.is_watched)
        elif self._subtrees:
            start = next(iter(self._subtrees))
            del self._subtrees[start]
            self._scan = Scan(self.folder, self.rules, self._ledger, start)
        self._scan_started = now

    def _end_scan(self, scan: Scan, now: float) -> None:
        self._scan = None
        result = scan.result
        # Files that were renamed turn up under their new names, and their jobs follow them, within that time.
        due = now + 2 * self.folder.settle_seconds
        self._absent.extend((due, directory) for directory in result.absent)
        for path, sentence in result.problems.items():
            if path not in self._unreadable:
                log.warning("In %s: %s", shown(self.folder.path), sentence)
        if scan.start:
            self._unreadable.update(result.problems)
            return
        self._unreadable = result.problems
        # Not all folders, nor all agents of a site, at the same time.
        seconds = self._clocks.monotonic() - self._scan_started
        self.mark_dirty(now + self.scan_interval_seconds(seconds) * random.uniform(0.9, 1.1))
        self.unwatched = result.unwatched
        self._last_scan = (self._clocks.wall(), seconds, result.files_seen)
        log.debug("Scanned %s in %.1f s: %s", shown(self.folder.path), seconds, result)
        self.ground.recorded()

    def end_absent(self, now: float) -> None:
        """Ends the jobs whose files a scan did not find, if they are not there now either."""
        while self._absent and self._absent[0][0] <= now:
            _, directory = self._absent[0]
            if not self._is_same():
                # Another disk, or an empty mount point: its absence says nothing of the file.
                self._absent.clear()
                return
            ended = end_absent(self.folder, directory, self._ledger, self._clocks.wall(), self._is_same)
            self._absent.popleft()
            level = logging.INFO if len(ended) <= MAX_TOLD_SINGLY else logging.DEBUG
            for job_id, place in ended:
                Story(log, job_id, place, self.folder.endpoint).log(level, "its file is gone: vanished")
            if len(ended) > MAX_TOLD_SINGLY:
                log.info("gone before they were sent: %d files of %s", len(ended), shown(self.folder.path))

    def _is_same(self) -> bool:
        return self.ground.look() == self.identity

    def scan_interval_seconds(self, last_seconds: float = 0.0) -> float:
        """How long after a scan the next one is due: sooner where nothing but scans finds files."""
        if self.polled_because is None:
            return self._rescan_interval_seconds
        poll_seconds = min(self.folder.poll_interval_seconds, self._rescan_interval_seconds)
        return max(poll_seconds, _SCAN_SHARE * last_seconds)

    def is_present(self) -> bool:
        """Whether the folder is the one that was taken up. Any thread may ask."""
        try:
            return self.identity is not None and self.ground.look() == self.identity
        except FolderUnavailable:
            return False

    def take_up(self, identity: tuple[int, int], now: float) -> None:
        """The folder is there, now or again, or another one in its place: everything in it is to be seen."""
        self.ground.remember()
        self.available = True
        self.identity = identity
        self.mark_dirty(now)

    def has_directory(self, directory: bytes) -> bool:
        """Whether this directory is (still) there."""
        try:
            with beneath.directory(self.folder.path, directory):
                return True
        except OSError:
            return False

    def give_up(self) -> None:
        """The folder is unavailable: what ran is dropped, what settles is kept for its return."""
        self.available = False
        self._scan = None
        self._absent.clear()

    def next_due(self, now: float) -> float | None:
        """When the next step is due; `None` when nothing is to be done."""
        if self._scan is not None or self._subtrees:
            return now
        dues = [self.settling.next_due(), self._later.next_due(), self._dirty_at]
        dues.append(self._absent[0][0] if self._absent else None)
        return min((due for due in dues if due is not None), default=None)

    def state(self, problem: str | None) -> FolderState:
        """How things stand; `problem` is one that the folder shares with others."""
        unreadable = next(iter(self._unreadable.values()), None)
        if unreadable is not None and len(self._unreadable) > 1:
            unreadable += f" (and {len(self._unreadable) - 1} more)"
        scanned_at, seconds, seen = self._last_scan or (None, None, 0)
        growing = next(iter(self.settling.growing), None)
        return FolderState(
            path=self.folder.path,
            mode="inotify" if self.polled_because is None else f"poll ({self.polled_because})",
            available=self.available,
            problem=self.problem or problem or unreadable,
            settling=len(self.settling) + len(self._later),
            growing=len(self.settling.growing),
            growing_example=growing.path if growing is not None else None,
            scanning=self._scan is not None or (self.available and self._last_scan is None),
            scan_files_seen=self._scan.result.files_seen if self._scan is not None else 0,
            last_scan_at=scanned_at,
            last_scan_seconds=seconds,
            files_seen=seen,
        )
