"""Which folders are there, and watched: looked at again and again, because disks come and go while the agent runs."""

import logging
from collections.abc import Callable, Iterable

from ..jobs.model import shown
from .follow import FollowedFolder
from .scan import FolderUnavailable
from .watcher import Watcher, WatchFailed, limit_sentence

log = logging.getLogger("tusd_agent.intake")


class Presence:
    """Takes folders up when they come, gives them up when they go, and keeps their watches.

    `note(path)` and `lost()` are called from the threads of the watcher. `now` is monotonic.
    """

    def __init__(
        self,
        folders: Iterable[FollowedFolder],
        note: Callable[[bytes], object],
        lost: Callable[[], object],
        look_again_seconds: float,
        rescan_interval_seconds: float,
    ) -> None:
        self._folders = list(folders)
        self._look_again_seconds = look_again_seconds
        self._rescan_interval_seconds = rescan_interval_seconds
        self._watcher = Watcher(note, lost, self._limited)
        self._start_at = 0.0
        self._start_problem: str | None = None
        self._limits: dict[str, str] = {}

    def look(self, now: float) -> None:
        """Looks at the folders for which it is time."""
        self._keep_watcher(now)
        for followed in self._folders:
            if followed.look_at <= now:
                self._look(followed, now)

    def lose(self, followed: FollowedFolder, problem: str, now: float) -> None:
        """The folder can't be looked at; nothing in it is taken for gone. It is taken up again when it can."""
        _say(followed, problem)
        followed.give_up()
        followed.look_at = now + self._look_again_seconds
        self._watcher.unwatch(followed.folder)

    def problem(self, followed: FollowedFolder) -> str | None:
        """Why events of the folder may be missing, though it is watched."""
        return self._start_problem or self._limits.get(followed.folder.path)

    def stop(self) -> None:
        """Ends all watches; nothing is noted any more when it has returned."""
        self._watcher.stop()

    def _look(self, followed: FollowedFolder, now: float) -> None:
        followed.look_at = now + self._look_again_seconds
        try:
            identity = followed.look()
        except FolderUnavailable as unavailable:
            self.lose(followed, str(unavailable), now)
            return
        if not followed.available or identity != followed.identity:
            followed.take_up(identity, now)
            followed.watch_at = now
            log.info("Watching %s", shown(followed.folder.path))
        if followed.folder.path in self._limits:
            followed.watch_at = min(followed.watch_at, now + self._rescan_interval_seconds)
        if followed.watch_at <= now:
            self._watch(followed, now)

    def _watch(self, followed: FollowedFolder, now: float) -> None:
        self._watcher.unwatch(followed.folder)
        self._limits.pop(followed.folder.path, None)
        followed.watch_at = float("inf")
        if not self._watcher.alive:
            # It is watched when `_keep_watcher` has started the watcher, which also says why that failed.
            followed.problem = None
            return
        try:
            self._watcher.watch(followed.folder)
        except WatchFailed as failed:
            # Walking a large tree in vain costs much: not more often than it is scanned.
            followed.watch_at = now + self._rescan_interval_seconds
            _say(followed, f"{failed}. Until then it is scanned every {self._rescan_interval_seconds:g} seconds")
            return
        followed.problem = None
        # Also for what came since the last scan, while there was no watch.
        followed.mark_dirty(now)

    def _keep_watcher(self, now: float) -> None:
        """Starts the watcher, and again when it has died; the folders are then watched and scanned anew."""
        if self._watcher.alive or now < self._start_at:
            return
        self._watcher.stop()
        try:
            self._watcher.start()
        except WatchFailed as failed:
            self._start_at = now + self._rescan_interval_seconds
            self._start_problem = str(failed)
            log.warning("%s", failed)
            return
        self._start_problem = None
        for followed in self._folders:
            followed.watch_at = now
            followed.look_at = now

    def _limited(self, folder: str) -> None:
        if folder not in self._limits:
            self._limits[folder] = limit_sentence(folder)
            log.warning("%s", self._limits[folder])


def _say(followed: FollowedFolder, problem: str) -> None:
    if followed.problem != problem:
        log.warning("%s: %s", shown(followed.folder.path), problem)
    followed.problem = problem
