"""The real agent as a child process: configured, started, asked, stopped, killed."""

import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import control, toml
from .files import wait_for

ROOT = Path(__file__).parents[2]
START_SECONDS = 40
STOP_SECONDS = 20


class Agent:
    """An agent with a state folder, a configuration file and a log of its own below `base`.

    `endpoint_url` is the URL of the endpoint ``default``, `endpoint` its further settings, `endpoints` the
    settings of more of them by name. Each of `folders` has the settings of one ``[[watch]]``; their ``path`` is
    created. Everything else goes into ``[agent]``. The socket lies in a short folder of its own, because a
    socket's path may have 107 bytes (unix(7)) and pytest's folders use them up. Settings may be changed before
    the next `start`: see `configure`.
    """

    def __init__(
        self,
        base: Path,
        endpoint_url: str,
        folders: Sequence[Mapping[str, object]] = (),
        *,
        endpoint: Mapping[str, object] | None = None,
        endpoints: Mapping[str, Mapping[str, object]] | None = None,
        environment: Mapping[str, str] | None = None,
        unprivileged: bool = False,
        **agent_settings: object,
    ) -> None:
        self._prefix = [sys.executable, "-m", "tests.support.unprivileged"] if unprivileged else []
        self.base = base
        self.config = base / "config.toml"
        self.state_dir = base / "state"
        self.log = base / "agent.log"
        self._short = Path(tempfile.mkdtemp(prefix="ta-"))
        self.socket = self._short / "control.sock"
        self._environment = dict(environment or {})
        self._child: subprocess.Popen[bytes] | None = None
        self.returncode: int | None = None
        base.mkdir(parents=True, exist_ok=True)
        self.state_dir.mkdir(mode=0o700, exist_ok=True)
        self.configure(endpoint_url, folders, endpoint=endpoint, endpoints=endpoints, **agent_settings)

    def configure(
        self,
        endpoint_url: str,
        folders: Sequence[Mapping[str, object]] = (),
        *,
        endpoint: Mapping[str, object] | None = None,
        endpoints: Mapping[str, Mapping[str, object]] | None = None,
        **agent_settings: object,
    ) -> None:
        """Write the configuration file anew; a running agent learns of it by `start` or a reload."""
        for folder in folders:
            Path(str(folder["path"])).mkdir(parents=True, exist_ok=True)
        every_endpoint = {"default": {"url": endpoint_url, **(endpoint or {})}, **(endpoints or {})}
        agent = {"state_dir": self.state_dir, "socket": self.socket, **agent_settings}
        tables = [
            toml.table("[agent]", agent),
            *(toml.table(f"[endpoint.{name}]", settings) for name, settings in every_endpoint.items()),
            *(toml.table("[[watch]]", settings) for settings in folders),
        ]
        self.config.write_text("\n".join(tables))

    @property
    def environment(self) -> dict[str, str]:
        """The agent's: this one's without what would reach its settings or its places."""
        ours = ("TUSD_AGENT_", "XDG_")
        theirs = {"NOTIFY_SOCKET", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY"}
        kept = {name: text for name, text in os.environ.items() if not name.startswith(ours) and name not in theirs}
        return {**kept, "HOME": str(self.base), "PYTHONUNBUFFERED": "1", **self._environment}

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        assert self._child is not None, "the agent was not started"
        return self._child.pid

    def start(self, wait: bool = True) -> None:
        """Start ``tusd-agent run``; with `wait`, return when ``GET /v1/status`` answers."""
        assert not self.running, "the agent runs already"
        with open(self.log, "ab") as log:
            self._child = subprocess.Popen(
                [*self._prefix, sys.executable, "-m", "tusd_agent", "run", "--config", str(self.config)],
                cwd=ROOT if self._prefix else self.base,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
            )
        self.returncode = None
        if wait:
            self._wait_until_it_answers()

    def stop(self, timeout: float = STOP_SECONDS) -> float:
        """SIGTERM; gives the seconds until it was gone. AssertionError (and SIGKILL) after `timeout` seconds."""
        assert self._child is not None, "the agent was not started"
        begun = time.monotonic()
        self._child.send_signal(signal.SIGTERM)
        try:
            self.returncode = self._child.wait(timeout)
        except subprocess.TimeoutExpired as late:
            self.kill()
            raise AssertionError(f"the agent did not stop within {timeout:g} s{self._end_of_log()}") from late
        return time.monotonic() - begun

    def kill(self) -> None:
        """SIGKILL: what is not on disk by now is lost."""
        if self._child is not None:
            self._child.kill()
            self.returncode = self._child.wait()

    def wait_for_exit(self, timeout: float = STOP_SECONDS) -> int:
        """The exit status of an agent that ends by itself, as one with a bad configuration does."""
        assert self._child is not None, "the agent was not started"
        self.returncode = self._child.wait(timeout)
        return self.returncode

    def close(self) -> None:
        """Kill it and remove its socket's folder."""
        self.kill()
        shutil.rmtree(self._short, ignore_errors=True)

    def ask(self, method: str, path: str, body: object = None, **query: object) -> tuple[int, Any]:
        """Status and decoded answer of any request: ``ask("POST", "/v1/pause")``."""
        return control.ask(self.socket, method, control.target(path, **query), body)

    def status(self) -> dict[str, Any]:
        """The answer to ``GET /v1/status``; OSError when the agent does not answer."""
        code, answer = self.ask("GET", "/v1/status")
        assert code == 200, (code, answer)
        assert isinstance(answer, dict)
        return answer

    def jobs(self, **query: object) -> list[dict[str, Any]]:
        """All jobs, or those that `query` asks for (``state="done"``), page by page."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            code, page = self.ask("GET", "/v1/jobs", **query, cursor=cursor)
            assert code == 200, (code, page)
            found += page["jobs"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    def wait_until(
        self, predicate: Callable[[dict[str, Any]], object], seconds: float, what: str = ""
    ) -> dict[str, Any]:
        """The first status for which `predicate` holds; AssertionError with status and log after `seconds`.

        An agent that does not answer just now is asked again; one that has ended is an error at once.
        """
        status: dict[str, Any] = {}

        def holds() -> bool:
            nonlocal status
            if not self.running:
                raise AssertionError(f"the agent ended ({self._exit_status()}){self._end_of_log()}")
            with suppress(OSError, http.client.HTTPException):
                status = self.status()
                return bool(predicate(status))
            return False

        try:
            wait_for(holds, seconds, what or "the status that was waited for")
        except AssertionError as late:
            raise AssertionError(f"{late}\nthe last status: {status}{self._end_of_log()}") from None
        return status

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """``tusd-agent ARGUMENTS --config …`` as a process; what it printed is UTF-8."""
        return subprocess.run(
            [sys.executable, "-m", "tusd_agent", *arguments, "--config", str(self.config)],
            cwd=self.base, env=self.environment, capture_output=True, encoding="utf-8", check=False, timeout=60,
        )  # fmt: skip

    def log_text(self) -> str:
        with suppress(FileNotFoundError):
            return self.log.read_text(errors="replace")
        return ""

    def rss_bytes(self) -> int:
        """Resident memory now (VmRSS, proc_pid_status(5))."""
        return self._memory("VmRSS")

    def peak_rss_bytes(self) -> int:
        """The most resident memory it ever had (VmHWM)."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name}: the agent has ended")

    def _wait_until_it_answers(self) -> None:
        self.wait_until(lambda _: True, START_SECONDS, "an answer to GET /v1/status")

    def _exit_status(self) -> int | None:
        return self._child.poll() if self._child else None

    def _end_of_log(self) -> str:
        return f"\nthe end of its log:\n{self.log_text()[-4000:]}"
