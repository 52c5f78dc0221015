"""One agent per state folder: a lock that the kernel drops with the process, however it ends (flock(2))."""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path


class StateInUse(Exception):
    """Another agent works with this state folder. The message says which."""


class StateLock:
    """The lock file of a state folder. It stays where it is when released: removing it would open a race."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the lock or raises `StateInUse`, at once; `OSError` when the file can't be opened."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StateInUse(
                f"another agent works with the state folder {self.path.parent} ({holder}). Stop that one, or give "
                "this one an agent.state_dir of its own"
            ) from None
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        words = f"pid {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S %Z')}\n"
        with suppress(OSError):  # on a full disk: the words are for people only, the lock itself needs no room
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, words.encode(), 0)

    def release(self) -> None:
        """Gives the lock back; nothing happens when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
