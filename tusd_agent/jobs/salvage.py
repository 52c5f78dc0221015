"""What can still be read of a damaged database, row by row, into a fresh one.

Whatever can't be read is found again by the scan; what is lost for good is the knowledge that a file was sent, which is
why the fresh ledger is then known to be incomplete. Past failures and totals are not taken over.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from .schema import IS_STANDING
from .states import State

_TABLES = ("folders", "directories", "jobs", "leftovers")
_BATCH_ROWS = 200
_SINGLE_STEPS = 200
"""More rows than lie on a page of 4 KiB: so many that can not be read are tried one by one, then it goes in leaps."""
_LARGEST_LEAP = 2**40


def move_aside(path: Path, suffix: str) -> Path:
    """Renames the database and its log, whole; returns the new path. Raises `OSError`."""
    aside = path.with_name(f"{path.name}.{suffix}")
    path.rename(aside)
    for extra in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + extra).rename(aside.with_name(aside.name + extra))
    return aside


def put_back(aside: Path, path: Path) -> None:
    """Undoes `move_aside`; what was begun in its place goes. Raises `OSError`."""
    for extra in ("", "-wal", "-shm"):
        path.with_name(path.name + extra).unlink(missing_ok=True)
    for extra in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            aside.with_name(aside.name + extra).rename(path.with_name(path.name + extra))


def salvage(damaged: Path, into: sqlite3.Connection) -> int:
    """Copies the rows that can be read and make sense; returns how many jobs did. Raises what `into` raises."""
    with closing(sqlite3.connect(f"{damaged.as_uri()}?mode=ro", uri=True, isolation_level=None)) as source:
        source.text_factory = bytes
        kept = {table: _copy(source, into, table) for table in _TABLES}
        _copy_standing(source, into)
    return kept["jobs"]


def _copy_standing(source: sqlite3.Connection, into: sqlite3.Connection) -> None:
    """What an operator has set: who had paused the agent does not want it to send because of a damaged page."""
    try:
        rows = source.execute(f"SELECT key, value FROM agent WHERE {IS_STANDING}").fetchall()
    except sqlite3.DatabaseError:
        return
    for key, value in rows:
        with suppress(ValueError):  # among them UnicodeDecodeError
            into.execute("INSERT OR IGNORE INTO agent VALUES (?, ?)", (key.decode(), repr(float(value))))


def _copy(source: sqlite3.Connection, into: sqlite3.Connection, table: str) -> int:
    wanted = [row[1] for row in into.execute(f"PRAGMA table_info({table})")]
    types = {row[1]: row[2] for row in into.execute(f"PRAGMA table_info({table})")}
    try:
        there = {row[1].decode() for row in source.execute(f"PRAGMA table_info({table})")}
    except sqlite3.DatabaseError:
        return 0
    columns = [column for column in wanted if column in there]
    if not columns:
        return 0
    insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    kept = 0
    into.execute("BEGIN IMMEDIATE")
    for _, *values in _rows(source, table, columns):
        row = _sensible(dict(zip(columns, values, strict=True)), types)
        if row is None:
            continue
        # A row whose folder or directory was lost, or that is there twice.
        with suppress(sqlite3.IntegrityError):
            into.execute(insert, tuple(row[column] for column in columns))
            kept += 1
    into.execute("COMMIT")
    return kept


def _rows(source: sqlite3.Connection, table: str, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    """The rows in the order of their rowids; what lies on a page that can't be read is leapt over."""
    query = f"SELECT rowid, {', '.join(columns)} FROM {table} WHERE rowid >= ? ORDER BY rowid LIMIT ?"
    # From a rowid on, not from beyond the last one: that would be looked for on the page that can't be read.
    at, steps, leap, singly = 0, 0, 1, 0
    while leap <= _LARGEST_LEAP:
        limit = 1 if singly else _BATCH_ROWS
        try:
            rows = source.execute(query, (at, limit)).fetchall()
        except sqlite3.DatabaseError:
            if not singly:
                singly = _BATCH_ROWS  # among so many is the one that can't be read
                continue
            at, steps = at + leap, steps + 1
            leap = leap if steps < _SINGLE_STEPS else leap * 2
            continue
        yield from rows
        if len(rows) < limit:
            return
        at, steps, leap, singly = rows[-1][0] + 1, 0, 1, max(0, singly - 1)


def _sensible(row: dict[str, Any], types: dict[str, str]) -> dict[str, Any] | None:
    """The row with its texts decoded; None when a value is not what its column holds."""
    for column, value in row.items():
        if types[column] == "TEXT" and value is not None:
            if not isinstance(value, bytes):
                return None
            try:
                row[column] = value.decode()
            except UnicodeDecodeError:
                return None
        elif types[column] == "INTEGER" and not isinstance(value, int | None):
            return None
    if "state" in row and row["state"] not in list(State):
        return None
    return row
