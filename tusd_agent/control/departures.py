"""Answers on their way out: one thread waits for all who take theirs slowly, so that they cost no thread either.

Where a request was refused before all of it had been read, its sender may be in the middle of it: closing on unread
bytes would cut the answer (unix(7): the other side gets ECONNRESET). For a moment the rest is read, and thrown away.
"""

import selectors
import socket
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

MAX_LEAVING = 256
MAX_HELD_BYTES = 16 << 20
"""Beyond so many answers or bytes that nobody takes they are cut."""

MAX_LEFT_READS = 32
"""So often what is left of a request that was refused is read, up to 32 KiB at a time, before it is cut."""

_READ_BYTES = 32 * 1024
_LEFT_SECONDS = 0.3


@dataclass(slots=True)
class Departure:
    """A connection, what has yet to be sent on it until `until` (monotonic), and whether more may come from it."""

    connection: socket.socket
    content: bytes
    more_may_come: bool
    until: float
    sent_bytes: int = 0
    is_told: bool = False
    reads_left: int = MAX_LEFT_READS


class Departures:
    """Sends what is left and closes. `leave` and `stop` are for any thread, all else for the one that calls `run`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._coming: deque[Departure] = deque()
        self._leaving: dict[int, Departure] = {}
        self._number = 0
        self._held_bytes = 0
        self._stopping = False
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)

    def leave(self, connection: socket.socket, rest: bytes, until: float, *, more_may_come: bool) -> None:
        """Takes the connection over; never waits."""
        with self._lock:
            fits = self._number < MAX_LEAVING and self._held_bytes + len(rest) <= MAX_HELD_BYTES
            if fits and not self._stopping:
                connection.setblocking(False)
                self._number += 1
                self._held_bytes += len(rest)
                self._coming.append(Departure(connection, rest, more_may_come, until))
                self._waker.send(b"\0")
                return
        connection.close()

    def stop(self) -> None:
        """Nobody comes any more; `run` ends once all have left, or their time is up."""
        with self._lock:
            self._stopping = True
            self._waker.send(b"\0")

    def run(self) -> None:
        """Works until `stop` is called."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(self._seconds_left()):
                    if key.fileobj is self._woken:
                        self._take_over(selector)
                    elif key.fd in self._leaving:
                        self._step(selector, self._leaving[key.fd])
                now = time.monotonic()
                for departure in [each for each in self._leaving.values() if each.until <= now]:
                    self._close(selector, departure)
                with self._lock:
                    if self._stopping and not self._coming and not self._leaving:
                        break
        self._woken.close()
        self._waker.close()

    def _seconds_left(self) -> float | None:
        if not self._leaving:
            return None
        return max(0.0, min(each.until for each in self._leaving.values()) - time.monotonic())

    def _take_over(self, selector: selectors.BaseSelector) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(4096)
        with self._lock:
            coming = list(self._coming)
            self._coming.clear()
        for departure in coming:
            self._leaving[departure.connection.fileno()] = departure
            selector.register(departure.connection, selectors.EVENT_WRITE)

    def _step(self, selector: selectors.BaseSelector, departure: Departure) -> None:
        try:
            if self._is_over(selector, departure):
                self._close(selector, departure)
        except BlockingIOError:
            pass
        except OSError:
            self._close(selector, departure)

    def _is_over(self, selector: selectors.BaseSelector, departure: Departure) -> bool:
        """Sends or reads a little; returns whether nothing is left to do. Raises `OSError`."""
        connection = departure.connection
        if departure.is_told:
            departure.reads_left -= 1
            return not connection.recv(_READ_BYTES) or departure.reads_left == 0
        departure.sent_bytes += connection.send(memoryview(departure.content)[departure.sent_bytes :])
        if departure.sent_bytes < len(departure.content):
            return False
        connection.shutdown(socket.SHUT_WR)
        departure.is_told = True
        departure.until = min(departure.until, time.monotonic() + _LEFT_SECONDS)
        selector.modify(connection, selectors.EVENT_READ)
        return not departure.more_may_come

    def _close(self, selector: selectors.BaseSelector, departure: Departure) -> None:
        del self._leaving[departure.connection.fileno()]
        selector.unregister(departure.connection)
        departure.connection.close()
        with self._lock:
            self._number -= 1
            self._held_bytes -= len(departure.content)
