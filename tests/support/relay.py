"""A TCP relay between client and server: the network, as bad as a test wants it, and a witness of what went over it.

Servers put the Host they were asked for into Location, and the relay passes requests through unchanged, so a
client that creates an upload through the relay goes on through the relay.
"""

import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from .ports import HOST, ReservedPort
from .requests_seen import Request, RequestReader

BUFFER_BYTES = 64 * 1024
"""Of the relay and of each of its sockets: small, so that a slow network is felt by the client."""
TICK_SECONDS = 0.02
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with a linger time of 0, socket(7)


class HasURL(Protocol):
    @property
    def url(self) -> str: ...


class _Connection:
    """One client, the connection made for it, and what has been read from one side and not yet given to the other."""

    def __init__(self, client: socket.socket, target: tuple[str, int], seen: list[Request]) -> None:
        self.client = client
        self.server = socket.socket()
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        try:
            self.server.connect(target)
        except OSError:
            self.reset(client)
            self.server.close()
            raise
        for side in (self.client, self.server):
            side.setblocking(False)
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.requests = RequestReader(seen)
        self.to_server, self.to_client = bytearray(), bytearray()
        self.client_ended = self.server_ended = False

    @staticmethod
    def reset(side: socket.socket) -> None:
        """Close so that the other end sees a reset, not an end."""
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        side.close()

    @property
    def over(self) -> bool:
        return self.client_ended and self.server_ended and not self.to_server and not self.to_client


class Relay:
    """Relays what connects to `port` to ``(target_host, target_port)`` until `close`.

    The knobs may be turned at any time, by any thread:

    * `bytes_per_second`: how fast bytes go from clients to the server, all connections together; None: unlimited.
    * `stall`: connections are accepted and kept, nothing moves.
    * `refuse`: nobody listens on the port (connections there are stay).
    * `hold_answers`: the methods of requests whose answers wait here for as long as they are named.
    * `drop_answers`: True, or the methods of requests whose answers are swallowed; the client's connection is
      reset as soon as such an answer begins. The server has then done what it was asked for.

    `cut` resets all connections now, `cut_after` once so many more bytes have reached the server.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self.bytes_per_second: float | None = None
        self.stall = False
        self.hold_answers: Collection[str] = ()
        self.drop_answers: bool | Collection[str] = False
        self.bytes_to_server = self.bytes_to_client = self.connections = self.cuts = 0
        self._seen: list[Request] = []
        self._connections: list[_Connection] = []
        self._left_until_cut: int | None = None
        self._allowance, self._allowed_at = 0.0, time.monotonic()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = self._listen()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"relay-{self.port}", daemon=True)
        self._thread.start()

    def url_for(self, server: HasURL) -> str:
        """The server's creation URL as it is reached through the relay."""
        return urlunsplit(urlsplit(server.url)._replace(netloc=f"{HOST}:{self.port}"))

    @property
    def refuse(self) -> bool:
        return self._listener is None

    @refuse.setter
    def refuse(self, refused: bool) -> None:
        with self._lock:
            if refused and self._listener:
                self._listener.close()
                self._listener = None
            elif not refused and not self._listener:
                self._listener = self._listen()

    def cut(self) -> None:
        """Reset every connection, on both sides, now; what is under way is lost."""
        with self._lock:
            self._cut()

    def cut_after(self, n_bytes: int) -> None:
        """Cut once `n_bytes` more (headers count) have been read from clients: the server gets exactly these."""
        with self._lock:
            self._left_until_cut = n_bytes

    def requests_seen(self) -> list[Request]:
        """Every request whose header went by, in order."""
        with self._lock:
            return list(self._seen)

    def body_bytes(self, upload_url: str | None = None) -> int:
        """Bytes of POST and PATCH bodies that clients sent for this URL or path; for all of them when None.

        More than the file's size is what was sent twice.
        """
        path = None if upload_url is None else urlsplit(upload_url).path
        return sum(
            request.body_bytes
            for request in self.requests_seen()
            if request.method in {"POST", "PATCH"} and path in {None, request.path}
        )

    def close(self) -> None:
        with self._lock:
            self._closing = True
        self._thread.join()
        self._reserved.release()

    def _listen(self) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        listener.bind((HOST, self.port))
        listener.listen(128)
        listener.setblocking(False)
        return listener

    def _run(self) -> None:
        """One thread moves everything, a buffer at a time; the knobs take effect within a tick."""
        while True:
            with self._lock:
                if self._closing:
                    break
                waiting = self._interests()
            waiting.poll(TICK_SECONDS * 1000)
            with self._lock:
                self._accept()
                if not self.stall:
                    for connection in list(self._connections):
                        self._move(connection)
                    self._cut_when_due()
        self._cut()
        self.refuse = True

    def _interests(self) -> select.poll:
        """What to wake up for; what can't move now must not be in it, or waiting would be spinning."""
        poll = select.poll()
        if self._listener:
            poll.register(self._listener, select.POLLIN)
        if self.stall:
            return poll
        may_read = self._may_read() > 0
        for each in self._connections:
            from_client = may_read and not each.client_ended and not each.to_server
            from_server = not each.server_ended and not each.to_client and not self._holds(each)
            for side, reading, writing in (
                (each.client, from_client, each.to_client),
                (each.server, from_server, each.to_server),
            ):
                if reading or writing:
                    poll.register(side, (select.POLLIN if reading else 0) | (select.POLLOUT if writing else 0))
        return poll

    def _accept(self) -> None:
        while self._listener:
            try:
                client, _ = self._listener.accept()
            except OSError:  # nobody there, or gone again
                return
            self.connections += 1
            with suppress(OSError):  # nobody behind the relay: the client has been reset
                self._connections.append(_Connection(client, self._target, self._seen))

    def _may_read(self) -> int:
        """How many bytes may be read from a client now."""
        limit = BUFFER_BYTES if self._left_until_cut is None else min(BUFFER_BYTES, self._left_until_cut)
        now = time.monotonic()
        passed_seconds, self._allowed_at = now - self._allowed_at, now
        rate = self.bytes_per_second
        if rate is None:
            return limit
        a_tick = max(1.0, min(rate * TICK_SECONDS, BUFFER_BYTES))
        self._allowance = min(self._allowance + rate * passed_seconds, max(a_tick, rate / 10))
        return min(limit, int(self._allowance)) if self._allowance >= a_tick else 0

    def _move(self, each: _Connection) -> None:
        try:
            self._client_to_server(each)
            self._server_to_client(each)
        except OSError:  # one side is gone: the other learns it the same way
            self._drop(each, each.reset)
        else:
            if each.over:
                self._drop(each, socket.socket.close)

    def _client_to_server(self, each: _Connection) -> None:
        wanted = self._may_read()
        if wanted and not each.client_ended and not each.to_server:
            data = _received(each.client, wanted)
            if data:
                each.requests.feed(data)
                each.to_server += data
                self._allowance -= len(data)
                if self._left_until_cut is not None:
                    self._left_until_cut -= len(data)
            elif data is not None:
                each.client_ended = True
        self.bytes_to_server += _sent(each.server, each.to_server)
        if each.client_ended and not each.to_server and not each.server_ended:
            each.server.shutdown(socket.SHUT_WR)

    def _server_to_client(self, each: _Connection) -> None:
        if not each.server_ended and not each.to_client and not self._holds(each):
            data = _received(each.server, BUFFER_BYTES)
            if data and self._swallows(each):
                self.cuts += 1
                self._drop(each, socket.socket.close)
                return
            if data:
                each.to_client += data
            elif data is not None:
                each.server_ended = True
        self.bytes_to_client += _sent(each.client, each.to_client)
        if each.server_ended and not each.to_client and not each.client_ended:
            each.client.shutdown(socket.SHUT_WR)

    def _holds(self, each: _Connection) -> bool:
        return each.requests.current is not None and each.requests.current.method in self.hold_answers

    def _swallows(self, each: _Connection) -> bool:
        if isinstance(self.drop_answers, bool):
            return self.drop_answers
        return each.requests.current is not None and each.requests.current.method in self.drop_answers

    def _cut_when_due(self) -> None:
        if self._left_until_cut == 0 and not any(each.to_server for each in self._connections):
            self._left_until_cut = None
            # An end, not a reset, for the server: a reset may take away bytes that it has not read yet.
            self._cut(socket.socket.close)

    def _cut(self, close_server: Callable[[socket.socket], None] = _Connection.reset) -> None:
        self.cuts += len(self._connections)
        for each in list(self._connections):
            self._drop(each, close_server)

    def _drop(self, each: _Connection, close_server: Callable[[socket.socket], None]) -> None:
        self._connections.remove(each)
        close_server(each.server)
        if each.over:
            each.client.close()
        else:
            each.reset(each.client)


def _received(side: socket.socket, limit: int) -> bytes | None:
    """What is there, at most `limit` bytes; empty at the end of the stream; None when nothing has come."""
    try:
        return side.recv(limit)
    except BlockingIOError:
        return None


def _sent(side: socket.socket, waiting: bytearray) -> int:
    """Send what goes without waiting and take it out of `waiting`; gives how many bytes that were."""
    if not waiting:
        return 0
    try:
        sent = side.send(waiting)
    except BlockingIOError:
        return 0
    del waiting[:sent]
    return sent
