"""Asking a running agent over its control socket: HTTP/1.1 with JSON over a Unix socket."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlencode


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to a Unix socket; the host in its requests is ``agent``."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("agent", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(path: Path, method: str, target: str, body: object = None, timeout_seconds: float = 10) -> tuple[int, Any]:
    """Status and decoded JSON of the answer (text when it is no JSON); OSError when nobody answers."""
    connection = UnixConnection(path, timeout_seconds)
    try:
        sent = None if body is None else json.dumps(body).encode()
        headers = {} if sent is None else {"Content-Type": "application/json"}
        connection.request(method, target, sent, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(text) if is_json else text
    finally:
        connection.close()


def target(path: str, **query: object) -> str:
    """A request target: ``target("/v1/jobs", state="done")``; what is None is left out."""
    given = {name: each for name, each in query.items() if each is not None}
    return f"{path}?{urlencode(given)}" if given else path
