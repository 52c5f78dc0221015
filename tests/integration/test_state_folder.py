"""On what the state folder lies: a network file system is refused at once, one that may be one is warned of."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import write
from tests.support.namespaces import in_namespaces, unmount
from tusd_agent.config import ConfigError, load

from .test_trouble import run_agent
from .test_whole_path import assert_arrived_once, done


def mount_in_user_space(behind: Path, point: Path, *options: str) -> None:
    """A real file system of FUSE, of whatever subtype it says it is."""
    if shutil.which("bindfs") is None:
        if os.environ.get("CI"):
            pytest.fail("bindfs is not installed", pytrace=False)
        pytest.skip("bindfs is not installed: it makes the file system in user space that this is about")
    for folder in (behind, point):
        folder.mkdir(exist_ok=True)
    subprocess.run(["bindfs", "--no-allow-other", *options, str(behind), str(point)], check=True)


def check_config(agent: Agent) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tusd_agent", "check-config", "--config", str(agent.config)]
    return subprocess.run(command, env=agent.environment, capture_output=True, text=True, timeout=40, check=False)


@pytest.mark.heavy
@in_namespaces
def test_a_network_file_system_is_refused(
    embedded_server: Server, agent_factory: Callable[..., Agent], tmp_path: Path
) -> None:
    point = tmp_path / "far away"
    mount_in_user_space(tmp_path / "behind", point, "-o", "subtype=sshfs")
    agent = agent_factory(embedded_server.url, [{"path": tmp_path / "out"}], state_dir=point / "deep" / "state")
    for refused in (check_config(agent), run_agent(agent)):
        assert refused.returncode == 78
        assert "agent.state_dir" in refused.stderr
        assert f"lies on a network file system: fuse.sshfs, mounted at {point}" in refused.stderr
        assert "a disk of this host: set agent.state_dir" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert list(point.iterdir()) == [], "nothing is left there"
    unmount(point)


@pytest.mark.heavy
@in_namespaces
def test_what_may_be_a_network_is_warned_of_and_used(
    embedded_server: Server, agent_factory: Callable[..., Agent], tmp_path: Path
) -> None:
    point, outgoing = tmp_path / "somewhere", tmp_path / "out"
    mount_in_user_space(tmp_path / "behind", point)
    settings = {"path": outgoing, "settle_seconds": 0.2}
    agent = agent_factory(embedded_server.url, [settings], state_dir=point / "state")
    checked = check_config(agent)
    assert checked.returncode == 0
    assert f"state lies on fuse, mounted at {point}: if that leads to another host" in checked.stdout
    agent.start()
    expected = {"a": write(outgoing / "a", 1000)}
    agent.wait_until(done(1), 60)
    assert_arrived_once(embedded_server, expected)
    assert f"lies on fuse, mounted at {point}" in agent.log_text()
    agent.stop()
    unmount(point)


@pytest.mark.parametrize(
    ("line", "refused", "warned"),
    [
        ("30 21 0:50 / /srv/nas rw - nfs4 nas:/export rw", True, False),
        ("30 21 0:50 / /srv/nas rw - cifs //nas/export rw", True, False),
        ("30 21 0:50 / /srv/nas rw - virtiofs share rw", False, True),
        ("30 21 0:50 / /srv/nas rw - fuse.mergerfs a:b rw", False, True),
        ("30 21 0:50 / /srv/nas rw - fuseblk /dev/sdb1 rw", False, False),
        ("30 21 0:50 / /srv/nas rw - xfs /dev/sdb1 rw", False, False),
    ],
)
def test_the_type_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, refused: bool, warned: bool
) -> None:
    table, config = tmp_path / "mountinfo", tmp_path / "config.toml"
    table.write_text(f"21 1 8:1 / / rw - ext4 /dev/sda1 rw\n{line}\n")
    monkeypatch.setattr("tusd_agent.mounts.MOUNT_TABLE", table)
    config.write_text(f'[agent]\nstate_dir = "/srv/nas/state"\nsocket = "{tmp_path}/control.sock"\n')
    if refused:
        with pytest.raises(ConfigError) as caught:
            load(config, {})
        (problem,) = caught.value.problems
        assert problem.key == "agent.state_dir"
        assert "mounted at /srv/nas" in problem.wrong
    else:
        warnings = [warning for warning in load(config, {}).warnings() if "mounted at /srv/nas" in warning]
        assert bool(warnings) == warned
