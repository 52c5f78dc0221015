"""No content of a path arrives twice, whatever happens to the agent, its database and the names of the files."""

import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import wait_for, write
from tusd_agent.jobs.database import Database
from tusd_agent.jobs.orders import Orders
from tusd_agent.jobs.states import LEDGER_LOST

pytestmark = pytest.mark.heavy  # each of them starts agents of its own

SETTLE_SECONDS = 0.2


@pytest.fixture
def outgoing(tmp_path: Path) -> Path:
    folder = tmp_path / "outgoing"
    folder.mkdir()
    return folder


def done(count: int) -> Callable[[dict[str, Any]], bool]:
    return lambda status: bool(status["jobs"]["done"] == count)


def arrived(server: Server) -> Counter[tuple[str, bytes]]:
    """How often each content arrived under each name. A creation whose answer a kill cut off leaves an empty upload."""
    return Counter(
        (upload.metadata.get("relativePath", b"?").decode(), upload.path.read_bytes())
        for upload in server.stored()
        if upload.complete
    )


def wait_for_rest(agent: Agent, after: float = 0.0) -> None:
    """Waits until a scan later than `after` is over and nothing settles, waits or is sent."""

    def rests(status: dict[str, Any]) -> bool:
        (folder,) = status["folders"]
        jobs = status["jobs"]
        return (
            (folder["last_scan_at"] or 0) > after
            and not folder["scanning"]
            and not folder["settling"]
            and not jobs["pending"] + jobs["uploading"]
        )

    agent.wait_until(rests, 30, "rest")


def rotate(folder: Path, count: int) -> None:
    """What logrotate does: log.2 → log.3, log.1 → log.2, log → log.1, and a new log."""
    for number in range(count, 0, -1):
        source = folder / (f"log.{number - 1}" if number > 1 else "log")
        if source.exists():
            os.rename(source, folder / f"log.{number}")


def test_what_was_sent_is_not_sent_again(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    """By a restart, a kill, a rescan, other device numbers, chmod, touch -a, or the same content written again."""
    agent = agent_factory(
        embedded_server.url, [{"path": outgoing, "settle_seconds": SETTLE_SECONDS}], rescan_interval_seconds=10
    )
    for number in range(5):
        (outgoing / f"{number}").write_bytes(b"content %d" % number)
    agent.start()
    agent.wait_until(done(5), 30)
    once = arrived(embedded_server)
    (outgoing / "0").chmod(0o600)
    subprocess.run(["touch", "-a", outgoing / "1"], check=True)
    mtime_ns = (outgoing / "2").stat().st_mtime_ns
    (outgoing / "2").write_bytes(b"content 2")
    os.utime(outgoing / "2", ns=(mtime_ns, mtime_ns))
    os.link(outgoing / "3", outgoing / "3.tmp")
    (outgoing / "3.tmp").unlink()
    for end in (agent.stop, agent.kill):
        end()
        agent.start()
        wait_for_rest(agent)
    wait_for_rest(agent, after=agent.status()["now"])
    assert arrived(embedded_server) == once
    assert set(once.values()) == {1}
    # But other content is, though its size and its mtime are put back.
    (outgoing / "2").write_bytes(b"CONTENT 2")
    os.utime(outgoing / "2", ns=(mtime_ns, mtime_ns))
    wait_for(lambda: arrived(embedded_server)["2", b"CONTENT 2"] == 1, 30, "the changed content")
    assert arrived(embedded_server) == once + Counter({("2", b"CONTENT 2"): 1})


def test_another_device_number_makes_no_other_file(
    embedded_server: Server, agent_factory: Callable[..., Agent], tmp_path: Path
) -> None:
    """As after a reboot: the same files and inodes, but another file system was mounted first this time."""
    image, folder = tmp_path / "image", tmp_path / "mounted"
    folder.mkdir()
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    made = subprocess.run(["mkfs.ext4", "-q", image], capture_output=True, check=False)
    if os.geteuid() != 0 or made.returncode != 0 or not mount(image, folder):
        pytest.skip("no image can be mounted here")
    try:
        agent = agent_factory(embedded_server.url, [{"path": folder, "settle_seconds": SETTLE_SECONDS}])
        (folder / "a").write_bytes(b"content")
        agent.start()
        agent.wait_until(done(1), 30)
        before = folder.stat().st_dev
        agent.stop()
        subprocess.run(["umount", folder], check=True)
        other = tmp_path / "other"
        other.mkdir()
        with open(tmp_path / "image-2", "wb") as file:
            file.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", tmp_path / "image-2"], check=True)
        assert mount(tmp_path / "image-2", other)
        try:
            assert mount(image, folder)
            assert folder.stat().st_dev != before
            agent.start()
            wait_for_rest(agent)
            assert arrived(embedded_server) == {("a", b"content"): 1}
        finally:
            agent.stop()
            subprocess.run(["umount", other], check=True)
    finally:
        subprocess.run(["umount", folder], check=True)


def mount(image: Path, folder: Path) -> bool:
    return subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("agent_is", ["running", "stopped", "killed", "sending"])
def test_the_whole_chain_of_logrotate(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path, agent_is: str
) -> None:
    """Each generation arrives once, under whatever name it had then."""
    agent = agent_factory(embedded_server.url, [{"path": outgoing, "settle_seconds": SETTLE_SECONDS}])
    agent.start()
    contents = []
    for generation in range(4):
        contents.append(b"generation %d\n" % generation * (1 + generation))
        (outgoing / "log").write_bytes(contents[-1])
        if agent_is != "sending":
            agent.wait_until(done(generation + 1), 30)
        if agent_is == "stopped":
            agent.stop()
        elif agent_is == "killed":
            agent.kill()
        rotate(outgoing, 5)
        if not agent.running:
            agent.start()
    wait_for_rest(agent)
    agent.wait_until(done(4), 30)
    wait_for_rest(agent)
    assert sorted((outgoing / f"log.{4 - number}").read_bytes() for number in range(4)) == sorted(contents)
    assert Counter(content for _, content in arrived(embedded_server).elements()) == Counter(contents)
    # The rows follow the last names as soon as these have settled.
    names = ["log.1", "log.2", "log.3", "log.4"]
    wait_for(lambda: sorted(job["path"].rpartition("/")[2] for job in agent.jobs()) == names, 30, "the last names")


def test_kill_9_at_any_instant_never_is_a_loss_and_never_sends_twice(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    """40 kills from the first instant of a start to a second after it, files coming all the while."""
    chance = random.Random(4)
    agent = agent_factory(embedded_server.url, [{"path": outgoing, "settle_seconds": SETTLE_SECONDS}])
    for number in range(40):
        write(outgoing / f"{number}", 2000, seed=number)
        agent.start(wait=False)
        # How far it comes until then is a matter of chance, and meant to be.
        with_seconds = chance.uniform(0.0, 1.2)
        with pytest.raises(subprocess.TimeoutExpired):
            agent.wait_for_exit(with_seconds)
        agent.kill()
        assert agent.returncode == -signal.SIGKILL
    agent.start()
    agent.wait_until(done(40), 60)
    assert set(arrived(embedded_server).values()) == {1}
    assert len(arrived(embedded_server)) == 40
    assert "lost" not in agent.log_text()
    assert "-wal" not in agent.log_text()
    assert agent.status()["jobs"]["held"] == 0


def test_a_start_that_fails_is_no_loss(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    folders = [{"path": outgoing, "settle_seconds": SETTLE_SECONDS}]
    agent = agent_factory(embedded_server.url, folders)
    (outgoing / "a").write_bytes(b"content")
    for ended in (agent.stop, agent.kill):
        agent.start()
        agent.wait_until(done(1), 30)
        ended()
        agent.configure(embedded_server.url, folders, socket="/proc/no/such/folder/control.sock")
        agent.start(wait=False)
        assert agent.wait_for_exit() != 0
        agent.configure(embedded_server.url, folders)
    (outgoing / "b").write_bytes(b"content")
    agent.start()
    agent.wait_until(done(2), 30)
    assert agent.status()["jobs"]["held"] == 0
    assert "lost" not in agent.log_text()


def test_a_lost_ledger_is_said_and_nothing_is_sent_again(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    agent = agent_factory(embedded_server.url, [{"path": outgoing, "settle_seconds": SETTLE_SECONDS}])
    for name in ("a", "b"):
        (outgoing / name).write_bytes(b"content of " + name.encode())
    agent.start()
    agent.wait_until(done(2), 30)
    agent.stop()
    (agent.state_dir / "queue.db").unlink()
    agent.start()
    status = agent.wait_until(lambda status: status["jobs"]["held"] == 2, 30, "both are held")
    (outgoing / "new").write_bytes(b"new content")
    agent.wait_until(done(1), 30)
    assert status["state"] == "degraded"
    (reason,) = [reason for reason in status["reasons"] if "ledger" in reason]
    assert "2 jobs held" in reason
    assert "was lost or exchanged" in agent.log_text()
    held = {job["path"].rpartition("/")[2]: job for job in agent.jobs(state="held")}
    assert {job["reason"] for job in held.values()} == {LEDGER_LOST}
    agent.stop()
    database = Database(agent.state_dir / "queue.db")
    database.open()
    orders = Orders(database)
    orders.adopt(held["a"]["id"], 1e9)
    orders.release(held["b"]["id"], 1e9)
    database.close()
    agent.start()
    agent.wait_until(done(3), 30)
    wait_for_rest(agent)
    assert arrived(embedded_server) == {
        ("a", b"content of a"): 1,
        ("b", b"content of b"): 2,
        ("new", b"new content"): 1,
    }
    assert agent.status()["state"] == "ok"
