"""A tus server as a child process: started, stopped, killed, frozen, and started again where it was."""

import http.client
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from tests.support.ports import HOST, ReservedPort

from .stored import Stored

START_SECONDS = 40
STOP_SECONDS = 15
"""tusd waits up to 10 s for requests in flight (its -shutdown-timeout)."""


class Server:
    """One server on 127.0.0.1; its uploads in ``folder/uploads``, what it prints in ``folder/server.log``.

    `flags` are added to its command line. `url` is the creation URL, `name` what tests are called after. A
    server keeps its port and its folder for as long as the object lives, whether or not it runs.
    """

    name: ClassVar[str]

    def __init__(self, folder: Path, flags: Sequence[str] = ()) -> None:
        self.folder = folder
        self.uploads = folder / "uploads"
        self.log = folder / "server.log"
        self.flags = list(flags)
        self._port = ReservedPort()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/files/"

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def command(self) -> list[str]:
        """The command line; raises NotInstalled when the server is not on this machine."""
        raise NotImplementedError

    def stored(self) -> list[Stored]:
        """Every upload on disk, by id; what is written or removed at this moment may be missing."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and return when it answers; AssertionError with the end of its log when it does not."""
        assert not self.running, f"{self.name} runs already"
        self.uploads.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TUSD_AGENT_")}
        with open(self.log, "ab") as log:
            self._child = subprocess.Popen(
                [*self.command(), *self.flags],
                stdin=subprocess.PIPE,  # its end, when this process dies, ends the servers that watch it
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._child.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{self.name} did not start; the end of its log:\n{self.log_text()[-4000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that is not enough; nothing when it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: the server has no chance to put anything in order."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: the port accepts, nobody answers."""
        assert self._child is not None
        self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._child is not None
        self._child.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it and give its port back."""
        self.kill()
        self._port.release()

    def log_text(self) -> str:
        with suppress(FileNotFoundError):
            return self.log.read_text(errors="replace")
        return ""

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("OPTIONS", "/files/")
            return connection.getresponse().status < 300
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _end(self, with_signal: signal.Signals) -> None:
        if self._child is None:
            return
        self._child.send_signal(with_signal)
        self._child.send_signal(signal.SIGCONT)  # a frozen one sees SIGTERM only then
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdin:
            self._child.stdin.close()
        self._child = None
