"""What a watched folder stands on: whether it is there, and whether the disk it belongs to is."""

import os
from collections.abc import Callable
from dataclasses import replace

from ..jobs.folders import FolderMemory, Folders
from ..jobs.model import shown
from .disks import disk_root, is_unmounted
from .folder import WatchedFolder
from .scan import FolderUnavailable, unavailable_sentence


class Ground:
    """Looks raise `FolderUnavailable`, and what the ledger raises. Any thread may look."""

    def __init__(self, folder: WatchedFolder, folders: Folders, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._folders = folders
        self._clock = clock
        self._recalled = False
        self.memory: FolderMemory | None = None
        """What is remembered of the folder; `None` before the first look at one that was never seen."""

    def look(self) -> tuple[int, int]:
        """Device and inode of the folder, when it can be read and nothing says that it is not the real one."""
        if not self._recalled:
            self.memory = self._folders.recall(self._folder.path)
            self._recalled = True
        path = self._folder.path
        try:
            with os.scandir(path):
                found = os.stat(path)
            root = disk_root(path)
        except OSError as error:
            raise FolderUnavailable(unavailable_sentence(error)) from error
        if self._folder.mount_check and self.memory is not None and is_unmounted(self.memory.disk_root, root):
            top = shown(self.memory.disk_root or b"/")
            raise FolderUnavailable(
                f"nothing is mounted at {top} any more, so its jobs wait. Mount it; if the folder has another disk for "
                "good, set mount_check = false for it"
            )
        self._require_guard()
        return found.st_dev, found.st_ino

    def remember(self) -> None:
        """The folder is taken up as it is now."""
        try:
            root = disk_root(self._folder.path)
        except OSError as error:
            raise FolderUnavailable(unavailable_sentence(error)) from error
        self.memory = self._folders.remember(self._folder.path, root, self._clock())

    def recorded(self) -> None:
        """A scan of the whole folder is over. Raises what the ledger raises."""
        if self.memory is not None and self.memory.recorded_at is None:
            now = self._clock()
            self._folders.recorded(self._folder.path, now)
            self.memory = replace(self.memory, recorded_at=now)

    def _require_guard(self) -> None:
        guard = self._folder.guard_file
        if guard is None:
            return
        try:
            os.stat(os.path.join(self._folder.path, guard), follow_symlinks=False)
        except OSError as error:
            reason = "is not there" if isinstance(error, FileNotFoundError) else f"can't be seen ({error.strerror})"
            raise FolderUnavailable(
                f"its guard file {shown(guard)} {reason}: the folder is taken for unavailable, and its jobs wait"
            ) from error
