"""A tus server that throws everything away, cheap enough that the clients are what is measured.

Bodies are dropped in the kernel (tcp(7), MSG_TRUNC), beneath TLS they are decrypted and dropped. It counts what came,
so that a run which did not send all of it is no result.
"""

import itertools
import socket
import ssl
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

_BLOCK_BYTES = 1 << 20
# Headers of a request are smaller; a body that came along with them is counted from what was read.
_HEAD_BYTES = 64 * 1024


class Sink:
    """Serves each connection in a thread of its own, until it is left. `received_bytes`: of bodies; `finished`: uploads
    of which the last byte came. `takes_bodies`: with the creation of an upload too (creation-with-upload)."""

    def __init__(self, tls: ssl.SSLContext | None = None, *, takes_bodies: bool = False) -> None:
        self.received_bytes = 0
        self.finished = 0
        self._tls = tls
        self._takes_bodies = takes_bodies
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._lengths: dict[str, int] = {}
        self._offsets: dict[str, int] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._origin = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        self.endpoint = f"{self._origin}/files/"

    def forget(self) -> None:
        """Begin to count anew."""
        with self._lock:
            self.received_bytes = self.finished = 0
            self._lengths.clear()
            self._offsets.clear()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with plain, suppress(OSError):
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock = plain if self._tls is None else self._tls.wrap_socket(plain, server_side=True)
            with sock:
                # Never written to beneath MSG_TRUNC, so that it costs no memory there.
                buffer = bytearray(_BLOCK_BYTES)
                pending = b""
                while True:
                    while b"\r\n\r\n" not in pending:
                        block = sock.recv(_HEAD_BYTES)
                        if not block:
                            return
                        pending += block
                    head, _, pending = pending.partition(b"\r\n\r\n")
                    pending = self._request(sock, head, pending, buffer)

    def _request(self, sock: socket.socket, head: bytes, pending: bytes, buffer: bytearray) -> bytes:
        """Answers one request; the bytes that were read beyond it."""
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        fields = dict(line.lower().split(":", 1) for line in lines)
        length = int(fields.get("content-length", "0"))
        if "100-continue" in fields.get("expect", ""):
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, pending = pending[:length], pending[length:]
        _drop(sock, length - len(body), buffer)
        sock.sendall(self._answer(method, target, fields, length))
        return pending

    def _answer(self, method: str, target: str, fields: dict[str, str], length: int) -> bytes:
        if method == "POST":
            with self._lock:
                path = f"/files/{next(self._numbers)}"
                self._lengths[path] = int(fields["upload-length"])
                self.received_bytes += length
                self.finished += length == self._lengths[path]
                self._offsets[path] = length
            # Absolute, as tusd's is: aiotus can't follow one that is not.
            location = f"{self._origin}{path}"
            told = f"Location: {location}\r\n" + (f"Upload-Offset: {length}\r\n" if self._takes_bodies else "")
            return f"HTTP/1.1 201 Created\r\nTus-Resumable: 1.0.0\r\n{told}{_EMPTY}".encode()
        if method == "PATCH":
            offset = int(fields["upload-offset"]) + length
            with self._lock:
                self.received_bytes += length
                self.finished += offset == self._lengths[target]
                self._offsets[target] = offset
            return f"HTTP/1.1 204 No Content\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n\r\n".encode()
        if method == "HEAD":
            told = f"Upload-Offset: {self._offsets.get(target, 0)}\r\nUpload-Length: {self._lengths[target]}"
            return f"HTTP/1.1 200 OK\r\nTus-Resumable: 1.0.0\r\n{told}\r\n{_EMPTY}".encode()
        extensions = "creation,creation-with-upload" if self._takes_bodies else "creation"
        told = f"Tus-Version: 1.0.0\r\nTus-Extension: {extensions}"
        return f"HTTP/1.1 204 No Content\r\nTus-Resumable: 1.0.0\r\n{told}\r\n\r\n".encode()


_EMPTY = "Content-Length: 0\r\n\r\n"


def _drop(sock: socket.socket, count: int, buffer: bytearray) -> None:
    """Takes `count` bytes of the body from `sock`. Raises OSError when there are fewer."""
    flags = 0 if isinstance(sock, ssl.SSLSocket) else socket.MSG_TRUNC
    while count > 0:
        taken = sock.recv_into(buffer, min(count, _BLOCK_BYTES), flags)
        if taken == 0:
            raise ConnectionResetError("the body ended early")
        count -= taken
