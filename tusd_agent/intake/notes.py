"""Paths that something happened to, from the threads that hear of it to the one that looks."""

import threading

LIMIT = 50_000
"""Beyond so many noted paths a folder is scanned instead: a scan costs the same however much has happened."""


class Notes:
    """The noted paths of one folder, relative to it; each counts once. Safe for use by several threads."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._paths: dict[bytes, None] = {}
        self._dirty = False

    def add(self, relative: bytes) -> None:
        """Something happened to this path; O(1)."""
        with self._lock:
            # While the folder waits for its scan, which sees the path too, a note has nothing to add.
            if self._dirty:
                return
            # The latest comes last: a rename chain is then followed in the order in which it happened.
            self._paths.pop(relative, None)
            self._paths[relative] = None
            if len(self._paths) > self._limit:
                self._mark()

    def mark_dirty(self) -> None:
        """Anything may have happened: the whole folder is to be scanned."""
        with self._lock:
            self._mark()

    def drain(self) -> tuple[list[bytes], bool]:
        """What was noted since the last time, in order, and whether the folder is to be scanned as a whole."""
        with self._lock:
            paths, dirty = list(self._paths), self._dirty
            self._paths.clear()
            self._dirty = False
        return paths, dirty

    def _mark(self) -> None:
        self._paths.clear()
        self._dirty = True
