"""``tusd-agent verify`` on files that really arrived: what it finds here, and on the server."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import write

pytestmark = pytest.mark.heavy  # each of them starts agents of its own

NAMES = ("same", "changed", "gone", "rotten")


@pytest.fixture
def arrived(any_server: Server, agent_factory: Callable[..., Agent], tmp_path: Path) -> Agent:
    """An agent that has sent four files."""
    folder = tmp_path / "outgoing"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        write(folder / name, 200_000, seed=number)
    agent = agent_factory(any_server.url, [{"path": folder, "settle_seconds": 0.2}])
    agent.start()
    agent.wait_until(lambda status: status["jobs"]["done"] == len(NAMES), 60, "all files arrived")
    return agent


def verify(agent: Agent, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "tusd_agent", "verify", "--config", str(agent.config), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=agent.environment)
    return done.returncode, done.stdout, done.stderr


def found(agent: Agent, *arguments: str) -> dict[str, Any]:
    _, printed, _ = verify(agent, "--json", *arguments)
    return {
        os.path.basename(one["path"]): (one["here"], one["server"]) for one in map(json.loads, printed.splitlines())
    }


def test_what_is_as_it_was_sent_and_what_is_not(arrived: Agent, tmp_path: Path) -> None:
    folder = tmp_path / "outgoing"
    assert verify(arrived) == (0, "4 jobs: 4 as sent.\n", "")
    arrived.stop()  # or it would send what changes
    write(folder / "changed", 100, seed=9)
    (folder / "gone").unlink()
    times = (folder / "rotten").stat()
    with open(folder / "rotten", "r+b") as file:
        file.seek(1000)
        file.write(b"rot")
    os.utime(folder / "rotten", ns=(times.st_atime_ns, times.st_mtime_ns))
    code, printed, said = verify(arrived)
    assert code == 1
    job = next(line for line in printed.splitlines() if "rotten" in line)
    assert job.endswith("outgoing/rotten: NOT WHAT WAS SENT")
    assert "1 NOT WHAT WAS SENT" in printed
    assert "1 changed since it was sent" in printed
    assert "1 no longer there" in printed
    assert "the agent is not running" in said
    assert found(arrived) == {
        "same": ("same", None), "changed": ("changed", None), "gone": ("gone", None), "rotten": ("differs", None)
    }  # fmt: skip


def test_the_copies_on_the_server(any_server: Server, arrived: Agent) -> None:
    if any_server.name == "tuspyserver":
        # It has no downloads: said for what it is, and nothing is taken for different.
        assert found(arrived, "--server") == dict.fromkeys(NAMES, ("same", "unreadable"))
        assert verify(arrived, "--server")[0] == 0
        return
    assert found(arrived, "--server") == dict.fromkeys(NAMES, ("same", "same"))
    upload = next(one for one in any_server.stored() if one.metadata["filename"] == b"same")
    content = bytearray(upload.path.read_bytes())
    content[1000] ^= 1
    upload.path.write_bytes(content)
    if not any_server.running:  # Node.js 20 may die of a download that was read to its end ("already closed")
        any_server.start()
    code, printed, _ = verify(arrived, "--server")
    assert code == 1
    assert "outgoing/same: as sent; on the server: NOT WHAT WAS SENT" in printed


def test_wrong_usage_and_nothing_to_verify(arrived: Agent) -> None:
    assert verify(arrived, "--state", "failed")[0] == 2
    assert verify(arrived, "--folder", "/srv")[:2] == (0, "No job is done that could be verified.\n")
