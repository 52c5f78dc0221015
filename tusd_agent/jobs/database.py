"""The SQLite file: opening, checking, migrating, and the one place where transactions begin and end.

Write-ahead logging, one writing connection behind one lock, short transactions (https://sqlite.org/wal.html). A
transaction that promises something to the world outside is `durable`: the log is synced before it returns (`syncing`).
Others may lose their last moments in a power cut, never their consistency.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path

from .checkup import Checkup
from .moved import Moved, listen
from .notes import boot_id, count_up, note, noted
from .room import MAY_PASS, hint_of, shortage, trouble_of
from .salvage import move_aside, put_back, salvage
from .schema import SCHEMA_STEPS, SCHEMA_VERSION
from .syncing import LogSync
from .witness import Testimony, Witness

MINIMUM_SQLITE = (3, 35, 0)


class DatabaseUnusable(Exception):
    """The database can't be opened as it is. The message says why and what to do."""


class DatabaseUnwritable(DatabaseUnusable, sqlite3.OperationalError):
    """Its disk takes no writing now: it is full, read-only or fails. Trying again later may help."""


class NewerDatabase(DatabaseUnusable):
    """The database was written by a newer version of the agent."""


class DamagedDatabase(DatabaseUnusable):
    """The file is no intact SQLite database."""


class Database:
    """The writing side of one database file. The constructor does no I/O: `open` does."""

    def __init__(self, path: Path, *, boot: Callable[[], str | None] = boot_id) -> None:
        self.path = path
        self._boot = boot
        self._checkup = Checkup(path)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._sync = LogSync(path)
        self._witness = Witness(path.with_suffix(".witness"))
        # There as long as an error of SQLite's says that the file is damaged, and no check has been made.
        self._suspicion = path.with_suffix(".check")
        self.incomplete_since: float | None = None
        """Of contents older than this (since the epoch) the ledger may know nothing though they were sent."""
        self.loss: str | None = None
        """What this opening found missing, as a sentence."""
        self.damage: str | None = None
        """What SQLite said of damage while the file was in use, as a sentence."""
        self.witness_problem: str | None = None
        """Why a loss would not be noticed, as a sentence."""
        self.unchecked = False
        """Whether `check` is due, beside what else is done."""
        self.trouble: str | None = None
        """Why the last attempt to write failed that the disk is to blame for, as a sentence; until one succeeds."""
        self.on_moved: Callable[[list[Moved]], None] | None = None
        """Called with what moved in each transaction, once that is committed and before the next; it must be quick."""
        self.on_trouble: Callable[[], None] = lambda: None
        """Called when writing begins to fail, by the thread for which it did."""
        self.aside: Callable[[], AbstractContextManager[object]] = nullcontext
        """Entered by each thread for as long as it waits for a commit to be on the disk."""

    def open(self, *, clock: Callable[[], float] = time.time) -> bool:
        """Opens, migrates, checks where that can't wait; returns whether the last stop was clean.

        What a process leaves that is killed is whole, for the kernel writes what it was given: then the check of the
        whole file, which takes seconds for a million jobs, is for later (`unchecked`). After a power cut it depends on
        the disk, and after an error that spoke of damage nothing is believed: then it comes before anything else.

        A database that is behind its witness is opened all the same, and a damaged one is moved aside as a whole, with
        what could be read of it in a new one: see `incomplete_since` and `loss` then.

        Raises `NewerDatabase`, `DatabaseUnwritable` or another `DatabaseUnusable`; leaves the file alone in each case.
        """
        if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
            raise DatabaseUnusable(
                f"SQLite {'.'.join(map(str, MINIMUM_SQLITE))} or newer is needed, this Python has "
                f"{sqlite3.sqlite_version}; use a newer Python or operating system"
            )
        now = clock()
        try:
            return self._open(now)
        except DamagedDatabase as damaged:
            self._replace(damaged, now)
            return False

    def _open(self, now: float) -> bool:
        has_log = self.path.with_name(self.path.name + "-wal").exists()
        try:
            self.path.touch(mode=0o600, exist_ok=True)
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        except (OSError, sqlite3.Error) as error:
            if isinstance(error, OSError) and error.errno in MAY_PASS:
                raise DatabaseUnwritable(
                    f"the database {self.path} can't be used: {hint_of(error, self.path.parent)}"
                ) from error
            raise DatabaseUnusable(f"the database {self.path} can't be opened: {error}") from error
        try:
            clean = self._prepare(connection, has_log, now)
            connection.execute("PRAGMA synchronous = NORMAL")
            self._sync.open()
        except OSError as error:
            self._close_keeping_log(connection)
            raise DatabaseUnusable(f"the log of the database {self.path} can't be opened: {error}") from error
        except sqlite3.DatabaseError as error:
            self._close_keeping_log(connection)
            trouble = trouble_of(error, self.path)
            if trouble is not None:
                raise DatabaseUnwritable(trouble) from error
            if isinstance(error, sqlite3.OperationalError):
                raise DatabaseUnusable(f"the database {self.path} can't be used: {error}") from error
            raise DamagedDatabase(f"the database {self.path} is damaged ({error})") from error
        except DatabaseUnusable:
            self._close_keeping_log(connection)
            raise
        with suppress(OSError):  # then the next start checks it once more
            self._suspicion.unlink(missing_ok=True)
        self.trouble = self.damage = None
        self._connection = connection
        return clean

    def _replace(self, damaged: DamagedDatabase, now: float) -> None:
        """The damaged file is kept under another name; a new one takes over what of it can be read."""
        try:
            aside = move_aside(self.path, time.strftime("damaged-%Y%m%dT%H%M%SZ", time.gmtime(now)))
        except OSError as error:
            raise DatabaseUnusable(f"{damaged}, and can't be moved aside: {error.strerror or error}") from error
        try:
            self._open(now)
            kept = self._take_over(aside, now)
        except DatabaseUnwritable:
            # Once there is room it is begun anew, and what can be read of it taken over then.
            connection, self._connection = self._connection, None
            self._sync.close()
            if connection is not None:
                connection.close()
            put_back(aside, self.path)
            raise
        self.incomplete_since = now
        self.loss = f"{damaged}. It is kept as {aside}; {kept} of its jobs could be read"

    def _take_over(self, aside: Path, now: float) -> int:
        with self.reading() as connection:
            try:
                kept = salvage(aside, connection)
            except sqlite3.DatabaseError as error:
                kept = 0
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if trouble_of(error, self.path) is not None:
                    raise
            note(connection, "incomplete_since", repr(now))
        return kept

    def _prepare(self, connection: sqlite3.Connection, has_log: bool, now: float) -> bool:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise NewerDatabase(
                f"the database {self.path} was written by a newer tusd-agent (schema {version}, this one knows "
                f"up to {SCHEMA_VERSION}). Install that version again, or start with another agent.state_dir"
            )
        if version == 0:
            # Before anything else is in the file: so that deleted rows can give back their room, a little at a time.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        for number in range(version, SCHEMA_VERSION):
            connection.executescript(
                f"BEGIN IMMEDIATE; {SCHEMA_STEPS[number]}; PRAGMA user_version = {number + 1}; COMMIT;"
            )
        clean = version == 0 or noted(connection, "stopped") == "clean"
        boot = self._boot() or "unknown"
        killed = boot != "unknown" and noted(connection, "boot") == boot
        suspected = self._suspicion.exists()
        if suspected or not (clean or killed):
            # An index that lacks rows is sound to quick_check, and damage to whoever comes to change one of them: then
            # each start would believe the file, and none would get anywhere.
            check = "integrity_check" if suspected else "quick_check"
            (verdict,) = connection.execute(f"PRAGMA {check}(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            self.unchecked = False
        else:
            self.unchecked = not clean or noted(connection, "check") == "due"
        said = self._witness.read()
        self.loss = self._find_loss(connection, said, lost_log=not clean and not has_log)
        if self.loss is not None:
            note(connection, "incomplete_since", repr(now))
            # A witness that can't be written goes on saying what it said: that is one loss, not one at each start.
            note(connection, "loss_noted", str(said))
        since = noted(connection, "incomplete_since")
        self.incomplete_since = None if since is None else float(since)
        self._testify(
            count_up(
                connection,
                "no",
                beyond=0 if said is None else said.epoch,
                boot=boot,
                check="due" if self.unchecked else "done",
            )
        )
        return clean

    def _testify(self, testimony: Testimony) -> None:
        # A witness that stays behind, on a full disk say, is no harm: only a database behind its witness is.
        try:
            self._witness.write(testimony)
        except OSError as error:
            self.witness_problem = (
                f"{self._witness.path} can't be written ({error.strerror or error}): if the database were lost or "
                "replaced by an older copy, that would not be noticed, and files would be sent again"
            )
        else:
            self.witness_problem = None

    def _find_loss(self, connection: sqlite3.Connection, said: Testimony | None, *, lost_log: bool) -> str | None:
        if said is not None and str(said) != noted(connection, "loss_noted"):
            if said.ledger != noted(connection, "ledger"):
                return f"the database {self.path} was lost or exchanged: it is not the one that was used here before"
            if said.epoch > int(noted(connection, "epoch") or 0):
                return f"the database {self.path} is an older copy of itself, or its -wal file was lost"
        if lost_log:
            return f"the -wal file of the database {self.path} is missing, and with it what was noted last"
        return None

    def _close_keeping_log(self, connection: sqlite3.Connection) -> None:
        """Closes without a checkpoint: the file stays as it is, and a log that is gone keeps its one meaning.

        The last connection to close empties the log into the database and removes it, unless it may not write
        (https://sqlite.org/wal.html, "Avoiding Excessively Large WAL Files"); so the last one is one that may not.
        """
        try:
            with suppress(sqlite3.Error), closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)) as last:
                last.execute("PRAGMA schema_version").fetchone()
                connection.close()
        finally:
            connection.close()

    def close(self) -> None:
        """Marks the stop as clean and closes. Nothing happens when it is not open.

        Where that can't be written, on a full disk say, the stop is an unclean one: the next start checks the file.
        """
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is None:
            return
        self._checkup.stop()
        self._sync.close()
        try:
            testimony = count_up(connection, "clean")
        except sqlite3.Error:
            self._close_keeping_log(connection)
            return
        connection.close()
        self._testify(testimony)

    def check(self) -> None:
        """Looks over the whole file, which takes seconds, while it is in use; what is found is `damage`.

        Nothing else is changed by that: as with damage that shows in use, the next start moves the file aside and saves
        what can be read. When `close` is called meanwhile it ends, and is due again at the next opening.
        """
        with self._lock:
            if self._connection is None:
                return
            self._checkup.begin()
        try:
            verdict = self._checkup.run()
        except sqlite3.Error as error:
            if isinstance(error, sqlite3.DatabaseError):
                self._suspect(error)
            return
        if verdict != "ok":
            self._damaged(verdict)
            return
        self.unchecked = False
        with suppress(sqlite3.Error, DatabaseUnusable), self.transaction() as connection:
            note(connection, "check", "done")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection for looking only: nobody writes meanwhile, so what is seen is of one moment."""
        try:
            with self._lock:
                if self._connection is None:
                    raise DatabaseUnusable(self.trouble or f"the database {self.path} is not open")
                yield self._connection
        except sqlite3.DatabaseError as error:
            self._suspect(error)
            trouble = trouble_of(error, self.path)
            if trouble is None:
                raise
            self._in_trouble(trouble)
            raise DatabaseUnwritable(trouble) from error

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One write transaction; with `durable` the commit is on the disk when this returns.

        Rolled back whole when the block raises. Never do network or file I/O inside. Raises `DatabaseUnwritable` when
        the disk is full, read-only or fails.
        """
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            changes = connection.total_changes
            on_moved = self.on_moved
            moved: list[Moved] | None = None if on_moved is None else []
            listen(moved)
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
            if connection.total_changes != changes:
                self.trouble = None
            if on_moved is not None and moved:
                on_moved(moved)
            commit = self._sync.committed()
        if durable:
            try:
                with self.aside():
                    self._sync.wait(commit)
            except OSError as error:
                lacking = hint_of(error, self.path.parent) or f"{error.strerror or error}, look at its disk"
                self._in_trouble(f"the database {self.path} can't be used: {lacking}")
                raise DatabaseUnwritable(self.trouble) from error

    def _in_trouble(self, trouble: str) -> None:
        begins, self.trouble = self.trouble is None, trouble
        if begins:
            self.on_trouble()

    def ensure_writable(self) -> None:
        """After writing has failed: whether it would succeed now, with room to go on. Raises `DatabaseUnwritable`.

        Costs nothing as long as nothing has failed.
        """
        if self.trouble is None:
            return
        lacking = shortage(self.path.parent)
        if lacking is not None:
            self.trouble = f"the database {self.path} can't be used: {lacking}"
            raise DatabaseUnwritable(self.trouble)
        with self.transaction(durable=True) as connection:
            note(connection, "writable", "again")

    def _suspect(self, error: sqlite3.DatabaseError) -> None:
        """An error that means damage: the next start checks the file, however clean this stop will be."""
        # sqlite_errorcode: since Python 3.11; extended codes have the primary one in their lowest byte.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            self._damaged(str(error))

    def _damaged(self, words: str) -> None:
        self.damage = f"the database {self.path} is damaged ({words}): restart the agent, it saves what can be read"
        with suppress(OSError):
            self._suspicion.touch(mode=0o600)

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
