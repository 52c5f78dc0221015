"""Answers of any shape, by http.client and urllib3; `exchange` reads the plain ones itself.

Interim answers (1xx) are skipped: http.client takes every one but 100 for the final answer (RFC 9110, 15.2).
"""

import http.client
import io
from typing import Any

from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.exceptions import HTTPError

from .errors import SERVER_TEXT_LIMIT_BYTES
from .exchange import DRAIN_BYTES, READ_BYTES, AnswerFields, Reply


class UploadResponse(http.client.HTTPResponse):
    must_close = False

    def begin(self) -> None:
        super().begin()
        while 100 <= self.status < 200 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            # begin() does nothing once there are headers.
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()
        if self.must_close:
            self.will_close = True


class _Again(io.RawIOBase):
    """What was read of an answer already, then the rest from the socket. Closing it leaves the socket open."""

    def __init__(self, begun: bytes, sock: Any) -> None:
        self._begun = begun
        self._sock = sock

    def makefile(self, mode: str) -> io.BufferedReader:
        """As http.client asks a socket for."""
        return io.BufferedReader(self, READ_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._begun:
            return int(self._sock.recv_into(buffer))
        count = min(len(self._begun), len(buffer))
        buffer[:count], self._begun = self._begun[:count], self._begun[count:]
        return count


def read_answer(connection: Any, method: str, begun: bytes) -> tuple[Reply, bool]:
    """The answer as http.client understands it."""
    # Of a socket it uses makefile alone.
    response = UploadResponse(_Again(begun, connection.sock), method=method)  # type: ignore[arg-type]
    response.begin()
    may_be_kept = not response.will_close
    answer = HTTPResponse(
        response,
        HTTPHeaderDict(response.msg.items()),
        status=response.status,
        preload_content=False,
        original_response=response,
        request_method=method,
    )
    text, total = b"", 0
    try:
        for block in answer.stream(SERVER_TEXT_LIMIT_BYTES):
            text += block[: SERVER_TEXT_LIMIT_BYTES - len(text)]
            total += len(block)
            if total > DRAIN_BYTES:
                may_be_kept = False
                break
    except (HTTPError, http.client.HTTPException, OSError):
        may_be_kept = False  # the status line and the headers are the answer; the text is for people
    fields = {name.lower(): value for name, value in answer.headers.items()}
    cookies = answer if "set-cookie" in fields else None
    return Reply(response.status, AnswerFields(fields), text, cookies), may_be_kept
