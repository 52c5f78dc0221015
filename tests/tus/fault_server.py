"""A tus server that misbehaves on demand, over raw sockets, as servers, proxies and networks have been seen to.

Without a fault it is a plain, correct tus 1.0 server in memory. `fail(method, Fault(…), …)` queues faults, one for each
coming request of that method.
"""

import select
import socket
import ssl
import struct
import threading
from collections import defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from .right_server import Request, RightServer

REASON = "Whatever"


@dataclass(frozen=True)
class Fault:
    """What happens instead of the right thing.

    `read`: bytes of the body to read (None: all); `keep`: bytes of those to store (None: all). `status`: the answer's
    (None: the right one); `text`: its body; `headers`: set, or with None removed. `drop`: no answer, the connection is
    closed; `reset`: closed with RST, after the answer if there is one. `interim`: 1xx answers before the final one,
    `prompt`: those before any of the body is read. `raw`: sent instead of any answer. `forget`: the upload is removed
    first. `stall`: wait for the server's `release` before answering. `linger`: after the answer the connection stays
    open, the rest of the body unread. `slow_seconds`: the pause after each tenth of the body.

    What is answered before all of the body was read is the connection's last answer and says so, as Go's servers do.
    """

    status: int | None = None
    text: str = ""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    read: int | None = None
    keep: int | None = None
    drop: bool = False
    reset: bool = False
    interim: tuple[int, ...] = ()
    prompt: tuple[int, ...] = ()
    raw: bytes | None = None
    forget: bool = False
    stall: bool = False
    linger: bool = False
    slow_seconds: float = 0.0


FINE = Fault()


class FaultServer(RightServer):
    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.release = threading.Event()
        self.arrived = threading.Condition()
        self._tls = tls
        self._faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._closing = False

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def origin(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> str:
        return f"{self.origin}/files/"

    def fail(self, method: str, *faults: Fault) -> None:
        self._faults[method].extend(faults)

    def clear_faults(self) -> None:
        self._faults.clear()

    def methods(self) -> str:
        return " ".join(request.method for request in self.requests)

    def of(self, method: str) -> list[Request]:
        return [request for request in self.requests if request.method == method]

    def wait_for(self, method: str, count: int = 1, timeout_seconds: float = 10.0) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.of(method)) >= count, timeout_seconds), self.methods()

    def wait_until_quiet(self) -> None:
        """Until nothing more is read from connections that the client has closed, all of them."""
        for thread in self._threads[1:]:  # the first accepts
            thread.join(10)
            assert not thread.is_alive()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self.release.set()
        for sock in [self._listener, *self._connections]:
            _shut(sock)
            sock.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, run: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)  # a thread that has not begun can't be waited for

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(sock)
            self._start(self._serve, sock, len(self._connections))

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._connections.append(sock)
            with sock.makefile("rb") as reader:
                while self._serve_one(sock, reader, number):
                    pass
        except (OSError, ValueError):
            pass
        finally:
            _shut(sock)
            sock.close()

    def _serve_one(self, sock: socket.socket, reader: Any, number: int) -> bool:
        line = reader.readline().decode("latin-1").split()
        if len(line) != 3 or not line[2].startswith("HTTP/"):  # the first bytes of TLS may well have three words
            return False
        headers: dict[str, str] = {}
        while (field_line := reader.readline().decode("latin-1").strip()) != "":
            name, _, value = field_line.partition(":")
            headers[name.lower()] = value.strip()
        # A client of a proxy sends the whole URL (RFC 9112, 3.2.2).
        path = line[1] if line[1].startswith("/") else "/" + "".join(line[1].split("/", 3)[3:])
        request = Request(line[0], path, headers, number, line[1])
        queue = self._faults[request.method]
        fault = queue.popleft() if queue else FINE
        with self.arrived:
            self.requests.append(request)
            self.arrived.notify_all()
        return self._answer(sock, reader, request, fault)

    def _answer(self, sock: socket.socket, reader: Any, request: Request, fault: Fault) -> bool:
        if fault.forget:
            self.uploads.pop(request.path, None)
        wanted = request.length if fault.read is None else min(fault.read, request.length)
        _say_interim(sock, fault.prompt)
        body = (
            self._read_slowly(sock, reader, wanted, fault.slow_seconds) if fault.slow_seconds else reader.read(wanted)
        )
        keeps = fault.status is None or fault.keep is not None
        with self.arrived:
            status, answer = self.right_answer(request, body[: fault.keep] if keeps else b"", len(body))
        if fault.status is not None:
            status = fault.status
        if fault.stall:
            self.release.wait(20)
        if wanted < request.length:
            answer["Connection"] = "close"
        answer.update({name: value for name, value in fault.headers.items() if value is not None})
        for name in [name for name, value in fault.headers.items() if value is None]:
            answer.pop(name, None)
        if fault.raw is not None:
            sock.sendall(fault.raw)
            return False
        if not fault.drop:
            _say_interim(sock, fault.interim)
            text = fault.text.encode()
            if status != 204 and request.method != "HEAD":
                answer.setdefault("Content-Length", str(len(text)))
            head = "".join(f"{name}: {value}\r\n" for name, value in answer.items())
            sock.sendall(f"HTTP/1.1 {status} {REASON}\r\n{head}\r\n".encode("latin-1"))
            if request.method != "HEAD":
                sock.sendall(text)
        if fault.linger:
            self.release.wait(20)
        if fault.reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        elif wanted < request.length and not fault.drop and not fault.linger:
            _wait_for_end(sock)
        return not (fault.drop or fault.reset or fault.linger or wanted < request.length)

    def _read_slowly(self, sock: socket.socket, reader: Any, wanted: int, pause_seconds: float) -> bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)  # what waits in the kernel is no slow reader's
        step = -(-wanted // 10)
        body = b""
        while len(body) < wanted and (part := reader.read(min(step, wanted - len(body)))):
            body += part
            self.release.wait(pause_seconds)
        return body


def _say_interim(sock: socket.socket, codes: tuple[int, ...]) -> None:
    for code in codes:
        sock.sendall(f"HTTP/1.1 {code} {REASON}\r\nLocation: /wrong\r\nUpload-Offset: 0\r\n\r\n".encode())


def _wait_for_end(sock: socket.socket) -> None:
    """Says that nothing more comes, and waits until the client has seen it and closes.

    Closing with a part of the body unread would send a reset at once, which may take the answer away with it.
    """
    if isinstance(sock, ssl.SSLSocket):
        return
    sock.shutdown(socket.SHUT_WR)
    waiting = select.poll()
    waiting.register(sock, select.POLLRDHUP)
    waiting.poll(5000)


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
