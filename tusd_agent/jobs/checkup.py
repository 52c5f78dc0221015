"""Looking over a whole database while it is in use."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

_ASK_AGAIN_SECONDS = 0.05


class Checkup:
    """One check at a time of the file at `path`, on a connection of its own: nobody waits for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._over = threading.Event()
        self._over.set()

    def begin(self) -> None:
        """From now on `stop` waits for the end of `run`, which must follow."""
        self._over.clear()

    def run(self) -> str:
        """What SQLite says of the file, "ok" where all is well (https://sqlite.org/pragma.html, quick_check).

        Raises `sqlite3.Error`: OperationalError with SQLITE_INTERRUPT when `stop` was called meanwhile.
        """
        try:
            uri = f"{self._path.as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, check_same_thread=False)) as connection:
                with self._lock:
                    self._connection = connection
                try:
                    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                finally:
                    with self._lock:
                        self._connection = None
        finally:
            self._over.set()
        return str(verdict)

    def stop(self) -> None:
        """Ends a check that runs, and returns when it has."""
        while not self._over.is_set():
            # An interrupt says nothing to a statement that is yet to begin (https://sqlite.org/c3ref/interrupt.html).
            with self._lock:
                if self._connection is not None:
                    self._connection.interrupt()
            self._over.wait(_ASK_AGAIN_SECONDS)
