"""A TCP relay in front of the demonstration's server: the network, which breaks once, in the middle of a big file.

It counts what goes by, so that the demonstration tells real figures. Threads, one for each direction of a connection:
nothing in it waits for anything else.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from .overheard import Listener, Overheard

HOST = "127.0.0.1"
BLOCK_BYTES = 64 * 1024
SERVER_CLOSES_SECONDS = 2.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with a linger time of 0: close() sends RST (socket(7))


@dataclass(frozen=True, slots=True)
class Cut:
    """The cut: in which request, and how far into the upload the client had sent by then. `at` is monotonic."""

    path: str
    sent_bytes: int
    at: float


@dataclass(frozen=True, slots=True)
class Resumed:
    """The first PATCH of the cut upload after the cut: from where it goes on. `at` is monotonic."""

    offset_bytes: int
    at: float


class Relay:
    """Relays what connects to `port` to ``(HOST, server_port)``, from `start` to `stop`.

    When the body of one PATCH has reached `cut_after_bytes`, its connection is cut, that once: the block the relay has
    in its hands by then is lost, as a network loses what is on the way. None: no cut.
    """

    def __init__(
        self,
        server_port: int,
        cut_after_bytes: int | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.port = 0
        self._server_port = server_port
        self._cut_after_bytes = cut_after_bytes
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._cut: Cut | None = None
        self._resumed: Resumed | None = None
        self._requests: list[Overheard] = []
        self._connections: set[_Connection] = set()
        self._listening: socket.socket | None = None
        self._acceptor = threading.Thread(target=self._accept, name="relay", daemon=True)

    @property
    def cut(self) -> Cut | None:
        """The cut, once it has happened."""
        return self._cut

    @property
    def resumed(self) -> Resumed | None:
        """How the upload that was cut goes on, once it does."""
        return self._resumed

    def requests(self) -> list[Overheard]:
        """Every request whose head went by, as it stands now, in the order they began."""
        with self._lock:
            return [replace(each) for each in self._requests]

    def body_bytes(self, path: str) -> int:
        """Bytes of PATCH bodies read from clients for this upload; what exceeds its size was sent twice."""
        return sum(each.body_bytes for each in self.requests() if each.method == "PATCH" and each.path == path)

    def start(self) -> None:
        """Listens on a free port, which `port` then holds."""
        self._listening = socket.create_server((HOST, 0))
        self.port = self._listening.getsockname()[1]
        self._acceptor.start()

    def stop(self) -> None:
        """Ends every connection and thread. May be called again, and without a `start`."""
        if self._listening is None:
            return
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close() alone does not (Linux)
        self._acceptor.join()
        self._listening.close()
        self._listening = None
        with self._lock:
            connections = list(self._connections)
        for each in connections:
            each.end()
        for each in connections:
            each.join()

    def _accept(self) -> None:
        assert self._listening is not None
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((HOST, self._server_port), timeout=5)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            connection = _Connection(client, server, heard=self._heard, gone=self._gone)
            with self._lock:  # whoever finds it in the set may count on its threads
                self._connections.add(connection)
                connection.start()

    # What the connections tell, each from its own thread.

    def _heard(self, listener: Listener, data: bytes) -> bool:
        """A client sent `data`; returns whether this is where the network breaks."""
        with self._lock:
            for begun in listener.hear(data):
                self._requests.append(begun)
                of_the_cut = self._cut is not None and (begun.method, begun.path) == ("PATCH", self._cut.path)
                if of_the_cut and self._resumed is None:
                    self._resumed = Resumed(begun.offset_bytes, self._monotonic())
            request = listener.request
            if self._cut_after_bytes is None or self._cut is not None or request is None or request.method != "PATCH":
                return False
            if request.body_bytes < self._cut_after_bytes:
                return False
            self._cut = Cut(request.path, request.offset_bytes + request.body_bytes, self._monotonic())
            return True

    def _gone(self, connection: "_Connection") -> None:
        with self._lock:
            self._connections.discard(connection)


class _Connection:
    """A client, the connection made for it, and a thread for each direction."""

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        *,
        heard: Callable[[Listener, bytes], bool],
        gone: Callable[["_Connection"], None],
    ) -> None:
        self._client = client
        self._server = server
        self._heard = heard
        self._gone = gone
        self._is_cut = threading.Event()
        self._up = threading.Thread(target=self._to_server, name="relay-up", daemon=True)
        self._down = threading.Thread(target=self._to_client, name="relay-down", daemon=True)

    def start(self) -> None:
        self._down.start()
        self._up.start()

    def join(self) -> None:
        self._up.join()

    def end(self) -> None:
        """Wakes both threads; they close what they have."""
        for side in (self._client, self._server):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """The server sees the end of the stream, and what it answers reaches nobody; then the client is reset.

        In this order: a server that has not noticed yet that its client is gone would tell the client, who is back at
        once, an offset that is already too low.
        """
        self._is_cut.set()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_WR)
        self._down.join(SERVER_CLOSES_SECONDS)
        with suppress(OSError):
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self._client.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it, which closes it

    def _to_server(self) -> None:
        listener = Listener()
        try:
            while not self._is_cut.is_set() and (data := self._client.recv(BLOCK_BYTES)):
                if self._heard(listener, data):
                    self.cut()
                elif not self._is_cut.is_set():
                    self._server.sendall(data)
            if not self._is_cut.is_set():
                self._server.shutdown(socket.SHUT_WR)
                self._down.join()
        except OSError:
            pass  # one side is gone: the other learns it now
        finally:
            with suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)
            self._down.join()
            self._server.close()
            self._client.close()
            self._gone(self)

    def _to_client(self) -> None:
        with suppress(OSError):
            while data := self._server.recv(BLOCK_BYTES):
                if not self._is_cut.is_set():
                    self._client.sendall(data)
        if not self._is_cut.is_set():
            with suppress(OSError):
                self._client.shutdown(socket.SHUT_WR)


def _reset(side: socket.socket) -> None:
    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    side.close()
