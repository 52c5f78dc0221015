"""Deleting is the one thing that can lose data: files replaced at the worst moment, kills at the worst place."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import content, wait_for
from tests.support.relay import Relay

from .test_whole_path import by_relative_path, done

SIZE = 100_000

KILLED_BEFORE_UNLINK = """
import os, signal, sys
unlink = os.unlink
def kill_before_an_aside_goes(path, **more):
    if os.fsencode(path).startswith(b".tusd-agent-"):
        os.kill(os.getpid(), signal.SIGKILL)
    unlink(path, **more)
os.unlink = kill_before_an_aside_goes
from tusd_agent.cli import main
main()
"""


@pytest.fixture
def outgoing(tmp_path: Path) -> Path:
    folder = tmp_path / "outgoing"
    folder.mkdir()
    return folder


def rename_over(path: Path, new: bytes) -> None:
    other = path.with_name("other.tmp")
    other.write_bytes(new)
    other.rename(path)


def rewrite_with_times_put_back(path: Path, new: bytes) -> None:
    before = path.stat()
    assert len(new) == before.st_size
    path.write_bytes(new)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("replaced_by", [rename_over, rewrite_with_times_put_back])
def test_a_file_replaced_between_its_last_byte_and_its_deletion_is_not_deleted(
    any_server: Server,
    relay: Callable[[Server], Relay],
    agent_factory: Callable[..., Agent],
    outgoing: Path,
    replaced_by: Callable[[Path, bytes], None],
) -> None:
    network = relay(any_server)
    network.hold_answers = {"PATCH"}
    folder = {"path": outgoing, "settle_seconds": 0.3, "after_upload": "delete"}
    agent = agent_factory(network.url_for(any_server), [folder])
    path = outgoing / "file.dat"
    old, new = content(SIZE, seed=1), content(SIZE, seed=2)
    path.write_bytes(old)
    agent.start()
    # The whole body goes by; the answer to it, and with it the deletion, is held up.
    wait_for(lambda: last_byte_sent(network), 30, "the last byte is sent")
    replaced_by(path, new)
    network.hold_answers = ()
    agent.wait_until(lambda s: s["jobs"]["done"] == 2 and not s["in_flight"], 30, "both contents are done")
    stored = by_relative_path(any_server)["file.dat"]
    assert {upload.path.read_bytes() for upload in stored} == {old, new}
    assert len(stored) == 2
    assert not path.exists(), "the new content arrived, so now its file is deleted"


def last_byte_sent(network: Relay) -> bool:
    return any(r.method == "PATCH" and r.body_bytes == SIZE for r in network.requests_seen())


def test_a_kill_between_rename_aside_and_unlink_leaves_nothing_lost_and_nothing_hidden(
    any_server: Server, agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    agent = agent_factory(any_server.url, [{"path": outgoing, "settle_seconds": 0.3, "after_upload": "delete"}])
    data = content(SIZE, seed=1)
    (outgoing / "file.dat").write_bytes(data)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_BEFORE_UNLINK, "run", "--config", str(agent.config)],
        cwd=agent.base,
        env=agent.environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr.decode()
    (aside,) = outgoing.iterdir()
    assert aside.name.startswith(".tusd-agent-")
    assert aside.read_bytes() == data
    agent.start()
    agent.wait_until(done(1), 30)
    assert list(outgoing.iterdir()) == []
    (upload,) = any_server.stored()
    assert upload.path.read_bytes() == data


def test_an_aside_file_that_no_row_knows_is_put_back_and_uploaded(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    """As after a lost database: the file is neither lost nor left hidden."""
    agent = agent_factory(embedded_server.url, [{"path": outgoing, "settle_seconds": 0.2}])
    (outgoing / ".tusd-agent-00000000-0000-4000-8000-000000000000").write_bytes(b"precious")
    agent.start()
    agent.wait_until(done(1), 30)
    (found,) = outgoing.iterdir()
    assert not found.name.startswith(".")
    assert found.read_bytes() == b"precious"


def test_nothing_is_deleted_that_the_server_does_not_confirm(
    any_server: Server, relay: Callable[[Server], Relay], agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    """The upload disappears on the server just before the proof: the file stays, and the row says why."""
    network = relay(any_server)
    network.hold_answers = {"HEAD"}
    agent = agent_factory(
        network.url_for(any_server), [{"path": outgoing, "settle_seconds": 0.3, "after_upload": "delete"}]
    )
    (outgoing / "file.dat").write_bytes(content(SIZE, seed=1))
    agent.start()
    wait_for(lambda: any(r.method == "HEAD" for r in network.requests_seen()), 30, "the server is asked for the proof")
    for upload in any_server.uploads.iterdir():
        if upload.is_file():
            upload.unlink()
    network.cut()
    network.hold_answers = ()

    def explained(status: dict[str, Any]) -> bool:
        return any("can't be proven" in (job["last_error"] or "") for job in agent.jobs(state="delivered"))

    agent.wait_until(explained, 30, "the row says that nothing is proven")
    assert (outgoing / "file.dat").exists()
