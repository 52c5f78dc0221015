"""What a relay overhears of a client: its HTTP/1.1 requests, and how much of each body has gone by.

Understands bodies with a Content-Length, which is all that a tus client sends.
"""

import io
from dataclasses import dataclass
from http.client import parse_headers

END_OF_HEAD = b"\r\n\r\n"


@dataclass(slots=True)
class Overheard:
    """A request that a client began. `offset_bytes`: where in the upload its body begins (tus 1.0, PATCH), else 0."""

    method: str
    path: str
    offset_bytes: int
    length_bytes: int
    body_bytes: int = 0
    """How much of the body has been read from the client."""


class Listener:
    """Listens to one connection: `hear` every byte of the client, in order."""

    def __init__(self) -> None:
        self._request: Overheard | None = None
        self._head = bytearray()

    @property
    def request(self) -> Overheard | None:
        """The request that the last byte heard belongs to."""
        return self._request

    def hear(self, data: bytes) -> list[Overheard]:
        """Returns the requests whose heads ended in `data`."""
        begun = []
        while data:
            if self._request is not None and (left := self._request.length_bytes - self._request.body_bytes):
                self._request.body_bytes += min(left, len(data))
                data = data[left:]
                continue
            before = len(self._head)
            self._head += data
            head, end, _ = self._head.partition(END_OF_HEAD)
            if not end:
                break
            self._request = _request(bytes(head + end))
            begun.append(self._request)
            self._head.clear()
            data = data[len(head) + len(end) - before :]
        return begun


def _request(head: bytes) -> Overheard:
    lines = io.BytesIO(head)
    method, path, _version = lines.readline().decode("latin-1").split(" ", 2)
    headers = parse_headers(lines)
    return Overheard(method, path, int(headers.get("Upload-Offset", 0)), int(headers.get("Content-Length", 0)))
