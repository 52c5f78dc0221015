"""What the demonstration needs: a folder, a server, a network and the agent; set up in order, torn down in reverse."""

import json
import logging
import os
import queue
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..config import ConfigError, load
from ..service import Service, StartError
from .relay import HOST, Relay

NEEDED_BYTES = 600_000_000
RATE_LIMIT = "25MiB/s"
"""So that the big sample takes eight seconds: fast enough not to bore, slow enough to be seen."""
SETTLE_SECONDS = 0.5
SERVER_STARTS_SECONDS = 40.0
SERVER_STOPS_SECONDS = 5.0
LOG_LINES_KEPT = 30


class CannotShow(Exception):
    """The demonstration can't go on. The message says why, and what to do where that is known."""


@dataclass(frozen=True)
class Stage:
    """Everything that runs, and where it lies."""

    folder: Path
    server_url: str
    relay: Relay
    service: Service
    log: "AgentLog"

    @property
    def watched(self) -> Path:
        """The folder the agent watches."""
        return self.folder / "watched"

    @property
    def staging(self) -> Path:
        """Beside it, where a folder is filled before it is moved in."""
        return self.folder / "elsewhere"

    @property
    def uploads(self) -> Path:
        """What the server has stored."""
        return self.folder / "server"

    @property
    def socket(self) -> Path:
        """The agent's control socket."""
        return self.folder / "control.sock"


class AgentLog(logging.Handler):
    """Keeps what the program logs off the screen: warnings are fetched by who draws, the rest explains a failure."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._recent: deque[str] = deque(maxlen=LOG_LINES_KEPT)
        self._warnings: queue.SimpleQueue[str] = queue.SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self._recent.append(self.format(record))
        if record.levelno >= logging.WARNING:
            self._warnings.put(record.getMessage())

    def new_warnings(self) -> list[str]:
        """Each warning once."""
        found = []
        while not self._warnings.empty():
            found.append(self._warnings.get())
        return found

    @property
    def recent(self) -> list[str]:
        """The last lines, with their times."""
        return list(self._recent)


@contextmanager
def set_up(cut_after_bytes: int, check: Callable[[], None]) -> Iterator[Stage]:
    """The stage, and at the end nothing of it: no process, no thread, no file.

    `check` is called while something starts; what it raises ends that. Raises `CannotShow`.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        log = stack.enter_context(_logging())
        port, server_url = stack.enter_context(_server(folder, check))
        relay = Relay(port, cut_after_bytes)
        stack.callback(relay.stop)
        relay.start()
        check()
        service = stack.enter_context(_agent(folder, relay.port))
        yield Stage(folder, server_url, relay, service, log)


@contextmanager
def _folder() -> Iterator[Path]:
    where = Path(tempfile.gettempdir())
    free_bytes = shutil.disk_usage(where).free
    if free_bytes < NEEDED_BYTES:
        raise CannotShow(
            f"the demonstration needs {NEEDED_BYTES >> 20} MiB in {where}, where {free_bytes >> 20} MiB are free; "
            "name a folder with more room: TMPDIR=FOLDER tusd-agent demo"
        )
    # A short name: the path of a socket may have 107 bytes (unix(7)).
    with tempfile.TemporaryDirectory(prefix="tusd-demo-") as name:
        folder = Path(os.path.realpath(name))
        for each in ("watched", "elsewhere"):
            (folder / each).mkdir()
        yield folder


@contextmanager
def _logging() -> Iterator[AgentLog]:
    handler, root, ours = AgentLog(), logging.getLogger(), logging.getLogger("tusd_agent")
    before = ours.level
    root.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        ours.setLevel(before)
        root.removeHandler(handler)


@contextmanager
def _server(folder: Path, check: Callable[[], None]) -> Iterator[tuple[int, str]]:
    """The port and URL of the server, a process of its own. It has its own session: Ctrl-C is for us to act upon."""
    log = folder / "server.log"
    command = [sys.executable, "-m", "tusd_agent.demo.server", "--folder", str(folder / "server"), "--port", "0"]
    with open(log, "wb") as errors:
        process = subprocess.Popen(
            [*command, "--until-stdin-closes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    try:
        line = _first_line(process, check)
        if not line.startswith("listening on "):
            process.wait(SERVER_STOPS_SECONDS)
            raise CannotShow(f"the demonstration's server did not start: {log.read_text(errors='replace').strip()}")
        url = line.removeprefix("listening on ").strip()
        yield urlsplit(url).port or 80, url
    finally:
        _end(process)


def _first_line(process: subprocess.Popen[bytes], check: Callable[[], None]) -> str:
    """The first line of its output; what there is of it when the process ends or takes too long."""
    assert process.stdout is not None
    deadline, line = time.monotonic() + SERVER_STARTS_SECONDS, b""
    while not line.endswith(b"\n") and time.monotonic() < deadline:
        check()
        if select.select([process.stdout], [], [], 0.1)[0]:
            read = os.read(process.stdout.fileno(), 4096)
            if not read:
                break
            line += read
    return line.decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(SERVER_STOPS_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


@contextmanager
def _agent(folder: Path, port: int) -> Iterator[Service]:
    """The real agent, configured as a user would and moved by nothing in our environment."""
    config = folder / "config.toml"
    config.write_text(
        "[agent]\n"
        'state_dir = "state"\n'
        'socket = "control.sock"\n'
        "\n[endpoint.default]\n"
        f"url = {json.dumps(f'http://{HOST}:{port}/files/')}\n"
        f"rate_limit = {json.dumps(RATE_LIMIT)}\n"
        "\n[[watch]]\n"
        'path = "watched"\n'
        f"settle_seconds = {SETTLE_SECONDS}\n"
    )
    # requests reads it from the process's own environment: a proxy of this host must not get what is for loopback.
    os.environ["no_proxy"] = HOST
    try:
        service = Service(load(config, {}), {})
        service.start()
    except (ConfigError, StartError) as error:
        raise CannotShow(f"the agent did not start: {error}") from error
    try:
        yield service
    finally:
        service.stop()
