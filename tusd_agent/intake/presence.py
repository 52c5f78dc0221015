"""Which folders are there, and how they are watched: looked at again and again, because disks come and go.

Whatever goes wrong with the watching costs latency, never a file: such a folder is scanned more often until it is
mended, and scanned once more then.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial

from ..jobs.model import shown
from ..mounts import file_system_type, is_remote
from .canary import Canary
from .folder import WatchedFolder, WatcherHealth
from .follow import FollowedFolder
from .limits import partly_watched_sentence
from .scan import FolderUnavailable
from .upkeep import LONGEST_RETRY_SECONDS, NEVER, SHORTEST_RETRY_SECONDS, Upkeep
from .watcher import Watcher, WatchFailed, WatchLimitMet

log = logging.getLogger("tusd_agent.intake")

LONGEST_ABSENCE_SECONDS = 60.0
"""A folder that is there but can't be scanned to the end is taken up again, each time after twice as long."""
EXAMPLE_CHARACTERS = 200


class _Watching:
    """How the watching of one folder stands.

    `polled_because`: why it is not to be watched at all. `retry_at`: when to (try to) watch it; never: it is watched.
    `limit`: the sentence about the kernel's limit, if that was met. `unwatchable`: directories that got no watch even
    when the folder was watched anew.
    """

    def __init__(self) -> None:
        self.polled_because: str | None = None
        self.retry_at = 0.0
        self.retry_seconds = SHORTEST_RETRY_SECONDS
        self.watched_at = 0.0
        self.limit: str | None = None
        self.gap_check_at = NEVER
        self.unwatchable: set[bytes] = set()
        self.absence_seconds = 0.0
        self.last_scan_at: float | None = None

    def begin_anew(self, now: float) -> None:
        self.retry_at = now
        self.retry_seconds = SHORTEST_RETRY_SECONDS
        self.unwatchable.clear()

    def try_later(self, now: float) -> None:
        if now - self.watched_at > LONGEST_RETRY_SECONDS:
            # It went well for long: this is another trouble.
            self.retry_seconds = SHORTEST_RETRY_SECONDS
        self.retry_at = now + self.retry_seconds
        self.retry_seconds = min(2 * self.retry_seconds, LONGEST_RETRY_SECONDS)


class Presence:
    """Takes folders up when they come, gives them up when they go, and keeps their watches.

    `note(path)` and `lost()` are called from the threads of the watcher. `now` is monotonic. Without a canary, deaf
    threads are found only when they end.
    """

    def __init__(
        self,
        folders: Iterable[FollowedFolder],
        note: Callable[[bytes], object],
        lost: Callable[[], object],
        look_again_seconds: float,
        canary: Canary | None = None,
        moves_on: Callable[[], object] = lambda: None,
    ) -> None:
        self._watching: dict[FollowedFolder, _Watching] = {}
        self._look_again_seconds = look_again_seconds
        self._watcher = Watcher(note, lost, self._limited, moves_on)
        self._upkeep = Upkeep(self._watcher, canary)
        self._gaps = 0
        self.use(folders)

    def use(self, folders: Iterable[FollowedFolder]) -> None:
        """These folders from now on: the watches of others end, and new ones are taken up by the next `look`."""
        watching = {followed: self._watching.get(followed) or _Watching() for followed in folders}
        for followed in watching:
            followed.is_watched = partial(self._is_watched, followed)
        before, self._watching = self._watching, watching
        for gone in before.keys() - watching.keys():
            self._watcher.unwatch(gone.folder.path)

    def look(self, now: float) -> None:
        """Looks at the watcher, and at the folders for which it is time. Raises what the ledger raises."""
        if self._needs_watcher():
            self._keep_watcher(now)
        for followed, watching in self._watching.items():
            if followed.look_at <= now:
                self._look(followed, watching, now)

    def lose(self, followed: FollowedFolder, problem: str, now: float) -> None:
        """The folder can't be looked at; nothing in it is taken for gone. It is taken up again when it can."""
        _say(followed, problem)
        followed.look_at = now + self._look_again_seconds
        if followed.available:
            watching = self._watching[followed]
            in_vain = watching.absence_seconds and followed.last_scan_at == watching.last_scan_at
            wanted = 2 * watching.absence_seconds if in_vain else self._look_again_seconds
            watching.absence_seconds = min(wanted, LONGEST_ABSENCE_SECONDS)
            watching.last_scan_at = followed.last_scan_at
            followed.look_at = now + watching.absence_seconds
        followed.give_up()
        self._watcher.unwatch(followed.folder.path)

    def problem(self, followed: FollowedFolder) -> str | None:
        """Why events of the folder may be missing, though it is to be watched."""
        watching = self._watching[followed]
        if self._upkeep.problem is not None and watching.polled_because is None:
            return self._upkeep.problem
        if watching.limit is not None:
            return watching.limit
        if not watching.unwatchable:
            return None
        example = shown(min(watching.unwatchable))
        if len(example) > EXAMPLE_CHARACTERS:
            example = f"{example[:EXAMPLE_CHARACTERS]}..."
        count = len(watching.unwatchable)
        some = "1 directory" if count == 1 else f"{count} directories"
        return (
            f"{some} can't be watched (a path may be too long), such as {example}: files there are found by scans only"
        )

    def health(self) -> WatcherHealth:
        """How the watching as a whole is doing. Any thread may ask."""
        return WatcherHealth(
            alive=self._watcher.alive,
            watches=self._watcher.watches,
            overflows=self._watcher.overflows,
            restarts=self._upkeep.restarts,
            gaps=self._gaps,
            canary_at=self._upkeep.heard_at,
        )

    def next_due(self) -> float:
        """When the next look is due."""
        due = min((followed.look_at for followed in self._watching), default=NEVER)
        return min(due, self._upkeep.next_due()) if self._needs_watcher() else due

    def stop(self) -> None:
        """Ends all watches; nothing is noted any more when it has returned."""
        self._upkeep.stop()

    def _needs_watcher(self) -> bool:
        return any(followed.available and one.polled_because is None for followed, one in self._watching.items())

    def _look(self, followed: FollowedFolder, watching: _Watching, now: float) -> None:
        followed.look_at = now + self._look_again_seconds
        try:
            identity = followed.ground.look()
            if not followed.available or identity != followed.identity:
                followed.take_up(identity, now)
                watching.polled_because = _reason_to_poll(followed.folder)
                watching.begin_anew(now)
                log.info("Watching %s", shown(followed.folder.path))
        except FolderUnavailable as unavailable:
            self.lose(followed, str(unavailable), now)
            return
        if watching.polled_because is None and not self._watcher.alive:
            self._keep_watcher(now)
        if watching.retry_at <= now:
            self._watch(followed, watching, now)
        elif followed.polled_because is not None:
            return
        elif watching.limit is not None:
            self._fall_back(followed, watching, "watch limit", now)
        elif not self._watcher.is_watched(followed.folder.path):
            # Removed and made again, or unmounted and mounted, with its old number and within one look.
            self._watch(followed, watching, now)
        else:
            self._look_for_gaps(followed, watching, now)

    def _watch(self, followed: FollowedFolder, watching: _Watching, now: float) -> None:
        self._watcher.unwatch(followed.folder.path)
        watching.limit = None
        watching.retry_at = NEVER
        watching.watched_at = now
        followed.polled_because = watching.polled_because
        followed.problem = None
        # Also for what came since the last scan, while there was no watch.
        followed.mark_dirty(now)
        if watching.polled_because is not None:
            return
        if not self._watcher.alive:
            # It is watched when `_keep_watcher` has started the watcher, which also says why that failed.
            followed.polled_because = "no events to be had"
            return
        try:
            self._watcher.watch(followed.folder)
        except WatchLimitMet as met:
            watching.limit = f"{met}. Until then it is scanned instead"
            log.warning("%s", met)
        except WatchFailed as failed:
            self._fall_back(followed, watching, "it can't be watched", now)
            _say(followed, f"{failed}. Until then it is scanned every {followed.scan_interval_seconds():g} seconds")
            return
        if watching.limit is not None:
            self._fall_back(followed, watching, "watch limit", now)

    def _fall_back(self, followed: FollowedFolder, watching: _Watching, reason: str, now: float) -> None:
        """The folder is scanned more often until it can be watched as a whole."""
        followed.polled_because = reason
        followed.mark_dirty(now)
        watching.try_later(now)

    def _limited(self, folder: str) -> None:
        """On any thread: a directory of the folder stays unwatched, for the kernel has no more watches."""
        for followed, watching in self._watching.items():
            if followed.folder.path == folder and watching.limit is None:
                watching.limit = partly_watched_sentence(shown(folder))
                log.warning("%s", watching.limit)

    def _is_watched(self, followed: FollowedFolder, directory: bytes) -> bool:
        """Whether events of this directory can be expected, as far as they are wanted and can be had at all."""
        return (
            followed.polled_because is not None
            or directory in self._watching[followed].unwatchable
            or self._watcher.is_watched(followed.folder.path, directory)
        )

    def _look_for_gaps(self, followed: FollowedFolder, watching: _Watching, now: float) -> None:
        """Where a scan found directories without a watch, the folder is watched anew; or it is said."""
        if followed.unwatched is None:
            return
        if followed.unwatched and watching.gap_check_at == NEVER:
            # Perhaps they are so new that their watches are on their way.
            watching.gap_check_at = now + self._look_again_seconds
        if followed.unwatched and now < watching.gap_check_at:
            return
        candidates, followed.unwatched = followed.unwatched, None
        watching.gap_check_at = NEVER
        watching.unwatchable = {one for one in watching.unwatchable if followed.has_directory(one)}
        missed = [one for one in candidates if not self._is_watched(followed, one) and followed.has_directory(one)]
        gaps = [one for one in missed if self._watcher.is_watchable(followed.folder.path, one)]
        watching.unwatchable.update(set(missed).difference(gaps))
        if not gaps:
            return
        self._gaps += len(gaps)
        log.warning(
            "%d directories below %s were not watched, such as %s: the folder is watched anew",
            len(gaps), shown(followed.folder.path), shown(gaps[0]),
        )  # fmt: skip
        self._watch(followed, watching, now)
        watching.unwatchable.update(one for one in gaps if not self._is_watched(followed, one))

    def _keep_watcher(self, now: float) -> None:
        """Has the watcher started when it is not, and the folders watched and scanned anew after that."""
        if self._upkeep.keep(now):
            for followed, watching in self._watching.items():
                watching.begin_anew(now)
                followed.look_at = min(followed.look_at, now)


def _say(followed: FollowedFolder, problem: str) -> None:
    if followed.problem != problem:
        log.warning("%s: %s", shown(followed.folder.path), problem)
    followed.problem = problem


def _reason_to_poll(folder: WatchedFolder) -> str | None:
    """Why the folder is to be polled, by its settings and the file system it lies on; `None`: it is watched."""
    if folder.watch == "poll":
        return "as set"
    if folder.watch == "inotify":
        return None
    kind = file_system_type(folder.path)
    return f"{kind} does not tell of all changes" if kind is not None and is_remote(kind) else None
