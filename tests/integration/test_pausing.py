"""Pauses of the agent, a folder and an endpoint, as an operator makes them: the real agent, uploads in the middle."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import wait_for, write

from .test_whole_path import assert_arrived_once, done, in_flight_beyond

pytestmark = pytest.mark.heavy  # each of them starts agents of its own

MIB = 1 << 20


def command(agent: Agent, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, as a process, beside the agent."""
    return subprocess.run(
        [sys.executable, "-m", "tusd_agent", *arguments, "--config", str(agent.config)],
        env=agent.environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def states(agent: Agent) -> dict[str, str]:
    return {job["path"].rpartition("/")[2]: job["state"] for job in agent.jobs()}


def test_a_pause_interrupts_outlives_a_kill_and_loses_nothing(
    agent_factory: Callable[..., Agent], embedded_server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "outgoing"
    folder.mkdir()
    expected = {"large.bin": write(folder / "large.bin", 8 * MIB, seed=1)}
    agent = agent_factory(
        embedded_server.url, [{"path": folder, "settle_seconds": 0.2}], endpoint={"rate_limit": 4 * MIB}
    )
    agent.start()
    agent.wait_until(in_flight_beyond(MIB), 30, "it is in the middle")
    begun = time.monotonic()
    code, reply = agent.ask("POST", "/v1/pause")
    assert (code, reply["changed"]) == (200, True)
    agent.wait_until(lambda s: not s["in_flight"] and s["jobs"]["pending"] == 1, 1.5, "it is put back")
    assert time.monotonic() - begun < 2
    (job,) = agent.jobs()
    assert (job["state"], job["attempts"], job["last_error"]) == ("pending", 0, None)
    assert agent.ask("POST", "/v1/pause", {})[1]["changed"] is False
    expected["small.bin"] = write(folder / "small.bin", 1000, seed=2)
    status = agent.wait_until(lambda s: s["jobs"]["pending"] == 2, 10, "the intake goes on")
    assert (status["state"], status["reasons"]) == ("ok", [])

    agent.kill()
    stopped = command(agent, "status")
    assert "the agent is paused since" in stopped.stdout
    agent.start()
    status = agent.wait_until(lambda s: s["state"] == "ok" and s["folders"][0]["last_scan_at"], 30)
    assert [(p["folder"], p["endpoint"]) for p in status["paused"]] == [(None, None)]
    assert (status["in_flight"], status["jobs"]["pending"]) == ([], 2)
    shown = command(agent, "status").stdout
    assert ": ok, paused, up " in shown
    assert "tusd-agent resume" in shown

    resumed = command(agent, "resume")
    assert (resumed.returncode, resumed.stdout) == (0, "the agent goes on.\n")
    agent.wait_until(done(2), 30)
    assert_arrived_once(embedded_server, expected)
    assert "goes on at" in agent.log_text()
    again = command(agent, "resume")
    assert (again.returncode, again.stdout) == (0, "the agent was not paused.\n")


def test_a_folder_or_an_endpoint_is_paused_and_the_others_go_on(
    agent_factory: Callable[..., Agent], embedded_server: Server, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    agent = agent_factory(
        embedded_server.url,
        [
            {"path": folders[0], "settle_seconds": 0.2, "after_upload": "delete"},
            {"path": folders[1], "settle_seconds": 0.2},
            {"path": folders[2], "settle_seconds": 0.2, "endpoint": "lab"},
        ],
        endpoints={"lab": {"url": embedded_server.url}},
    )
    agent.start()
    paused = command(agent, "pause", "--folder", str(folders[0]))
    assert (paused.returncode, paused.stdout.split(".")[0]) == (0, f"folder {folders[0]} is paused")
    assert command(agent, "pause", "--endpoint", "lab").stdout.count("is paused") == 2, "and what was paused before"
    for folder in folders:
        write(folder / f"{folder.name}.bin", 1000, seed=ord(folder.name))
    agent.wait_until(lambda s: sum(s["jobs"].values()) == 3 and s["jobs"]["done"] == 1, 30)
    assert states(agent) == {"a.bin": "pending", "b.bin": "done", "c.bin": "pending"}
    assert command(agent, "resume").stdout.startswith("the agent was not paused.\n  folder ")
    assert states(agent)["a.bin"] == "pending"
    for path in (folders[0] / "a.bin", folders[2] / "c.bin"):
        assert (
            "\n  waits for  a resume: tusd-agent status says what is paused\n"
            in command(agent, "explain", str(path)).stdout
        )
    assert "waits for" not in command(agent, "explain", str(folders[1] / "b.bin")).stdout
    assert agent.ask("POST", "/v1/resume", {"endpoint": "lab"})[1]["changed"]
    agent.wait_until(done(2), 30)
    assert agent.ask("POST", "/v1/resume", {"folder": str(folders[0])})[1] == {"changed": True, "paused": []}
    agent.wait_until(done(3), 30)
    wait_for(lambda: not (folders[0] / "a.bin").exists(), 10, "it is disposed of as ever")

    for option, name, listed in (("--folder", "/nowhere", str(folders[1])), ("--endpoint", "lap", "default, lab")):
        wrong = command(agent, "pause", option, name)
        assert wrong.returncode == 1
        assert listed in wrong.stderr
    assert command(agent, "pause", "--folder", "/x", "--endpoint", "lab").returncode == 2


def test_a_disposal_waits_for_the_resume_too(
    agent_factory: Callable[..., Agent], embedded_server: Server, tmp_path: Path
) -> None:
    folder, go = tmp_path / "outgoing", tmp_path / "go"
    folder.mkdir()
    program = tmp_path / "after"
    program.write_text(f"#!/bin/sh\necho run >> {tmp_path}/runs\nwhile [ ! -e {go} ]; do sleep 0.05; done\n")
    program.chmod(0o755)
    agent = agent_factory(
        embedded_server.url,
        [{"path": folder, "settle_seconds": 0.2, "after_upload": "command", "command": [str(program)]}],
    )
    agent.config.chmod(0o600)
    agent.start()
    write(folder / "x", 10)

    def runs() -> int:
        return len((tmp_path / "runs").read_text().split()) if (tmp_path / "runs").exists() else 0

    wait_for(lambda: runs() == 1, 30, "the command runs")
    agent.ask("POST", "/v1/pause", {"folder": str(folder)})
    status: dict[str, Any] = agent.wait_until(lambda s: s["jobs"]["delivered"] == 1, 5, "it is stopped and put back")
    assert (status["state"], status["reasons"]) == ("ok", []), "what is paused is no trouble"
    go.touch()
    agent.ask("POST", "/v1/resume", {"folder": str(folder)})
    agent.wait_until(done(1), 20)
    assert runs() == 2
