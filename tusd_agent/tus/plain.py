"""Direct connections without TLS, and what is true of every connection that carries an upload.

urllib3 is not needed for these, and loading it takes as much CPU as sending 100 MiB; TLS and proxies are its own.
"""

import errno
import socket
import threading

from .patience import PatientSocket, connect

# As many as requests' adapter keeps; beyond that they are closed after use.
MAX_IDLE = 32
# Beyond this many bytes of heads the server is not answering, it is talking.
_PEEK_BYTES = 64 * 1024


class StaleConnection(ConnectionResetError):
    """A connection kept from earlier requests turned out to be closed: the server may not have seen the request."""


class NotConnected(ConnectionError):
    """No connection came about, for `reason`: the server has seen nothing."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(reason.errno, reason.strerror or str(reason))
        self.reason = reason


class AnsweredEarly(BrokenPipeError):
    """The server answered or closed before the end of the body.

    urllib3 takes a BrokenPipeError for "go and read the answer", others for a dead connection.
    """


def send_block(sock: PatientSocket, block: memoryview) -> None:
    """Raises `AnsweredEarly` instead of feeding on a server that has said its last word."""

    def stop_if_answered() -> None:
        if not sock.readable():
            return
        head = sock.recv(_PEEK_BYTES, socket.MSG_PEEK)
        if not head or _final_answer_begun(head):
            raise AnsweredEarly(errno.EPIPE, "the server answered before the end of the body")

    stop_if_answered()
    sock.patience.while_blocked = stop_if_answered
    try:
        sock.sendall(block)
    finally:
        sock.patience.while_blocked = None


def _final_answer_begun(head: bytes) -> bool:
    """Whether `head`, the unread bytes of the server, hold the start of a final answer after any interim ones."""
    while head.startswith(b"HTTP/1.") and head[9:10] == b"1":
        _, end, head = head.partition(b"\r\n\r\n")
        if not end:
            return False
    return len(head) > 9 or (bool(head) and not head.startswith(b"HTTP/1.1 "[: len(head)]))


class PlainConnection:
    """`answers`: how many came on it."""

    def __init__(self, sock: PatientSocket) -> None:
        self.sock = sock
        self.answers = 0

    def send(self, block: memoryview) -> None:
        send_block(self.sock, block)

    def close(self) -> None:
        self.sock.close()


class PlainPool:
    """The connections to one origin: one at a time for each request, kept open between them. Thread-safe."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._lock = threading.Lock()
        self._idle: list[PlainConnection] = []
        self._closed = False

    def take(self, connect_seconds: float | None) -> PlainConnection:
        """The connection that was used last, or a new one. Raises `NotConnected`, and what the `Watch` raises."""
        while True:
            with self._lock:
                if not self._idle:
                    break
                kept = self._idle.pop()
            if not kept.sock.readable():
                return kept
            kept.close()  # nothing was asked: what can be read is its end
        try:
            return PlainConnection(connect(self._host, self._port, connect_seconds))
        except OSError as error:
            raise NotConnected(error) from error

    def give_back(self, connection: PlainConnection | None) -> None:
        """What `take` gave, or None for one that was closed."""
        if connection is None:
            return
        with self._lock:
            if not self._closed and len(self._idle) < MAX_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def leave_to_parent(self) -> None:
        """In a child process, without the lock: its copies are closed, the connections stay."""
        for connection in self._idle:
            connection.close()

    def close(self) -> None:
        """Closes what is idle now, and the others when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
