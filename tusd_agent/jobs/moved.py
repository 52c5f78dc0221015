"""What moved in a transaction, for those who listen. While nobody does, nothing is noted."""

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from .model import Job, Place
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


class _Transaction(threading.local):
    """What moved in the transaction of this thread; `None` while nobody listens."""

    moved: list[Moved] | None = None


_transaction = _Transaction()


def listen(moved: list[Moved] | None) -> None:
    """From now on what moves in this thread is noted there."""
    _transaction.moved = moved


def note(job: Job, state: State, event: Event, changes: Mapping[str, Any]) -> None:
    """The job goes to `state`, with these columns changed."""
    if _transaction.moved is not None:
        error, reason = changes.get("last_error"), changes.get("reason")
        _transaction.moved.append(Moved(job.id, job.place.path, job.state, state, event, error, reason))


def note_new(job_id: int, place: Place, state: State, event: Event, reason: str | None) -> None:
    """A job is made."""
    if _transaction.moved is not None:
        _transaction.moved.append(Moved(job_id, place.path, None, state, event, None, reason))
