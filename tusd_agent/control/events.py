"""What happens, told as it happens: ``GET /v1/events``, a JSON object a line, until either side has enough.

Each line has `kind` and `at` (seconds since the epoch). ``listening`` comes first: what happens from then on is told.
``job``: a job's state has changed, on the disk: `id`, `path`, `path_b64`, `from` (null: it is new), `to`, `event`, and
the `error` and `reason` that came with it; one whose file was renamed is told of with its old path. ``pause``,
``resume``, ``limit`` and ``reload`` have what their requests were answered with. ``heartbeat`` comes where there is
nothing to tell. ``end`` is the last line, `reason` says why: the agent stops, or the reader was too slow and would
miss something.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from ..jobs.model import shown
from ..jobs.moved import Moved
from .refusals import Refused
from .replies import Error, escaped, path_b64

MAX_LISTENERS = 4
MAX_BEHIND = 10_000
"""So many lines a listener may be behind: a batch of the intake's has up to 1000 jobs."""

LINES_AT_ONCE = 200
HEARTBEAT_SECONDS = 10.0


class Listener:
    """What one listener has yet to be told. `take` is for the thread that sends, all else for any."""

    def __init__(self, clock: Callable[[], float], heartbeat_seconds: float) -> None:
        self._clock = clock
        self._heartbeat_seconds = heartbeat_seconds
        self._changed = threading.Condition()
        self._events: deque[Mapping[str, Any]] = deque([{"kind": "listening", "at": clock()}])
        self._told_at = time.monotonic()
        self._ended = False

    def tell(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Never waits: who is too far behind is let go."""
        with self._changed:
            if self._ended:
                return
            self._events.extend(events)
            self._changed.notify()
        if len(self._events) > MAX_BEHIND:
            self.end("too slow: what happened since is lost here. Ask for the status, and listen again")

    def end(self, reason: str) -> None:
        """No more is told, and this is the last word."""
        with self._changed:
            if not self._ended:
                self._events.append({"kind": "end", "at": self._clock(), "reason": reason})
                self._ended = True
                self._changed.notify()

    def take(self, timeout_seconds: float) -> bytes | None:
        """Some lines, or nothing when there are none within so long; `None`: that was the last word."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._ended, timeout_seconds)
            events = list(islice(self._events, LINES_AT_ONCE))
            for _ in events:
                self._events.popleft()
            if not events and self._ended:
                return None
        now = time.monotonic()
        if not events and now - self._told_at >= self._heartbeat_seconds:
            events = [{"kind": "heartbeat", "at": self._clock()}]
        if events:
            self._told_at = now
        return b"".join(json.dumps(event).encode("ascii") + b"\n" for event in events)


class Events:
    """Tells listeners what happens. `on_listening(whether)` is called when the first one comes and the last one goes.

    Safe for use by several threads; telling never waits, and costs nothing while nobody listens.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        on_listening: Callable[[bool], object] = lambda somebody: None,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._clock = clock
        self._on_listening = on_listening
        self._heartbeat_seconds = heartbeat_seconds
        self._lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()
        self._closed: str | None = None

    def listen(self) -> Listener:
        """One more listener; raises `Refused` when there are as many as may be."""
        with self._lock:
            if self._closed is not None or len(self._listeners) >= MAX_LISTENERS:
                message = self._closed or f"{MAX_LISTENERS} listen already"
                hint = "ask again when one of them has gone; GET /v1/status needs no waiting"
                raise Refused(503, Error(code="too_many_listeners", message=message, hint=hint))
            listener = Listener(self._clock, self._heartbeat_seconds)
            self._listeners = (*self._listeners, listener)
            if len(self._listeners) == 1:
                self._on_listening(True)
        return listener

    def leave(self, listener: Listener) -> None:
        """It listens no more."""
        with self._lock:
            self._listeners = tuple(one for one in self._listeners if one is not listener)
            if not self._listeners:
                self._on_listening(False)

    def tell(self, kind: str, members: Mapping[str, Any]) -> None:
        """Something has happened."""
        self._tell([{"kind": kind, "at": self._clock(), **members}])

    def moved(self, moves: Sequence[Moved]) -> None:
        """Jobs have moved, and that is on the disk."""
        at = self._clock()
        self._tell([_job_event(move, at) for move in moves])

    def close(self, reason: str) -> None:
        """Lets all listeners go, and no more come."""
        with self._lock:
            self._closed = reason
        for listener in self._listeners:
            listener.end(reason)

    def _tell(self, events: Sequence[Mapping[str, Any]]) -> None:
        for listener in self._listeners:
            listener.tell(events)


def _job_event(move: Moved, at: float) -> dict[str, Any]:
    return {
        "kind": "job",
        "at": at,
        "id": move.job_id,
        "path": shown(move.path),
        "path_b64": path_b64(move.path),
        "from": None if move.was is None else str(move.was),
        "to": str(move.state),
        "event": str(move.event),
        "error": None if move.error is None else escaped(move.error),
        "reason": None if move.reason is None else escaped(move.reason),
    }
