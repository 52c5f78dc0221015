"""The outside of the agent's lives: beginning one, waiting for its end, ending it."""

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import IO

from tests.support.agent import ROOT, Agent

from .diary import Lived, read
from .points import End

END_SECONDS = 20


class Subject(Agent):
    """The agent that is killed: its settings and places. `Lives` starts it."""

    @property
    def running(self) -> bool:
        return True

    def answers(self) -> bool:
        with suppress(OSError, HTTPException):
            return bool(self.status())
        return False


class Lives:
    """Lives of `agent` (its settings, state and log), one at a time. `uploads` is the server's folder."""

    def __init__(self, agent: Subject, uploads: Path) -> None:
        self._diary = agent.base / "diary"
        arguments = [agent.config, agent.log, self._diary, uploads]
        self._launcher = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.kills.launcher", *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=agent.environment,
            bufsize=0,
        )
        self._pid: int | None = None
        self._told_to_stop = False
        self.kills = 0
        """So many lives have ended by SIGKILL."""

    def __enter__(self) -> "Lives":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pid is not None:
            self.kill()
        self._launcher.kill()
        self._launcher.communicate()

    def begin(self, end: End | None) -> None:
        """Begins a life that ends there by itself, if it comes there."""
        assert self._pid is None, "one life at a time"
        self._told_to_stop = False
        _open(self._launcher.stdin).write(json.dumps(end and asdict(end)).encode() + b"\n")
        self._pid = int(_open(self._launcher.stdout).readline())

    def has_ended(self, within_seconds: float) -> bool:
        """Whether the life that was begun has ended, or does so within that time: by SIGKILL, or as it was told to."""
        assert self._pid is not None, "no life was begun"
        answers = _open(self._launcher.stdout)
        if not select.select([answers], [], [], within_seconds)[0]:
            return False
        status = int(answers.readline())
        self._pid = None
        assert status == signal.SIGKILL or (self._told_to_stop and status == 0), f"the agent ended by itself: {status}"
        self.kills += status == signal.SIGKILL
        return True

    def stop(self) -> None:
        """Tells it to end in good order."""
        assert self._pid is not None, "no life was begun"
        self._told_to_stop = True
        os.kill(self._pid, signal.SIGTERM)

    def kill(self) -> None:
        """Ends it now."""
        assert self._pid is not None, "no life was begun"
        os.kill(self._pid, signal.SIGKILL)
        assert self.has_ended(END_SECONDS), "it does not die"

    def lived(self) -> Lived:
        """What all lives have written down so far."""
        return read(self._diary)


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
