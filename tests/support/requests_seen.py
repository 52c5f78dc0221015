"""The HTTP/1.1 requests in a client's byte stream: how much of which upload went over the wire, and how often.

Understands what tus clients send: keep-alive, bodies with Content-Length. A body without one (Transfer-Encoding:
chunked) is counted to the end of the connection.
"""

import math
from dataclasses import dataclass, field


@dataclass
class Request:
    """A request as the client began it; `body_bytes` grows while its body goes by."""

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    body_bytes: int = 0

    @property
    def upload_offset(self) -> int | None:
        return _number(self.headers.get("upload-offset"))

    @property
    def content_length(self) -> int | None:
        return _number(self.headers.get("content-length"))


class RequestReader:
    """Fed with what a client sends on one connection, appends each request to `seen` when its header is whole."""

    def __init__(self, seen: list[Request]) -> None:
        self._seen = seen
        self._header = bytearray()
        self._body_left: float = 0
        self.current: Request | None = None

    def feed(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            if self._body_left and self.current:
                taken = int(min(self._body_left, len(rest)))
                self.current.body_bytes += taken
                self._body_left -= taken
                rest = rest[taken:]
            else:
                rest = self._feed_header(rest)

    def _feed_header(self, data: memoryview) -> memoryview:
        known = len(self._header)
        self._header += data
        end = self._header.find(b"\r\n\r\n")
        if end < 0:
            return data[len(data) :]
        self.current = _parse(bytes(self._header[:end]))
        self._seen.append(self.current)
        chunked = "transfer-encoding" in self.current.headers
        self._body_left = math.inf if chunked else self.current.content_length or 0
        self._header.clear()
        return data[end + 4 - known :]


def _parse(header: bytes) -> Request:
    first, *lines = header.decode("latin-1").split("\r\n")
    method, path, _version = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    return Request(method, path, {name.strip().lower(): value.strip() for name, _, value in pairs})


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
