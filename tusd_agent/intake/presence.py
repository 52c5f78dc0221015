"""Which folders are there, and how they are watched: looked at again and again, because disks come and go.

Whatever goes wrong with the watching costs latency, never a file: such a folder is scanned more often until it is
mended, and scanned once more then.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial

from ..jobs.model import shown
from .canary import Canary
from .disks import file_system_type, is_remote
from .folder import WatchedFolder, WatcherHealth
from .follow import FollowedFolder
from .scan import FolderUnavailable
from .watcher import Watcher, WatchFailed, limit_sentence

log = logging.getLogger("tusd_agent.intake")

SHORTEST_RETRY_SECONDS = 60.0
LONGEST_RETRY_SECONDS = 3600.0
"""A folder that could not be watched is tried again, each time after twice as long: walking a large tree in vain costs
much."""


NEVER = float("inf")


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
        self.limit: str | None = None
        self.gap_check_at = NEVER
        self.unwatchable: set[bytes] = set()

    def begin_anew(self, now: float) -> None:
        self.retry_at = now
        self.retry_seconds = SHORTEST_RETRY_SECONDS
        self.unwatchable.clear()

    def try_later(self, now: float) -> None:
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
    ) -> None:
        self._watching = {followed: _Watching() for followed in folders}
        for followed in self._watching:
            followed.is_watched = partial(self._is_watched, followed)
        self._look_again_seconds = look_again_seconds
        self._watcher = Watcher(note, lost, self._limited)
        self._canary = canary
        self._canary_watched = False
        self._started = False
        self._start_at = 0.0
        self._start_problem: str | None = None
        self._restarts = 0
        self._gaps = 0

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
        followed.give_up()
        followed.look_at = now + self._look_again_seconds
        self._watcher.unwatch(followed.folder)

    def problem(self, followed: FollowedFolder) -> str | None:
        """Why events of the folder may be missing, though it is to be watched."""
        watching = self._watching[followed]
        if self._start_problem is not None and watching.polled_because is None:
            return self._start_problem
        if watching.limit is not None:
            return watching.limit
        if not watching.unwatchable:
            return None
        example = shown(min(watching.unwatchable))
        return (
            f"{len(watching.unwatchable)} directories can't be watched, such as {example}: only scans find files there"
        )

    def health(self) -> WatcherHealth:
        """How the watching as a whole is doing. Any thread may ask."""
        return WatcherHealth(
            alive=self._watcher.alive,
            watches=self._watcher.watches,
            overflows=self._watcher.overflows,
            restarts=self._restarts,
            gaps=self._gaps,
            canary_at=None if self._canary is None else self._canary.heard_at,
        )

    def next_due(self) -> float:
        """When the next look is due."""
        due = min((followed.look_at for followed in self._watching), default=float("inf"))
        if self._canary is not None and self._canary_watched and self._needs_watcher():
            due = min(due, self._canary.next_due())
        return due

    def stop(self) -> None:
        """Ends all watches; nothing is noted any more when it has returned."""
        self._watcher.stop()
        if self._canary is not None and self._canary_watched:
            self._canary.remove()

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
        elif watching.limit is not None and followed.polled_because is None:
            self._fall_back(followed, watching, "watch limit", now)
        elif followed.unwatched:
            self._look_for_gaps(followed, watching, now)

    def _watch(self, followed: FollowedFolder, watching: _Watching, now: float) -> None:
        self._watcher.unwatch(followed.folder)
        watching.limit = None
        watching.retry_at = NEVER
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
        watching.retry_at = now + watching.retry_seconds
        watching.retry_seconds = min(2 * watching.retry_seconds, LONGEST_RETRY_SECONDS)

    def _limited(self, folder: str) -> None:
        """On any thread: a directory of the folder stays unwatched, for the kernel has no more watches."""
        for followed, watching in self._watching.items():
            if followed.folder.path == folder and watching.limit is None:
                watching.limit = limit_sentence(folder)
                log.warning("%s", watching.limit)

    def _is_watched(self, followed: FollowedFolder, directory: bytes) -> bool:
        """Whether events of this directory can be expected, as far as they are wanted at all."""
        return followed.polled_because is not None or self._watcher.is_watched(followed.folder, directory)

    def _look_for_gaps(self, followed: FollowedFolder, watching: _Watching, now: float) -> None:
        """The last scan found directories without a watch: the folder is watched anew, or it is said."""
        if watching.gap_check_at == NEVER:
            # Perhaps they are so new that their watches are on their way.
            watching.gap_check_at = now + self._look_again_seconds
        if now < watching.gap_check_at:
            return
        watching.gap_check_at = NEVER
        candidates, followed.unwatched = followed.unwatched, []
        gaps = [
            directory
            for directory in candidates
            if directory not in watching.unwatchable
            and not self._is_watched(followed, directory)
            and followed.has_directory(directory)
        ]
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
        """Starts the watcher, again when it has died or gone deaf; the folders are then watched and scanned anew."""
        if self._watcher.alive and not self._canary_lost(now):
            return
        if now < self._start_at:
            return
        if self._started:
            self._restarts += 1
            log.warning("File events are no longer read: the watcher is built anew and every folder is scanned")
        self._canary_watched = False
        self._watcher.stop()
        try:
            self._watcher.start()
        except WatchFailed as failed:
            self._start_at = now + SHORTEST_RETRY_SECONDS
            self._start_problem = str(failed)
            log.warning("%s", failed)
            return
        self._started = True
        self._start_problem = None
        self._release_canary(now)
        for followed, watching in self._watching.items():
            watching.begin_anew(now)
            followed.look_at = min(followed.look_at, now)

    def _release_canary(self, now: float) -> None:
        if self._canary is None:
            return
        try:
            self._canary.prepare()
            self._watcher.watch_directory(str(self._canary.directory), self._canary.heard)
        except (OSError, WatchFailed) as failed:
            log.warning("There is no canary for file events: %s", failed)
            return
        self._canary.restart(now)
        self._canary_watched = True

    def _canary_lost(self, now: float) -> bool:
        if self._canary is None or not self._canary_watched:
            return False
        try:
            return self._canary.fly(now)
        except OSError as error:
            # A full disk says nothing of the threads.
            log.debug("The canary can't fly: %s", error)
            return False


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
