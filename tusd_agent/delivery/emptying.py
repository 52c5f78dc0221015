"""Folders below a watched folder that are empty once their files were deleted or moved: removed, from below upwards."""

import errno
import heapq
import logging
import os
import threading
import time
from collections.abc import Callable

from .. import beneath
from ..jobs.model import shown

log = logging.getLogger("tusd_agent.delivery")


class EmptyFolders:
    """Remembers which folders may have become empty, and removes them once they had rest.

    A folder is removed when nothing was created in it or taken from it for the watched folder's `settle_seconds`:
    whoever has just made it, or emptied it, may be about to write into it. Never the watched folder itself, never one
    that is not empty (rmdir(2) sees to it), never through a link. What is remembered does not outlive the process: a
    folder that was waiting then stays until the next of its files goes.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._due: list[tuple[float, str, bytes]] = []
        self._waiting: dict[tuple[str, bytes], tuple[float, float]] = {}
        self._stopping = False
        self._thread: threading.Thread | None = None

    def note(self, folder: str, directory: bytes, settle_seconds: float) -> None:
        """The directory below the watched folder has lost a file; ``b""`` is the watched folder, which stays."""
        if not directory:
            return
        with self._changed:
            due_at = self._monotonic() + settle_seconds
            self._waiting[folder, directory] = due_at, settle_seconds
            heapq.heappush(self._due, (due_at, folder, directory))
            self._changed.notify_all()

    def run_once(self) -> None:
        """Removes what is due."""
        while True:
            with self._changed:
                if not self._due or self._due[0][0] > self._monotonic():
                    return
                due_at, folder, directory = heapq.heappop(self._due)
                noted_at, settle_seconds = self._waiting.get((folder, directory), (None, 0.0))
                if noted_at != due_at:  # noted again since
                    continue
                del self._waiting[folder, directory]
            again = self._remove(folder, directory, settle_seconds)
            if again:
                self.note(folder, again, settle_seconds)

    def start(self) -> None:
        """Starts the thread that does it; nothing happens when it runs."""
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._loop, name="empty-folders", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float | None = None) -> None:
        """Ends the thread, or leaves it after that time where it hangs; what waits stays as it is. Can be repeated."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def _loop(self) -> None:
        while True:
            self.run_once()
            with self._changed:
                if self._stopping:
                    return
                self._changed.wait(self._due[0][0] - self._monotonic() if self._due else None)

    def _remove(self, folder: str, directory: bytes, settle_seconds: float) -> bytes | None:
        """Removes the directory, if it is empty, and those above it; returns the one to look at again later."""
        changed_at: float | None = None  # before our own removals in it, which are no sign of anybody else
        while directory:
            above, _, name = directory.rpartition(b"/")
            try:
                with beneath.directory(folder, above) as parent:
                    if changed_at is None:
                        changed_at = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mtime
                    if abs(self._clock() - changed_at) < settle_seconds:
                        return directory if _is_empty(folder, directory) else None
                    changed_at = os.fstat(parent).st_mtime
                    os.rmdir(name, dir_fd=parent)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENOTEMPTY, errno.EEXIST):
                    log.warning("the empty folder %s can't be removed: %s", _shown(folder, directory), error.strerror)
                return None
            log.info("removed the empty folder %s", _shown(folder, directory))
            directory = above
        return None


def _is_empty(folder: str, directory: bytes) -> bool:
    with beneath.directory(folder, directory) as descriptor, os.scandir(descriptor) as entries:
        return next(entries, None) is None


def _shown(folder: str, directory: bytes) -> str:
    return shown(os.path.join(os.fsencode(folder), directory))
