"""Everything an operator can tell the agent, at random and without end, while files come in: each arrives once."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import write

FILES = 150
STORM_SECONDS = 20.0
STOP_SECONDS = 6.0


class Operator:
    """One who can't make up his mind."""

    def __init__(self, agent: Agent, url: str, folders: list[Path], seed: int) -> None:
        self._agent = agent
        self._url = url
        self._folders = folders
        self._random = random.Random(seed)

    def configure(self) -> None:
        """Another configuration: folders and endpoints come, go and change."""
        choice = self._random.choice
        watched = [
            {
                "path": folder,
                "settle_seconds": choice([0.2, 0.4]),
                "endpoint": choice(["default", "lab"]),
                "after_upload": choice(["keep", "keep", "delete"]),
                "priority": choice([0, 1]),
            }
            for folder in self._folders
            if self._random.random() < 0.8
        ]
        lab = {"url": self._url, "max_concurrent": choice([0, 1, 3]), "rate_limit": choice([0, 1 << 20])}
        default = {"digest": choice([True, False]), "rate_limit": choice([0, 3 << 20])}
        workers = choice([1, 2, 5])
        self._agent.configure(self._url, watched, endpoint=default, endpoints={"lab": lab}, workers=workers)

    def act(self) -> None:
        """Does something; the agent may just not be there."""
        ask, choice = self._agent.ask, self._random.choice
        scope = choice([{}, {"folder": str(choice(self._folders))}, {"endpoint": choice(["default", "lab"])}])
        match choice(["pause", "resume", "resume", "limit", "reload", "hangup", "hold", "release", "rescan", "end"]):
            case "reload":
                self.configure()
                code, reply = ask("POST", "/v1/reload")
                assert code in (200, 503), reply
            case "hangup":
                self.configure()
                os.kill(self._agent.pid, signal.SIGHUP)
            case "limit":
                rate = choice([None, 0, 5_000_000, 500_000])
                ask("PUT", "/v1/limits", {"rate_bytes_per_second": rate, "endpoint": choice([None, "lab"])})
            case "end":
                if choice([True, False]):
                    self._agent.kill()
                else:
                    assert self._agent.stop() < STOP_SECONDS
                self._agent.start()
            case "hold" | "release" as verb:
                ask("POST", f"/v1/jobs/{verb}", {"all": True})
            case "rescan":
                ask("POST", "/v1/rescan")
            case order:
                ask("POST", f"/v1/{order}", scope)

    def calm_down(self) -> None:
        """All folders are watched, nothing is paused, limited or held."""
        watched = [{"path": folder, "settle_seconds": 0.2} for folder in self._folders]
        self._agent.configure(self._url, watched, endpoints={"lab": {"url": self._url}})
        assert self._agent.ask("POST", "/v1/reload")[0] == 200
        for pause in self._agent.status()["paused"]:
            self._agent.ask("POST", "/v1/resume", {name: pause[name] for name in ("folder", "endpoint")})
        for endpoint in (None, "lab"):
            self._agent.ask("PUT", "/v1/limits", {"rate_bytes_per_second": None, "endpoint": endpoint})
        self._agent.ask("POST", "/v1/jobs/release", {"all": True})


@pytest.mark.heavy
@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [1, 2])
def test_each_file_arrives_once(
    agent_factory: Callable[..., Agent], embedded_server: Server, tmp_path: Path, seed: int
) -> None:
    folders = [tmp_path / name for name in "abcd"]
    agent = agent_factory(embedded_server.url, [{"path": folder, "settle_seconds": 0.2} for folder in folders])
    operator = Operator(agent, embedded_server.url, folders, seed)
    expected: dict[str, str] = {}
    chosen = random.Random(-seed)

    def drop_files() -> None:
        for number in range(FILES):
            name = f"{number}.bin"
            size = chosen.choice([10, 1000, 200_000, 2_000_000])
            expected[name] = write(tmp_path / "next", size, seed=number)
            (tmp_path / "next").rename(chosen.choice(folders) / name)
            threading.Event().wait(STORM_SECONDS / FILES / 2)

    agent.start()
    writer = threading.Thread(target=drop_files)
    writer.start()
    end_at = time.monotonic() + STORM_SECONDS
    while time.monotonic() < end_at:
        with suppress(OSError):
            operator.act()
        threading.Event().wait(chosen.random() * 0.15)
    writer.join()
    operator.calm_down()

    def over(status: dict[str, Any]) -> bool:
        jobs = status["jobs"]
        return bool(jobs["failed"] or (jobs["done"] == sum(jobs.values()) >= FILES and status["state"] == "ok"))

    agent.wait_until(over, 120)
    stored = [(one.metadata["relativePath"].decode(), one.sha256()) for one in embedded_server.stored() if one.complete]
    assert sorted(stored) == sorted(expected.items())
    assert "Traceback" not in agent.log_text()
