"""One request of the control socket and its answer: HTTP/1.1 with JSON, bounded in time and size."""

import http.client
import io
import json
import logging
import select
import socket
import time
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler
from typing import cast

from .arrivals import MAX_BODY_BYTES, MAX_REQUEST_BYTES, Arrival
from .commands import JSON_TYPE, Answer, Asked, Commands
from .departures import Departures
from .events import Listener
from .peer import peer_of
from .replies import Error, TextReply, escaped

log = logging.getLogger("tusd_agent.control")

DEADLINE_SECONDS = 2.0
_LAST_WORD_SECONDS = 0.1

_TAKE_SECONDS = 10.0
"""So long a listener may take for what is sent to it at once: a few hundred lines."""

_LOOK_SECONDS = 1.0
"""So often it is looked whether a listener is still there while there is nothing to tell."""


class _TooLarge(Exception):
    """The request is larger than `MAX_REQUEST_BYTES`."""


class _Bounded(io.RawIOBase):
    """What came of a request and what still comes, until its deadline and up to a number of bytes."""

    def __init__(self, arrival: Arrival) -> None:
        self._connection = arrival.connection
        self._deadline = arrival.deadline
        self._begun = memoryview(bytes(arrival.begun))
        self._left = MAX_REQUEST_BYTES

    def allow(self, more_bytes: int) -> None:
        """So many bytes may come beyond request line and headers."""
        self._left += more_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]  # the buffer of a reader
        if self._left <= 0:
            raise _TooLarge
        if self._begun:
            received = min(len(buffer), self._left, len(self._begun))
            buffer[:received] = self._begun[:received]
            self._begun = self._begun[received:]
        else:
            _until(self._connection, self._deadline)
            received = self._connection.recv_into(buffer, min(len(buffer), self._left))
        self._left -= received
        return received


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer; all of it happens in the constructor, as its base class has it."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # what is no request at all still gets an answer with a status
    server_version = "tusd-agent"
    sys_version = ""

    def __init__(
        self, arrival: Arrival, commands: Commands, departures: Departures, socket_gid: int | None = None
    ) -> None:
        self._arrival = arrival
        self._commands = commands
        self._socket_gid = socket_gid
        # Of one that has used up its time in arriving the answer says just that, and needs a moment.
        self._deadline = max(arrival.deadline, time.monotonic() + _LAST_WORD_SECONDS)
        self._is_whole = False
        self._departures = departures
        self.has_left = False
        """Whether the connection is the departures' now."""
        super().__init__(arrival.connection, "", None)  # type: ignore[arg-type]  # a Unix socket's peer has no address

    def setup(self) -> None:
        self.connection = self.request
        self._bounded = _Bounded(self._arrival)
        self.rfile = io.BufferedReader(self._bounded)
        self.wfile = self._written = io.BytesIO()

    def handle(self) -> None:
        self.close_connection = True
        self.requestline, self.command = "", ""
        self.request_version = self.default_request_version
        try:
            self.raw_requestline = self.rfile.readline()
            if not self.raw_requestline or not self.parse_request():
                return
            body = self._read_body()
            if body is None:
                return
            self._is_whole = True
        except TimeoutError:
            self.send_error(408)
            return
        except _TooLarge:
            self.send_error(431)
            return
        try:
            may_change = peer_of(self.connection).may_change(self._socket_gid)
            answer = self._commands.answer(Asked(self.command, self.path, body, may_change))
            if answer.listener is not None:
                self._stream(answer, answer.listener)
            else:
                self._reply(answer)
        except Exception:
            log.exception("the control socket can't answer %s", escaped(self.requestline))
            self.send_error(500)

    def _stream(self, answer: Answer, listener: Listener) -> None:
        """Sends what there is to tell until the other side has gone, does not take it, or all is told."""
        head = {"Content-Type": answer.content_type, "Cache-Control": "no-store", "Connection": "close"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        log.debug("%s: begins", escaped(self.requestline))
        watched = select.poll()
        watched.register(self.connection, 0)  # that the other side is gone (POLLHUP) is told unasked
        try:
            block: bytes | None = f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode("ascii")
            while block is not None and not watched.poll(0):
                if block:
                    self.connection.settimeout(_TAKE_SECONDS)
                    self.connection.sendall(block)
                block = listener.take(_LOOK_SECONDS)
        except OSError as error:
            log.debug("a listener is let go: %s", error)
        finally:
            self._commands.events.leave(listener)

    def _read_body(self) -> bytes | None:
        """The body; None when it was refused. Raises `TimeoutError`."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdecimal() and len(length) < 10):
            self.send_error(411)
            return None
        if int(length) > MAX_BODY_BYTES:
            self.send_error(413)
            return None
        self._bounded.allow(int(length))
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.send_error(400, "the body is shorter than its Content-Length")
            return None
        return body

    def finish(self) -> None:
        """Sends the answer, as far as it is taken at once; what is left, and who may still be speaking, is not waited
        for here."""
        content = self._written.getvalue()
        if not content:
            return
        self.connection.setblocking(False)
        try:
            sent = self.connection.send(content)
        except BlockingIOError:
            sent = 0
        if sent == len(content) and self._is_whole:
            self.connection.shutdown(socket.SHUT_WR)
            return
        until = max(self._deadline, time.monotonic() + _LAST_WORD_SECONDS)
        self.has_left = True
        self._departures.leave(self.connection, content[sent:], until, more_may_come=not self._is_whole)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """An answer to what is no request that can be answered; the base class calls it too."""
        name, text, hint = _ERRORS.get(code, ("bad_request", message or http.client.responses.get(code, ""), ""))
        self._reply(Answer(code, Error(code=name, message=escaped(text), hint=hint)))

    def _reply(self, answer: Answer) -> None:
        body = _encoded(answer)
        self.send_response_only(answer.status)
        for name, value in {**_headers(body, answer.content_type), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        log.debug("%s: %d", escaped(self.requestline), answer.status)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
        log.debug("%s", escaped(format % args))


_ERRORS = {
    408: ("too_slow", "the request did not arrive in time", f"a request has {DEADLINE_SECONDS:g} s"),
    411: ("length_required", "a body needs a Content-Length", "send it as a whole, not in chunks"),
    413: ("too_large", "the body is too large", f"at most {MAX_BODY_BYTES} bytes; ask in several requests"),
    431: ("too_large", "the request is too large", f"request line and headers: at most {MAX_REQUEST_BYTES} bytes"),
    500: ("internal", "the agent could not answer", "the agent's log says why"),
    503: ("busy", "too many requests at once", "ask again in a moment"),
}


def _encoded(answer: Answer) -> bytes:
    if answer.content_type != JSON_TYPE:
        return cast(TextReply, answer.body)["text"].encode("utf-8", "backslashreplace")
    # A half surrogate becomes an escape, which JSON understands.
    return json.dumps(answer.body, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace") + b"\n"


def _headers(body: bytes, content_type: str = JSON_TYPE) -> dict[str, str]:
    return {
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "Connection": "close",
    }


def _until(connection: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)


def refuse(connection: socket.socket) -> None:
    """503 to one connection too many, without waiting. What it has asked is read first: see `Exchange.finish`."""
    name, message, hint = _ERRORS[503]
    body = _encoded(Answer(503, Error(code=name, message=message, hint=hint)))
    head = "".join(f"{name}: {value}\r\n" for name, value in _headers(body).items())
    with closing(connection), suppress(OSError):
        connection.setblocking(False)
        with suppress(BlockingIOError):
            connection.recv(MAX_REQUEST_BYTES)
        connection.sendall(f"HTTP/1.1 503 Service Unavailable\r\n{head}\r\n".encode("ascii") + body)
    log.debug("refused: too many requests")
