"""inotify(7), through watchdog: which paths something happened to. An event is a hint; what is there, `stat` says.

What is not subscribed to is as important as what is: opens and reads would come back as events of our own, and
modifications come by the thousand for every file and say nothing that the close after them does not say.
"""

import errno
import logging
import os
import threading
import warnings
from collections.abc import Callable

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

from ..jobs.model import shown
from .folder import WatchedFolder
from .inotify import Emitter, Reader
from .limits import unwatched_sentence

log = logging.getLogger("tusd_agent.intake")

_EVENTS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]
STOP_SECONDS = 5.0
PATH_MAX = 4096
"""No longer path can be watched, its final NUL counted (inotify_add_watch(2) takes paths, not descriptors)."""


class WatchFailed(Exception):
    """The folder can't be watched; the message says why and what to do. It can still be scanned."""


class WatchLimitMet(WatchFailed):
    """The kernel has no watch left."""


class Watcher:
    """The watches of all folders, and the threads that read them.

    `note(path)` is called with the absolute path (below the folder's path as it was given) of every file that was
    closed after writing, created, or moved into place, and every directory that was created or moved; it must be O(1).
    `lost()` is called when events were lost: each folder must be scanned. `limited(folder)` is called when some
    directory below the folder stays unwatched. All three on threads of watchdog's. `moves_on()` is called again and
    again by whoever has a large folder watched.
    """

    def __init__(
        self,
        note: Callable[[bytes], object],
        lost: Callable[[], object] = lambda: None,
        limited: Callable[[str], object] = lambda folder: None,
        moves_on: Callable[[], object] = lambda: None,
    ) -> None:
        self._moves_on = moves_on
        self._note = note
        self._lost = lost
        self._limited = limited
        self._reader: Reader | None = None
        self._observer: BaseObserver | None = None
        self._roots: dict[str, bytes] = {}
        self._watches: dict[str, ObservedWatch] = {}
        self.overflows = 0
        """How often the kernel's queue overflowed, since the watcher was made."""

    def start(self) -> None:
        """Opens the inotify instance and starts its threads; raises `WatchFailed`."""
        # Of every directory that it watches twice, which is harmless and happens for each that is created and filled
        # at once.
        warnings.filterwarnings("ignore", r"Callback with id .* (already exists|does not exist)", RuntimeWarning)
        try:
            self._reader = Reader(self._overflowed, self._refused, self._moves_on)
            self._observer = BaseObserver(Emitter, inotify_fd=self._reader)
            self._reader.start()
            self._observer.start()
        except (OSError, RuntimeError) as error:
            self.stop()
            raise _failed(error, "the folders") from error

    @property
    def alive(self) -> bool:
        """Whether all threads that an event passes through live; a watcher that does not is to be started again."""
        reader, observer = self._reader, self._observer
        if reader is None or observer is None:
            return False
        emitters = [one for one in list(observer.emitters) if isinstance(one, Emitter)]
        return reader.is_alive() and observer.is_alive() and all(one.is_intact for one in emitters)

    @property
    def watches(self) -> int:
        """How many directories are watched."""
        reader = self._reader
        return 0 if reader is None else reader.watches

    def is_watched(self, path: str, directory: bytes = b"") -> bool:
        """Whether this directory below a watched folder (by default itself) is watched, under the name it has now."""
        root, emitter = self._roots.get(path), self._emitter(path)
        if root is None or emitter is None or not emitter.is_alive():
            return False
        return emitter.has_watch(os.path.join(root, directory) if directory else root)

    def is_watchable(self, path: str, directory: bytes) -> bool:
        """Whether the kernel takes a path as long as that of the directory below the folder."""
        return len(os.path.join(self._roots.get(path, os.fsencode(path)), directory)) < PATH_MAX

    def watch(self, folder: WatchedFolder) -> None:
        """Watches the folder; raises `WatchFailed`. A link in the folder's own path is followed, none below it."""
        self._schedule(folder.path, self._note, recursive=folder.recursive, events=_EVENTS)

    def watch_directory(self, directory: str, on_event: Callable[[], object]) -> None:
        """Watches one directory, for its own sake: the canary's. Raises `WatchFailed`."""
        self._schedule(directory, lambda path: on_event(), recursive=False, events=[FileClosedEvent])

    def _schedule(
        self, path: str, note: Callable[[bytes], object], *, recursive: bool, events: list[type[FileSystemEvent]]
    ) -> None:
        self.unwatch(path)
        if self._observer is None:
            raise WatchFailed("the watcher is not running")
        try:
            # Of a file watchdog would watch the directory that it lies in.
            with os.scandir(path):
                root = os.path.realpath(path)
            self._roots[path] = os.fsencode(root)
            forward = _Forward(os.fsencode(root), os.fsencode(path), note)
            self._watches[path] = self._observer.schedule(forward, root, recursive=recursive, event_filter=events)
        except (OSError, RuntimeError) as error:
            self._roots.pop(path, None)
            raise _failed(error, shown(path)) from error

    def unwatch(self, path: str) -> None:
        """Ends the watch of the folder; nothing happens when there is none."""
        self._roots.pop(path, None)
        watch = self._watches.pop(path, None)
        if watch is None or self._observer is None:
            return
        try:
            self._observer.unschedule(watch)
        except OSError as error:
            # The kernel has forgotten the watch already: with its disk, for instance.
            log.debug("The watch of %s ended by itself: %s", shown(path), error)

    def stop(self) -> None:
        """Ends all watches and threads; no note comes after it has returned, but from a thread that does not end."""
        self._roots.clear()
        self._watches.clear()
        observer, self._observer = self._observer, None
        reader, self._reader = self._reader, None
        if reader is None:
            return
        # One that hangs, on a dead network file system say, holds locks that ending it waits for.
        ending = threading.Thread(target=_end, args=(observer, reader), name="inotify-end", daemon=True)
        try:
            ending.start()
        except RuntimeError:
            _end(observer, reader)
            return
        ending.join(STOP_SECONDS)
        if ending.is_alive():
            log.warning("The threads that read file events hang and are left behind")

    def _emitter(self, path: str) -> Emitter | None:
        observer, watch = self._observer, self._watches.get(path)
        if observer is None or watch is None:
            return None
        # watchdog has no public way to ask.
        emitter = observer._emitter_for_watch.get(watch)
        return emitter if isinstance(emitter, Emitter) else None

    def _overflowed(self) -> None:
        self.overflows += 1
        self._lost()

    def _refused(self, path: bytes) -> None:
        for folder, root in list(self._roots.items()):
            if path.startswith(root + b"/"):
                self._limited(folder)


class _Forward(FileSystemEventHandler):
    """Passes on the path of each event, as a path below the folder as the operator wrote it."""

    def __init__(self, root: bytes, folder: bytes, note: Callable[[bytes], object]) -> None:
        self._root = root
        self._folder = folder
        self._note = note

    def dispatch(self, event: FileSystemEvent) -> None:
        path = os.fsencode(event.dest_path or event.src_path)
        self._note(os.path.join(self._folder, path[len(self._root) :].lstrip(b"/")))


def _end(observer: BaseObserver | None, reader: Reader) -> None:
    """Ends the threads, of which any may have died or never have been started."""
    if observer is not None:
        observer.stop()
        if observer.is_alive():
            observer.join()
    reader.end()


def _failed(error: OSError | RuntimeError, what: str) -> WatchFailed:
    if isinstance(error, RecursionError):
        # os.walk, which watchdog walks with, calls itself before Python 3.12.
        return WatchFailed(f"{what} can't be watched: its directories are nested too deeply")
    if isinstance(error, RuntimeError):
        return WatchFailed(f"{what} can't be watched: {error}. Raise TasksMax= of the unit, or ulimit -u")
    kind = WatchLimitMet if error.errno == errno.ENOSPC else WatchFailed
    return kind(unwatched_sentence(error, what))
