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
STOP_SECONDS = 5.0


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
        self.overflows = 0
        """How often the kernel's queue overflowed, since the watcher was made."""

    def start(self) -> None:
        """Opens the inotify instance and starts its threads; raises `WatchFailed`."""
        # watchdog warns of every directory that it watches twice, which is harmless and happens for each that is
        # created and filled at once, with a text that lists all of its watches: megabytes a line.
        warnings.filterwarnings("ignore", r"Callback with id .* (already exists|does not exist)", RuntimeWarning)
        try:
            reader = _Reader(self._overflowed, self._refused)
        except OSError as error:
            raise WatchFailed(_sentence(error, "the folders")) from error
        reader.start()
        self._reader = reader
        self._observer = BaseObserver(InotifyEmitter, inotify_fd=reader)
        self._observer.start()

    @property
    def alive(self) -> bool:
        """Whether all threads that an event passes through live; a watcher that does not is to be started again."""
        if self._reader is None or self._observer is None:
            return False
        emitters = list(self._observer.emitters)
        return self._reader.is_alive() and self._observer.is_alive() and all(one.is_alive() for one in emitters)

    @property
    def watches(self) -> int:
        """How many directories are watched."""
        return 0 if self._reader is None else self._reader.watches

    def is_watched(self, folder: WatchedFolder, directory: bytes) -> bool:
        """Whether this directory below the folder is watched, and under the name that it has now."""
        watch, root = self._watches.get(folder.path), self._roots.get(folder.path)
        if self._observer is None or watch is None or root is None:
            return False
        # watchdog has no public way to ask.
        emitter = self._observer._emitter_for_watch.get(watch)
        group = emitter._inotify if isinstance(emitter, InotifyEmitter) else None
        path = os.path.join(root, directory) if directory else root
        return group is not None and path in group._active_callbacks_by_path

    def watch_directory(self, directory: str, on_event: Callable[[], object]) -> None:
        """Watches one directory, for its own sake: the canary's. Raises `WatchFailed`."""
        if self._observer is None:
            raise WatchFailed("the watcher is not running")
        try:
            path = os.path.realpath(directory)
            self._observer.schedule(
                _Forward(os.fsencode(path), os.fsencode(path), lambda _: on_event()),
                path,
                recursive=False,
                event_filter=[FileClosedEvent],
            )
        except OSError as error:
            raise WatchFailed(_sentence(error, shown(directory))) from error

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
        """Ends all watches and threads; no note comes after it has returned, but from a thread that does not end."""
        self._roots.clear()
        self._watches.clear()
        observer, self._observer = self._observer, None
        reader, self._reader = self._reader, None
        for thread in (observer, reader):
            if thread is None:
                continue
            thread.stop()
            # One that hangs, on a dead network file system say, must not hold up the others.
            thread.join(STOP_SECONDS)
            if thread.is_alive():
                log.warning("The thread %s hangs and is left behind", thread.name)

    def _overflowed(self) -> None:
        self.overflows += 1
        self._lost()

    def _refused(self, path: bytes) -> None:
        for folder, root in list(self._roots.items()):
            if path.startswith(root + b"/"):
                self._limited(folder)


class _Reader(InotifyFD):
    """The thread that reads the inotify instance; it tells what watchdog keeps to itself."""

    def __init__(self, overflowed: Callable[[], object], refused: Callable[[bytes], object]) -> None:
        super().__init__()
        self.name = "inotify"
        self._overflowed = overflowed
        self._refused = refused

    @property
    def watches(self) -> int:
        return len(self._watch_for_wd)

    def add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        """As in watchdog, which passes over a directory below a folder that can't be watched: for that is told."""
        try:
            return super().add_callback(path, mask, callback, id_)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._refused(path)
            raise

    def handle_event(self, event: InotifyEvent) -> None:
        if event.is_moved_from and not event.is_directory:
            # watchdog waits half a second for the other half of a move, and holds back whatever came after it: each
            # file that is moved out of the folder would do that. Of a file only where it went is of interest.
            return
        super().handle_event(event)
        if event.is_queue_overflow:
            self._overflowed()


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
