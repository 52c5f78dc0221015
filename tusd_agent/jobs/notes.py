"""What the database notes of itself, in the table `agent`: whether it was closed, how often it was opened, where."""

import sqlite3
from pathlib import Path
from uuid import uuid4

from .witness import Testimony

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str | None:
    """Names the run of the kernel that we are in (random(4)); `None` where that can't be told."""
    try:
        return BOOT_ID.read_text().strip() or None
    except OSError:
        return None


def noted(connection: sqlite3.Connection, key: str) -> str | None:
    """What is noted under `key`."""
    row = connection.execute("SELECT value FROM agent WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def note(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Notes it, in place of what was there."""
    connection.execute("INSERT OR REPLACE INTO agent VALUES (?, ?)", (key, value))


def count_up(connection: sqlite3.Connection, stopped: str, beyond: int = 0, **more: str) -> Testimony:
    """One start or stop more, noted together with whether it is a clean stop, and with `more`, durably.

    The count goes on from `beyond` where that is more: an older copy in use is then ahead of the newer one, whose
    return is a loss too.
    """
    counted = max(int(noted(connection, "epoch") or 0), beyond)
    testimony = Testimony(noted(connection, "ledger") or str(uuid4()), counted + 1)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    for key, value in {
        "stopped": stopped, "ledger": testimony.ledger, "epoch": str(testimony.epoch), **more
    }.items():  # fmt: skip
        note(connection, key, value)
    connection.execute("COMMIT")
    return testimony
