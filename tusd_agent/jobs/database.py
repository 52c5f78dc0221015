"""The SQLite file: opening, checking, migrating, and the one place where transactions begin and end.

Write-ahead logging, one writing connection behind one lock, short transactions (https://sqlite.org/wal.html). A
transaction that promises something to the world outside is `durable`: synchronous=FULL, the log is synced before
the commit returns. Others may lose their last moments in a power cut, never their consistency.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .schema import SCHEMA_STEPS, SCHEMA_VERSION

MINIMUM_SQLITE = (3, 35, 0)


class DatabaseUnusable(Exception):
    """The database can't be opened as it is. The message says why and what to do."""


class NewerDatabase(DatabaseUnusable):
    """The database was written by a newer version of the agent."""


class DamagedDatabase(DatabaseUnusable):
    """The file is no intact SQLite database."""


class Database:
    """The writing side of one database file. The constructor does no I/O: `open` does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._durable = True

    def open(self) -> bool:
        """Opens, migrates, and checks after an unclean stop; returns whether the last stop was clean.

        Raises `NewerDatabase`, `DamagedDatabase` or `DatabaseUnusable`; leaves the file alone in each case.
        """
        if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
            raise DatabaseUnusable(
                f"SQLite {'.'.join(map(str, MINIMUM_SQLITE))} or newer is needed, this Python has "
                f"{sqlite3.sqlite_version}; use a newer Python or operating system"
            )
        try:
            self.path.touch(mode=0o600, exist_ok=True)
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        except (OSError, sqlite3.Error) as error:
            raise DatabaseUnusable(f"the database {self.path} can't be opened: {error}") from error
        try:
            clean = self._prepare(connection)
        except sqlite3.DatabaseError as error:
            connection.close()
            if isinstance(error, sqlite3.OperationalError):
                raise DatabaseUnusable(f"the database {self.path} can't be used: {error}") from error
            raise DamagedDatabase(
                f"the database {self.path} is damaged ({error}). Nothing was changed. Move it aside, together "
                "with its -wal file, and start again: every file still there will be found, and sent again"
            ) from error
        except DatabaseUnusable:
            connection.close()
            raise
        self._connection = connection
        return clean

    def _prepare(self, connection: sqlite3.Connection) -> bool:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise NewerDatabase(
                f"the database {self.path} was written by a newer tusd-agent (schema {version}, this one knows "
                f"up to {SCHEMA_VERSION}). Install that version again, or start with another agent.state_dir"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        for number in range(version, SCHEMA_VERSION):
            connection.executescript(
                f"BEGIN IMMEDIATE; {SCHEMA_STEPS[number]}; PRAGMA user_version = {number + 1}; COMMIT;"
            )
        marker = connection.execute("SELECT value FROM agent WHERE key = 'stopped'").fetchone()
        clean = version == 0 or (marker is not None and marker[0] == "clean")
        if not clean:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
        connection.execute("INSERT OR REPLACE INTO agent VALUES ('stopped', 'no')")
        return clean

    def close(self) -> None:
        """Marks the stop as clean and closes. Nothing happens when it is not open."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is None:
                return
            try:
                connection.execute("INSERT OR REPLACE INTO agent VALUES ('stopped', 'clean')")
            finally:
                connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection for looking only: nobody writes meanwhile, so what is seen is of one moment."""
        with self._lock:
            if self._connection is None:
                raise DatabaseUnusable(f"the database {self.path} is not open")
            yield self._connection

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One write transaction; with `durable` the commit is on the disk when this returns.

        Rolled back whole when the block raises. Never do network or file I/O inside.
        """
        with self.reading() as connection:
            if durable != self._durable:
                connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            try:
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @property
    def size_bytes(self) -> int:
        """What the database takes on the disk, its log included."""
        total = 0
        for suffix in ("", "-wal"):
            try:
                total += os.stat(f"{self.path}{suffix}").st_size
            except FileNotFoundError:
                continue
        return total
