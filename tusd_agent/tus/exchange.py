"""One request and its answer on a pooled connection, without what requests and urllib3 do for everybody.

For small files that preparation is most of the cost. TLS and its connections stay urllib3's; what is left out is the
copying of headers, cookies, hooks and redirects. An answer that is not of the plainest kind (interim, chunked, encoded,
cut, ended by closing, with folded or doubtful fields) is read by http.client and urllib3 as ever.
"""

import errno
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .body import Body
from .errors import SERVER_TEXT_LIMIT_BYTES
from .headers import header_value
from .plain import StaleConnection

if TYPE_CHECKING:
    from urllib3 import HTTPResponse

# A body longer than this is not worth reading to keep the connection.
DRAIN_BYTES = 64 * 1024
READ_BYTES = 64 * 1024
# A body no longer than this leaves together with the head: one system call and one packet less.
_JOINED_BYTES = 32 * 1024
# The head of an answer that needs no second look (RFC 9112, 4 and 5): no interim status, no folded or odd field lines.
_PLAIN_HEAD = re.compile(
    rb"HTTP/1\.1 ([2-5]\d\d)(?: [ !-~]*)?((?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t!-~\x80-\xff]*)*)\r\n\r\n"
)
# http.client refuses more than a hundred.
_PLAIN_LINES = 64
_NOT_PLAIN = {"transfer-encoding", "content-encoding", "set-cookie"}
# What requests and urllib3 would send as it is: nothing to quote, no dot segments, a plain host or IPv6 address.
_PLAIN_URL = re.compile(
    r"(?i:https?)://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d+)?((?!\S*/\.)/[\w./~!$&'()*+,;=:@?-]*)?", re.A
)
# What every request carries: requests' own fields, but that answers are to come as they are.
DEFAULT_HEADERS = {
    "User-Agent": "tusd-agent",
    "Accept-Encoding": "identity",
    "Accept": "*/*",
    "Connection": "keep-alive",
}
# What of a session's own headers is no secret: all that origins other than the endpoint's get.
HARMLESS = {"accept", "accept-encoding", "connection", "user-agent"}
# With one of these given by the caller, requests decides what becomes of it.
FRAMING = ("content-length", "cookie", "expect", "host", "transfer-encoding")
_DIGITS = re.compile(r"\d{1,9}", re.ASCII)


# What a request carries: by the name in lower case, the name as it is sent, and the value.
Fields = dict[str, tuple[str, str]]


def plain_target(url: str, sent: Fields) -> str | None:
    """Path and query as the request line has them; None when `url` or a field needs what requests does to it."""
    plain = _PLAIN_URL.fullmatch(url)
    if plain is None or any(name in sent for name in FRAMING):
        return None
    return plain[1] or "/"


def host_header(origin: tuple[str, str, int]) -> str:
    """Host and port, the port only where it is not the scheme's own (RFC 9110, 7.2)."""
    scheme, name, port = origin
    host = f"[{name}]" if ":" in name else name
    return host if (scheme, port) in {("http", 80), ("https", 443)} else f"{host}:{port}"


def request_head(
    method: str, target: str, host: str, defaults: Mapping[str, str | bytes], sent: Fields, body: Body | None
) -> bytes:
    """Request line and fields: those of `sent`, and of `defaults` (the session's) what is not in `sent`."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    for name, value in defaults.items():
        if name.lower() not in sent and value is not None:
            lines.append(f"{name}: {header_value(name, value)}")
    lines += [f"{name}: {value}" for name, value in sent.values()]
    if method != "HEAD":
        lines.append(f"Content-Length: {0 if body is None else len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class AnswerFields(Mapping[str, str]):
    """The header fields of an answer by name, in any case; repeated ones joined by commas (RFC 9110, 5.3)."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        """`values` by names in lower case."""
        self._values = values

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Reply(NamedTuple):
    """`text`: the first bytes of the body, at most 4 KiB. `cookies`: the answer itself where it sets some."""

    status: int
    headers: Mapping[str, str]
    text: bytes
    cookies: "HTTPResponse | None" = None


class Pool(Protocol):
    """Connections to one origin: `PlainPool`, or urllib3's (`wire.UploadPool`)."""

    def take(self, connect_seconds: float | None) -> Any: ...

    def give_back(self, connection: Any) -> None: ...


def exchange(
    pool: Pool,
    method: str,
    head: bytes,
    body: Body | None,
    connect_seconds: float | None,
    idle_seconds: float | None,
) -> Reply:
    """Sends `head` (with the empty line) and `body`, and reads the answer.

    Raises `StaleConnection`, OSError, http.client's and urllib3's errors, and what the body and the `Watch` raise.
    """
    connection = pool.take(connect_seconds)
    used = None
    try:
        if connection.sock.gettimeout() != idle_seconds:
            connection.sock.settimeout(idle_seconds)
        try:
            whole = _send(connection, head, body)
        except ConnectionError as error:
            # The server may have answered before it closed (RFC 9112, 9.5): that answer counts.
            if not isinstance(error, BrokenPipeError) and error.errno != errno.ECONNRESET:
                raise
            whole = False
        reply, may_be_kept = _receive(connection, method)
        if whole and may_be_kept:
            connection.answers += 1
            used = connection
        return reply
    finally:
        if used is None:
            connection.close()
        pool.give_back(used)


def _send(connection: Any, head: bytes, body: Body | None) -> bool:
    """Whether all of the body left; raises BrokenPipeError when the server answered or closed before."""
    if body is None:
        connection.sock.sendall(head)
        return True
    blocks = iter(body)
    if len(body) <= _JOINED_BYTES:
        head += next(blocks, b"")
    connection.sock.sendall(head)
    for block in blocks:
        connection.send(block)
    return True


def _receive(connection: Any, method: str) -> tuple[Reply, bool]:
    """The answer, and whether the connection can serve another request."""
    try:
        begun = connection.sock.recv(READ_BYTES)
    except ConnectionError as error:
        if connection.answers:
            raise StaleConnection(errno.ECONNRESET, "the kept connection was closed") from error
        raise
    if not begun:
        if connection.answers:
            raise StaleConnection(errno.ECONNRESET, "the kept connection was closed")
        raise ConnectionResetError("Remote end closed connection without response")
    reply = _plain(begun, method)
    if reply is not None:
        return reply, True
    # Few answers are not plain, and http.client and urllib3 are dear to load.
    from .answers import read_answer

    return read_answer(connection, method, begun)


def _plain(begun: bytes, method: str) -> Reply | None:
    """The answer, if `begun` holds all of it and nothing about it is unusual."""
    found = _PLAIN_HEAD.match(begun)
    if found is None or found[2].count(b"\r\n") > _PLAIN_LINES:
        return None
    fields: dict[str, str] = {}
    for line in found[2].decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        name = name.lower()
        if name in _NOT_PLAIN:
            return None
        value = value.strip(" \t")
        if name == "connection" and value.lower() != "keep-alive":
            return None
        if name in fields:
            if name == "content-length":
                return None
            value = f"{fields[name]}, {value}"
        fields[name] = value
    status = int(found[1])
    if method == "HEAD" or status in (204, 304):
        length = 0
    else:
        given = fields.get("content-length", "")
        if not _DIGITS.fullmatch(given):
            return None
        length = int(given)
    if len(begun) != found.end() + length:
        return None
    return Reply(status, AnswerFields(fields), begun[found.end() :][:SERVER_TEXT_LIMIT_BYTES])
