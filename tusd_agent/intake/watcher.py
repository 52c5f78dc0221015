"""inotify(7), through watchdog: which paths something happened to. An event is a hint; what is there, `stat` says.

What is not subscribed to is as important as what is: opens and reads would come back as events of our own, and
modifications come by the thousand for every file and say nothing that the close after them does not say.
"""

import errno
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import CallbackId, InotifyEvent, InotifyFD, Mask, WatchCallback, WatchDescriptor

from ..jobs.model import shown
from .folder import WatchedFolder

log = logging.getLogger("tusd_agent.intake")

_EVENTS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]
_LIMITS = Path("/proc/sys/fs/inotify")


class WatchFailed(Exception):
    """The folder can't be watched; the message says why and what to do. It can still be scanned."""


class Watcher:
    """The watches of all folders, and the threads that read them.

    `note(path)` is called with the absolute path (below the folder's path as it was given) of every file that was
    closed after writing, created, or moved into place, and every directory that was created or moved; it must be O(1).
    `lost()` is called when events were lost: each folder must be scanned. `limited(folder)` is called when some
    directory below the folder stays unwatched. All three on threads of watchdog's.
    """

    def __init__(
        self,
        note: Callable[[bytes], object],
        lost: Callable[[], object] = lambda: None,
        limited: Callable[[str], object] = lambda folder: None,
    ) -> None:
        self._note = note
        self._lost = lost
        self._limited = limited
        self._reader: _Reader | None = None
        self._observer: BaseObserver | None = None
        self._roots: dict[str, bytes] = {}
        self._watches: dict[str, ObservedWatch] = {}

    def start(self) -> None:
        """Opens the inotify instance and starts its threads; raises `WatchFailed`."""
        # watchdog warns of every directory that it watches twice, which is harmless and happens for each that is
        # created and filled at once, with a text that lists all of its watches: megabytes a line.
        warnings.filterwarnings("ignore", r"Callback with id .* (already exists|does not exist)", RuntimeWarning)
        try:
            reader = _Reader(self._lost, self._refused)
        except OSError as error:
            raise WatchFailed(_sentence(error, "the folders")) from error
        reader.start()
        self._reader = reader
        self._observer = BaseObserver(InotifyEmitter, inotify_fd=reader)
        self._observer.start()

    @property
    def alive(self) -> bool:
        """Whether events are being read. A watcher that is not alive any more is to be stopped and started again."""
        return self._reader is not None and self._reader.is_alive()

    def watch(self, folder: WatchedFolder) -> None:
        """Watches the folder; raises `WatchFailed`. A link in the folder's own path is followed, none below it."""
        if self._observer is None:
            raise WatchFailed("the watcher is not running")
        try:
            # inotify_add_watch(2) says nothing of a folder that may not be read: watchdog passes over EACCES.
            with os.scandir(folder.path):
                root = os.path.realpath(folder.path)
            self._roots[folder.path] = os.fsencode(root)
            self._watches[folder.path] = self._observer.schedule(
                _Forward(os.fsencode(root), os.fsencode(folder.path), self._note),
                root,
                recursive=folder.recursive,
                event_filter=_EVENTS,
            )
        except OSError as error:
            self._roots.pop(folder.path, None)
            raise WatchFailed(_sentence(error, shown(folder.path))) from error

    def unwatch(self, folder: WatchedFolder) -> None:
        """Ends the watch of the folder; nothing happens when there is none."""
        self._roots.pop(folder.path, None)
        watch = self._watches.pop(folder.path, None)
        if watch is not None and self._observer is not None:
            self._observer.unschedule(watch)

    def stop(self) -> None:
        """Ends all watches and threads; no note comes after it has returned."""
        self._roots.clear()
        self._watches.clear()
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None
        if self._reader is not None:
            self._reader.stop()
            self._reader.join()
            self._reader = None

    def _refused(self, path: bytes) -> None:
        for folder, root in list(self._roots.items()):
            if path.startswith(root + b"/"):
                self._limited(folder)


class _Reader(InotifyFD):
    """The thread that reads the inotify instance; it tells what watchdog keeps to itself."""

    def __init__(self, lost: Callable[[], object], refused: Callable[[bytes], object]) -> None:
        super().__init__()
        self.name = "inotify"
        self._lost = lost
        self._refused = refused

    def add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        """As in watchdog, which passes over a directory below a folder that can't be watched: for that is told."""
        try:
            return super().add_callback(path, mask, callback, id_)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._refused(path)
            raise

    def handle_event(self, event: InotifyEvent) -> None:
        super().handle_event(event)
        if event.is_queue_overflow:
            self._lost()

    def run(self) -> None:
        try:
            super().run()
        except Exception:
            # It dies of races in watchdog's books under heavy churn, and nothing else would show it.
            log.warning("The thread that reads file events died; it is started again", exc_info=True)
            self._lost()


class _Forward(FileSystemEventHandler):
    """Passes on the path of each event, as a path below the folder as the operator wrote it."""

    def __init__(self, root: bytes, folder: bytes, note: Callable[[bytes], object]) -> None:
        self._root = root
        self._folder = folder
        self._note = note

    def dispatch(self, event: FileSystemEvent) -> None:
        path = os.fsencode(event.dest_path or event.src_path)
        self._note(os.path.join(self._folder, path[len(self._root) :].lstrip(b"/")))


def limit_sentence(folder: str) -> str:
    """What to tell the operator when the kernel has no more watches for a folder."""
    limit = _limit("max_user_watches")
    return (
        f"not every directory below {shown(folder)} can be watched: all {limit} inotify watches of this user are "
        f"in use. Raise the limit: sysctl -w fs.inotify.max_user_watches={limit * 2} (and in /etc/sysctl.d to "
        "keep it). Until then files there are found by the scan only"
    )


def _sentence(error: OSError, what: str) -> str:
    if error.errno == errno.ENOSPC:
        limit = _limit("max_user_watches")
        return (
            f"{what} can't be watched: all {limit} inotify watches of this user are in use. Raise the limit: "
            f"sysctl -w fs.inotify.max_user_watches={limit * 2} (and in /etc/sysctl.d to keep it)"
        )
    if error.errno == errno.EMFILE:
        limit = _limit("max_user_instances")
        return (
            f"{what} can't be watched: all {limit} inotify instances of this user, or all file descriptors of the "
            f"agent, are in use. Raise the limit: sysctl -w fs.inotify.max_user_instances={limit * 2} (and in "
            "/etc/sysctl.d to keep it), or LimitNOFILE= of the unit"
        )
    if error.errno == errno.ENOENT:
        return f"{what} can't be watched: it does not exist. Make it, or correct the configuration"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{what} can't be watched: no permission. Let user {os.geteuid()} read and enter it"
    return f"{what} can't be watched: {error.strerror or error}"


def _limit(name: str) -> int:
    try:
        return int((_LIMITS / name).read_text())
    except (OSError, ValueError):
        return 0
