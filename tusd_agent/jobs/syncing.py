"""Having commits on the disk: threads that wait for that at the same time share one fdatasync(2).

A commit that SQLite itself were to sync (synchronous=FULL) would keep everybody else from the queue meanwhile, and
each would wait for a sync of its own: on a slow disk that is most of what a small file costs. So SQLite writes its log
without (synchronous=NORMAL: it still syncs around each checkpoint), and the log is synced here, outside of its lock.
What was in the log by then and is not any more has been brought into the database by a checkpoint, and synced there.

While several threads make commits, a sync waits a little for those that are about to be made (PostgreSQL's commit_delay
does the same): fewer syncs for the same number of small files. Longer than that, and the small files wait for it.
"""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

GATHER_SECONDS = 0.0005
"""So long a sync waits for further commits; others work meanwhile."""

CROWDED_SECONDS = 0.01
"""So long after another thread had a commit synced, it is taken for one that is about to make the next."""


class LogSync:
    """Syncs the write-ahead log of one open database. Safe for use by several threads."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + "-wal")
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._committed = self._synced = 0
        self._latest: int | None = None
        self._latest_at = self._other_at = float("-inf")

    def open(self) -> None:
        """The log is there: SQLite keeps the one file until the last connection closes. Raises OSError."""
        # SQLite has no locks on it that closing this one would end (https://sqlite.org/wal.html, fcntl(2)).
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def committed(self) -> int:
        """Counts a commit, and returns its number. To be called before the next one can be made."""
        self._committed += 1
        return self._committed

    def wait(self, commit: int) -> None:
        """Returns when that commit, and with it each before it, is on the disk. Raises OSError."""
        with self._lock:
            crowded = self._is_crowded()
            if self._synced >= commit:
                return
            if crowded:
                time.sleep(GATHER_SECONDS)
            covered = self._committed
            if self._descriptor is not None:
                os.fdatasync(self._descriptor)
            self._synced = covered
            self._latest_at = time.monotonic()

    def _is_crowded(self) -> bool:
        """Whether another thread than the calling one has come here a moment ago."""
        now, thread = time.monotonic(), threading.get_ident()
        if thread != self._latest:
            self._latest, self._other_at = thread, self._latest_at
        self._latest_at = now
        return now - self._other_at < CROWDED_SECONDS

    def close(self) -> None:
        """Whoever still waits is done: what follows is synced by SQLite."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                with suppress(OSError):
                    os.fdatasync(descriptor)
                os.close(descriptor)
