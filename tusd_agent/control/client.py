"""Asking a running agent over its control socket.

::

    Unanswered            nobody answered as an agent does
     +- NotRunning        there is no socket, or nobody listens on it
     +- NotAllowed        this user may not connect
     +- NoAnswer          somebody listens, but an answer did not come in time, or not whole
    ControlError          the agent answered that it can't or won't
"""

import http.client
import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

_QUEUE_FULL_SECONDS = 0.01


class Unanswered(Exception):
    """Base of what keeps an answer from coming; the message says what happened, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class NotRunning(Unanswered):
    """There is no socket, or nobody listens on it."""


class NotAllowed(Unanswered):
    """This user may not connect."""


class NoAnswer(Unanswered):
    """Somebody listens, but an answer did not come in time, or not whole."""


class ControlError(Exception):
    """The agent answered with an error: `code` for programs, `message` and `hint` for people, `status` of HTTP.

    `problems` are those of a configuration.
    """

    def __init__(self, code: str, message: str, hint: str, status: int, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)
        self.code = code
        self.message = message
        self.hint = hint
        self.status = status


class ControlClient:
    """Asks the agent whose control socket is at `path`; no step of that takes longer than `timeout_seconds`."""

    def __init__(self, path: Path, timeout_seconds: float = 5.0) -> None:
        self.path = path
        self._timeout_seconds = timeout_seconds

    def get(self, path: str, params: Mapping[str, str | int | Sequence[str]] | None = None) -> dict[str, Any]:
        """The reply to ``GET path``; a parameter with several values is sent several times.

        Raises `NotRunning`, `NotAllowed`, `NoAnswer`, `ControlError`.
        """
        return self._ask("GET", f"{path}?{urlencode(params, doseq=True)}" if params else path)

    def post(self, path: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """The reply to ``POST path`` with a JSON object; raises as `get` does."""
        return self._ask("POST", path, json.dumps(members).encode("ascii"))

    def put(self, path: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """The reply to ``PUT path`` with a JSON object; raises as `get` does."""
        return self._ask("PUT", path, json.dumps(members).encode("ascii"))

    def text(self, path: str) -> str:
        """The reply to ``GET path`` where it is a text; raises as `get` does."""
        status, content = self._exchange("GET", path)
        if status >= 400:
            self._decoded(status, content)
        return content.decode("utf-8", "replace")

    def _ask(self, method: str, target: str, body: bytes | None = None) -> dict[str, Any]:
        return self._decoded(*self._exchange(method, target, body))

    def _exchange(self, method: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
        with closing(_UnixConnection(self.path, self._timeout_seconds)) as connection:
            self._connect(connection)
            try:
                # A server that is too busy answers without having read: what it said is still there to be read.
                with suppress(BrokenPipeError):
                    connection.request(method, target, body)
                response = connection.getresponse()
                content = response.read()
            except TimeoutError:
                raise NoAnswer(
                    f"the agent does not answer on {self.path} within {self._timeout_seconds:g} s",
                    "its log may say why; if it stays so, restart it: nothing is lost",
                ) from None
            except (OSError, http.client.HTTPException) as error:
                raise NoAnswer(
                    f"the connection to the agent on {self.path} was cut ({type(error).__name__})",
                    "it may be stopping just now: ask again",
                ) from error
        return response.status, content

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        try:
            self._connect_in_time(connection)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            if os.path.exists(self.path) and not self.path.is_socket():
                raise NotRunning(f"{self.path} is no socket, so no agent can be asked there") from None
            raise NotRunning(f"the agent is not running: nobody answers on {self.path}") from None
        except PermissionError:
            raise NotAllowed(
                f"user {os.geteuid()} may not connect to {self.path}",
                "run this as root or as the agent's user, or be a member of the group in agent.socket_group",
            ) from None
        except (TimeoutError, BlockingIOError):
            raise NoAnswer(
                f"the agent accepts no connection on {self.path}",
                "it is stuck or overrun; its log may say why. If it stays so, restart it: nothing is lost",
            ) from None
        except OSError as error:
            # Among them "AF_UNIX path too long", which has no errno: nobody can listen there.
            reason = error.strerror or str(error)
            raise NotRunning(f"the agent can't be asked on {self.path}: {reason}") from error

    def _connect_in_time(self, connection: http.client.HTTPConnection) -> None:
        deadline = time.monotonic() + self._timeout_seconds
        while True:
            try:
                connection.connect()
            except BlockingIOError:  # a queue is full; a socket with a timeout does not wait for it by itself, unix(7)
                connection.close()
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_QUEUE_FULL_SECONDS)
            else:
                return

    def _decoded(self, status: int, content: bytes) -> dict[str, Any]:
        try:
            reply = json.loads(content)
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            raise NoAnswer(f"what answers on {self.path} is no tusd-agent", "see agent.socket in the configuration")
        if status >= 400:
            code, message, hint = (str(reply.get(name, "")) for name in ("code", "message", "hint"))
            problems = [str(one) for one in reply.get("problems", ())]
            raise ControlError(code, message or f"the agent answered with status {status}", hint, status, problems)
        return reply


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("agent", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fsencode(self._path))
