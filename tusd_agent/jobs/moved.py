"""What moved in a transaction, for those who listen. While nobody does, nothing is noted."""

import sqlite3
from typing import NamedTuple

from .states import Event, State


class Moved(NamedTuple):
    """A job went from one state to another, or the same, by an event; `was` is `None` for a new one.

    `error` and `reason` are what came with that event.
    """

    job_id: int
    path: bytes
    was: State | None
    state: State
    event: Event
    error: str | None = None
    reason: str | None = None


class Connection(sqlite3.Connection):
    """One that keeps in mind what moved since its transaction began; `moved` is `None` while nobody listens."""

    moved: list[Moved] | None = None


def note(connection: sqlite3.Connection, moved: Moved) -> None:
    """Told to those who listen, if the transaction is committed."""
    if isinstance(connection, Connection) and connection.moved is not None:
        connection.moved.append(moved)
