"""Requests on their way in: one thread waits for all of them, so that who is slow costs a descriptor and no thread.

A connection is handed on as soon as there is something to answer: its request is there, or never will be. What has
arrived by then goes along.
"""

import logging
import re
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event

log = logging.getLogger("tusd_agent.control")

MAX_REQUEST_BYTES = 32 * 1024
"""Request line and headers; a path has 4096 bytes at most (PATH_MAX), base64 and escaping make 16 KiB of it."""

MAX_BODY_BYTES = 1 << 20
"""A thousand paths with base64 around them, and no more."""

MAX_ARRIVING = 256
MAX_HELD_BYTES = 8 << 20
"""Of more requests or bytes that have not arrived whole, the oldest or the largest is refused."""

MAX_ACCEPTED_AT_ONCE = 64
"""Then those get their turn that were accepted before."""

_READ_BYTES = 64 * 1024
_NO_DESCRIPTOR_SECONDS = 0.2
_REQUEST_LINE = re.compile(rb"\S+ \S+ HTTP/1\.\d\r?")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,9})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


@dataclass(slots=True)
class Arrival:
    """A connection and what has come of its request. `deadline` (monotonic) is that of request and answer."""

    connection: socket.socket
    deadline: float
    begun: bytearray = field(default_factory=bytearray)

    def is_ready(self) -> bool:
        """Whether there is something to answer: the whole request, or enough of it to say what is wrong with it."""
        line, newline, _ = self.begun.partition(b"\n")
        if newline and not _REQUEST_LINE.fullmatch(line):
            return True
        end = _END_OF_HEAD.search(self.begun)
        if end is None:
            return len(self.begun) > MAX_REQUEST_BYTES
        length = _LENGTH.search(self.begun, 0, end.start())
        wanted = int(length[1]) if length is not None else 0
        return wanted > MAX_BODY_BYTES or len(self.begun) >= end.end() + wanted


class Arrivals:
    """Accepts connections and hands them on. `ready(arrival)` and `refuse(connection)` must not block; they own the
    connection from then on. All but `stop` happens in the thread that calls `run`."""

    def __init__(
        self,
        listener: socket.socket,
        deadline_seconds: float,
        ready: Callable[[Arrival], None],
        refuse: Callable[[socket.socket], None],
    ) -> None:
        self._listener = listener
        self._deadline_seconds = deadline_seconds
        self._ready = ready
        self._refuse = refuse
        self._stopping = Event()
        self._woken, self._waker = socket.socketpair()
        # In the order they came, which is that of their deadlines too.
        self._arriving: dict[int, Arrival] = {}
        self._held_bytes = 0

    def run(self) -> None:
        """Works until `stop` is called, then cuts who has not asked yet."""
        with selectors.DefaultSelector() as selector:
            self._listener.setblocking(False)
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._stopping.is_set():
                for key, _ in selector.select(self._seconds_left()):
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    elif key.fd in self._arriving:  # else it was refused for another one in this very round
                        self._receive(selector, self._arriving[key.fd])
                self._expire(selector)
        for arrival in self._arriving.values():
            arrival.connection.close()
        self._arriving.clear()
        self._woken.close()

    def stop(self) -> None:
        """Has `run` end. Any thread may call it."""
        self._stopping.set()
        with suppress(OSError):
            self._waker.send(b"\0")
        self._waker.close()

    def _seconds_left(self) -> float | None:
        oldest = next(iter(self._arriving.values()), None)
        return None if oldest is None else max(0.0, oldest.deadline - time.monotonic())

    def _accept(self, selector: selectors.BaseSelector) -> None:
        for _ in range(MAX_ACCEPTED_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if not self._stopping.wait(_NO_DESCRIPTOR_SECONDS):  # out of descriptors, likely: others must end first
                    log.warning("the control socket can't accept: %s", error)
                return
            self._begin(selector, connection)

    def _begin(self, selector: selectors.BaseSelector, connection: socket.socket) -> None:
        connection.setblocking(False)
        arrival = Arrival(connection, time.monotonic() + self._deadline_seconds)
        self._arriving[connection.fileno()] = arrival
        selector.register(connection, selectors.EVENT_READ)
        self._receive(selector, arrival)  # most have said it all by now
        if len(self._arriving) > MAX_ARRIVING:
            self._drop(selector, next(iter(self._arriving.values())))

    def _receive(self, selector: selectors.BaseSelector, arrival: Arrival) -> None:
        try:
            data = arrival.connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        arrival.begun += data
        self._held_bytes += len(data)
        if not data or arrival.is_ready():
            self._ready(self._let_go(selector, arrival))
        elif self._held_bytes > MAX_HELD_BYTES:
            self._drop(selector, max(self._arriving.values(), key=lambda each: len(each.begun)))

    def _expire(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        while self._arriving and (oldest := next(iter(self._arriving.values()))).deadline <= now:
            self._ready(self._let_go(selector, oldest))

    def _drop(self, selector: selectors.BaseSelector, arrival: Arrival) -> None:
        self._refuse(self._let_go(selector, arrival).connection)

    def _let_go(self, selector: selectors.BaseSelector, arrival: Arrival) -> Arrival:
        del self._arriving[arrival.connection.fileno()]
        selector.unregister(arrival.connection)
        self._held_bytes -= len(arrival.begun)
        return arrival
