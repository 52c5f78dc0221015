"""What watchdog reads inotify(7) with, and what it lacks: it is to tell of what it passes over, and to survive races.

It depends on names that watchdog keeps to itself; tests with real events hold it to them.
"""

import errno
import os
from collections.abc import Callable

from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import CallbackId, InotifyEvent, InotifyFD, Mask, WatchCallback, WatchDescriptor

_NO_WATCH = -1


class Reader(InotifyFD):
    """The thread that reads the inotify instance.

    `overflowed()` is called when the kernel's queue overflowed, `refused(path)` when the kernel has no more watches,
    `moves_on()` by whoever adds watches, for each of them.
    """

    def __init__(
        self,
        overflowed: Callable[[], object],
        refused: Callable[[bytes], object],
        moves_on: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__()
        self._moves_on = moves_on
        self.name = "inotify"
        self._overflowed = overflowed
        self._refused = refused
        self._released = False

    @property
    def watches(self) -> int:
        """How many directories are watched."""
        return len(self._watch_for_wd)

    def add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        """As in watchdog, which keeps silent of a directory that can't be watched. Raises `OSError`."""
        self._moves_on()
        try:
            descriptor = super().add_callback(path, mask, callback, id_)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._refused(path)
            raise
        if descriptor == _NO_WATCH:
            # watchdog takes EACCES for success; a directory that is made readable later would never be watched.
            with self._lock:
                self._watch_for_wd.pop(descriptor, None)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(path))
        return descriptor

    def handle_event(self, event: InotifyEvent) -> None:
        if event.is_moved_from and not event.is_directory:
            # watchdog waits half a second for the other half of a move, and holds back whatever came after it: each
            # file that is moved out of the folder would do that. Of a file only where it went is of interest.
            return
        super().handle_event(event)
        if event.is_queue_overflow:
            self._overflowed()

    def end(self) -> None:
        """Stops the thread, whether it lives, has died or was never started, and closes its descriptors."""
        self.stop()
        if self.is_alive():
            self.join()
        self._close_resources()

    def _close_resources(self) -> None:
        # watchdog leaves it to the thread, which may have died without.
        if not self._released:
            self._released = True
            super()._close_resources()


class Emitter(InotifyEmitter):
    """The thread that makes the events of one watched folder out of what the reader read."""

    def on_thread_start(self) -> None:
        self._inotify = _Group(
            self._inotify_fd,
            os.fsencode(self.watch.path),
            event_mask=self.get_event_mask_from_filter(),
            is_recursive=self.watch.is_recursive,
            follow_symlink=self.watch.follow_symlink,
        )

    def start(self) -> None:
        """Raises `OSError`, or `RuntimeError` when the system has no more threads; nothing is watched then."""
        try:
            super().start()
        except RuntimeError:
            self.on_thread_stop()
            raise

    @property
    def is_intact(self) -> bool:
        """Whether it lives, or has ended as it should: because its directory was removed, for instance."""
        return self.is_alive() or not self.should_keep_running()

    def has_watch(self, path: bytes) -> bool:
        """Whether this directory is watched, and under the name that it has now. Any thread may ask."""
        group = self._inotify
        return group is not None and path in group._active_callbacks_by_path


class _Group(InotifyWatchGroup):
    """The watches of one folder."""

    def __repr__(self) -> str:
        # watchdog builds a warning out of it for every directory that is created and filled at once; with all the
        # watches in it, as a dataclass has them, that is megabytes each time.
        return f"<{type(self).__name__} of {self.path!r}>"

    def _activate(self) -> None:
        try:
            super()._activate()
        except BaseException:
            # Half a tree, from which nobody would take the events.
            with self._lock:
                self._remove_callbacks(list(self._active_callbacks_by_watch))
            raise

    def _remove_watch_internally(self, wd: WatchDescriptor) -> None:
        """As in watchdog, where a directory that was renamed and replaced at once ends the thread by a KeyError."""
        path = self._active_callbacks_by_watch.pop(wd, None)
        if path is not None and self._active_callbacks_by_path.get(path) == wd:
            del self._active_callbacks_by_path[path]
