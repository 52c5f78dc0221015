"""``wait``: what scripts see of files that arrive, fail, or never come."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import wait_for, write

from .test_pausing import command
from .test_whole_path import done

MIB = 1 << 20


@contextmanager
def waiting(agent: Agent, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """``wait`` while the block runs."""
    with subprocess.Popen(
        [sys.executable, "-m", "tusd_agent", "wait", *arguments, "--config", str(agent.config)],
        env=agent.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        try:
            yield child
        finally:
            child.kill()


@pytest.mark.heavy
def test_what_is_on_its_way_is_waited_for_through_a_kill_of_the_agent(
    agent_factory: Callable[..., Agent], embedded_server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "outgoing"
    agent = agent_factory(
        embedded_server.url, [{"path": folder, "settle_seconds": 0.2, "after_upload": "delete"}], log_level="debug"
    )
    (folder / "run").mkdir()
    agent.start()
    agent.ask("POST", "/v1/pause")
    write(folder / "run" / "large.bin", 6 * MIB, seed=1)
    agent.wait_until(lambda s: s["jobs"]["pending"] == 1, 20)
    looks = {"GET /v1/status": agent.log_text().count("GET /v1/status") + 2, "GET /v1/explain": 2, "jobs?id=1": 1}
    with (
        waiting(agent, "--idle") as idle,
        waiting(agent, "--path", str(folder / "run")) as below,
        waiting(agent, "--path", str(folder / "run" / "large.bin"), "--json") as path,
        waiting(agent, "--job", "1") as job,
    ):
        children = [idle, below, path, job]
        wait_for(lambda: all(agent.log_text().count(asked) >= count for asked, count in looks.items()), 30, "a look")
        late = command(agent, "wait", "--job", "1", "--timeout", "0.1s")
        assert (late.returncode, "Still waited for" in late.stderr) == (1, True)
        agent.kill()
        write(folder / "run" / "small.bin", 10, seed=2)
        agent.start()
        agent.wait_until(lambda s: s["jobs"]["pending"] == 2, 20)
        assert [child.poll() for child in children] == [None] * 4
        agent.ask("POST", "/v1/resume")
        agent.wait_until(done(2), 30)
        assert [child.wait(20) for child in children] == [0, 0, 0, 0]
        assert path.stdout is not None
        assert json.loads(path.stdout.read()) == {"outcome": "done", "waiting": [], "failed": []}
    assert not list(folder.rglob("*.bin"))


@pytest.mark.heavy
def test_what_will_not_come_by_itself_is_said(
    agent_factory: Callable[..., Agent], embedded_server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "outgoing"
    agent = agent_factory(embedded_server.url, [{"path": folder, "settle_seconds": 0.2, "exclude": ["*.tmp"]}])
    agent.start()
    agent.ask("POST", "/v1/pause")
    for name in ("a", "b", "c.tmp"):
        write(folder / name, 10, seed=ord(name[0]))
    agent.wait_until(lambda s: s["jobs"]["pending"] == 2, 20)
    stuck = command(agent, "wait", "--idle", "--timeout", "1")
    assert (stuck.returncode, "2 files on the way, and something is paused" in stuck.stderr) == (1, True)
    ids = {Path(job["path"]).name: job["id"] for job in agent.jobs()}
    agent.ask("POST", f"/v1/jobs/{ids['a']}/hold")
    agent.ask("POST", f"/v1/jobs/{ids['b']}/cancel")
    for arguments, words in (
        (["--job", str(ids["a"])], f"is held (held by the operator): tusd-agent release {ids['a']}"),
        (["--job", str(ids["b"]), "--job", "99"], "there is no job 99"),
        (["--path", str(folder / "b")], f"tusd-agent retry {ids['b']} sends it after all"),
        (["--path", str(folder)], f"tusd-agent release {ids['a']}"),
        (["--path", str(folder / "c.tmp")], "is not taken"),
        (["--path", str(folder / "none")], "is not there"),
        (["--path", "/etc/passwd"], "lies in no watched folder"),
        (["--idle"], "1 file held"),
    ):
        told = command(agent, "wait", *arguments)
        assert (told.returncode, words in told.stderr) == (1, True), (arguments, told)
    agent.ask("POST", f"/v1/jobs/{ids['a']}/release")
    agent.ask("POST", "/v1/resume")
    assert command(agent, "wait", "--idle").returncode == 0, "what was cancelled was meant so"
    assert command(agent, "wait", "--path", str(folder / "a")).returncode == 0
    agent.stop()
    assert command(agent, "wait", "--idle").returncode == 3
    for arguments in ([], ["--idle", "--job", "1"], ["--job", "0"], ["--idle", "--timeout", "soon"]):
        assert command(agent, "wait", *arguments).returncode == 2


@pytest.mark.heavy
def test_a_folder_that_is_polled_is_idle_only_after_a_scan(
    agent_factory: Callable[..., Agent], embedded_server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "outgoing"
    agent = agent_factory(
        embedded_server.url, [{"path": folder, "settle_seconds": 0.2, "watch": "poll", "poll_interval_seconds": 3}]
    )
    agent.start()
    agent.wait_until(lambda s: s["folders"][0]["last_scan_at"], 20)
    write(folder / "x", 10)
    begun = time.monotonic()
    assert command(agent, "wait", "--idle", "--timeout", "30s").returncode == 0
    wait_for(lambda: agent.status()["jobs"]["done"] == 1, 0.1, f"it had arrived ({time.monotonic() - begun:.1f} s)")
