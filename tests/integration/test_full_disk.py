"""The state folder's disk is full, or read-only: said and survived, while the agent runs and when it starts."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import sha256_of, wait_for, write
from tests.support.namespaces import in_namespaces, mount_tmpfs, remount
from tests.support.relay import Relay

from .test_whole_path import assert_arrived_once, done, in_flight_beyond

SECONDS = 60
DISK_BYTES = 8 << 20
LARGE = 3_000_000


class Disk:
    """A small file system for the state folder, to be filled and emptied again."""

    def __init__(self, point: Path) -> None:
        mount_tmpfs(point, f"size={DISK_BYTES}", "mode=0700")
        self.state_dir = point
        self._filler = point / "something-else-altogether"

    def fill(self) -> None:
        with open(self._filler, "ab", buffering=0) as file:
            for block in (65536, 1):
                try:
                    while file.write(bytes(block)) == block:
                        pass
                except OSError:
                    continue

    def empty(self) -> None:
        self._filler.unlink()


@pytest.fixture
def outgoing(tmp_path: Path) -> Path:
    folder = tmp_path / "outgoing"
    folder.mkdir()
    return folder


def degraded(words: str) -> Callable[[dict[str, Any]], bool]:
    return lambda status: status["state"] == "degraded" and words in status["reasons"][0]


def all_well(status: dict[str, Any]) -> bool:
    return status["state"] == "ok" and not status["reasons"]


@pytest.mark.heavy
@in_namespaces
@pytest.mark.parametrize("after_upload", ["keep", "delete"])
def test_a_disk_that_fills_while_files_are_sent(
    embedded_server: Server,
    relay: Callable[[Server], Relay],
    agent_factory: Callable[..., Agent],
    outgoing: Path,
    tmp_path: Path,
    after_upload: str,
) -> None:
    disk = Disk(tmp_path / "disk")
    network = relay(embedded_server)
    settings = {"path": outgoing, "settle_seconds": 0.2, "after_upload": after_upload}
    agent = agent_factory(network.url_for(embedded_server), [settings], state_dir=disk.state_dir, workers=2)
    agent.start()
    network.bytes_per_second = LARGE / 10
    sums = {"large": write(outgoing / "large", LARGE)}
    agent.wait_until(in_flight_beyond(LARGE // 10), SECONDS, "the large file is on its way")
    disk.fill()
    posted = [request for request in network.requests_seen() if request.method == "POST"]
    sums |= {f"{number}": write(outgoing / f"{number}", 5000, seed=number) for number in range(20)}
    status = agent.wait_until(degraded("is full: make room there"), SECONDS)
    assert len(status["reasons"]) == 1, "said once, however many have met it"
    assert len(status["in_flight"]) == 1, "the upload goes on"

    network.bytes_per_second = None
    agent.wait_until(lambda it: not it["in_flight"], SECONDS, "the large file is over")
    (stored,) = (upload for upload in embedded_server.stored() if upload.metadata["filename"] == b"large")
    assert stored.complete
    status = agent.status()
    assert degraded("is full")(status)
    assert status["jobs"]["done"] == 0
    assert [request for request in network.requests_seen() if request.method == "POST"] == posted, "nothing is claimed"
    assert sorted(path.name for path in outgoing.iterdir()) == sorted(sums)
    code, answer = agent.ask("POST", "/v1/jobs/hold", {"ids": [1]})
    assert (code, answer["code"]) == (503, "database_unusable")
    assert "make room" in answer["message"]

    # Servers may take away what is finished: that it had arrived is known all the same, and told once there is room.
    bodies = network.body_bytes()
    if after_upload == "keep":
        assert sha256_of(stored.path) == sums.pop("large")
        for path in (stored.path, stored.path.with_name(f"{stored.path.name}.info")):
            path.unlink()
    disk.empty()
    agent.wait_until(lambda it: done(21)(it) and all_well(it), SECONDS)
    assert_arrived_once(embedded_server, sums)
    assert network.body_bytes() - bodies == 20 * 5000, "the large file is not sent again"
    assert len(list(outgoing.iterdir())) == (0 if after_upload == "delete" else 21)
    assert agent.log_text().count("is full: make room there") < 10, "said, and not again and again"
    agent.stop()


@pytest.mark.heavy
@in_namespaces
def test_an_upload_whose_url_could_not_be_noted_is_the_one_that_goes_on(
    embedded_server: Server,
    relay: Callable[[Server], Relay],
    agent_factory: Callable[..., Agent],
    outgoing: Path,
    tmp_path: Path,
) -> None:
    """The disk fills between the claim and the answer to the creation; and what was claimed is no orphan."""
    disk = Disk(tmp_path / "disk")
    network = relay(embedded_server)
    network.hold_answers = {"POST"}
    settings = {"path": outgoing, "settle_seconds": 0.2}
    agent = agent_factory(network.url_for(embedded_server), [settings], state_dir=disk.state_dir)
    agent.start()
    sums = {"a": write(outgoing / "a", 5000)}
    wait_for(lambda: len(embedded_server.stored()) == 1, SECONDS, "the creation")
    disk.fill()
    network.hold_answers = set()
    agent.wait_until(degraded("is full"), SECONDS)
    assert network.body_bytes() == 0, "no byte is sent to an upload that a crash would orphan"
    disk.empty()
    agent.wait_until(lambda it: done(1)(it) and all_well(it), SECONDS)
    assert_arrived_once(embedded_server, sums)
    agent.stop()


@pytest.mark.heavy
@in_namespaces
@pytest.mark.parametrize("how", ["full", "full and new", "read-only", "read-only and new"])
def test_a_start_that_has_to_wait_for_the_disk(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path, tmp_path: Path, how: str
) -> None:
    disk = Disk(tmp_path / "disk")
    settings = {"path": outgoing, "settle_seconds": 0.2}
    agent = agent_factory(embedded_server.url, [settings], state_dir=disk.state_dir)
    sums = {}
    if "new" not in how:
        agent.start()
        sums["before"] = write(outgoing / "before", 5000)
        agent.wait_until(done(1), SECONDS)
        agent.kill()
    sums["meanwhile"] = write(outgoing / "meanwhile", 5000, seed=1)
    if how.startswith("full"):
        disk.fill()
    else:
        remount(disk.state_dir, "ro")
    agent.start()
    words = "is full: make room there" if how.startswith("full") else "lies on a read-only file system"
    agent.wait_until(degraded(words), SECONDS)
    assert agent.ask("POST", "/v1/jobs/retry", {"ids": [1]})[0] == 503
    agent.stop()
    assert agent.returncode == 0, "asked to stop it stops"
    agent.start()
    agent.wait_until(degraded(words), SECONDS)
    if how.startswith("full"):
        disk.empty()
    else:
        remount(disk.state_dir, "rw")
    agent.wait_until(lambda it: done(len(sums))(it) and all_well(it), SECONDS)
    assert_arrived_once(embedded_server, sums)
    agent.stop()
    agent.start()
    agent.wait_until(lambda it: done(len(sums))(it) and all_well(it), SECONDS, "nothing of it is left")
    agent.stop()


@contextmanager
def read_only_for(pid: int) -> Iterator[None]:
    """What a kernel says once an error has made the disk read-only, which takes a disk with errors: strace(1) does.

    (Remounting by hand is refused as long as a file is open for writing.)
    """
    changes = "pwrite64,fallocate,ftruncate"
    what = ["-e", f"trace={changes}", "-e", f"inject={changes}:error=EROFS"]
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", os.devnull, *what, "-p", str(pid)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        _, said = tracer.communicate()
        assert "ptrace" not in said, said


@pytest.mark.heavy
def test_a_disk_that_becomes_read_only_and_is_mended(
    embedded_server: Server,
    relay: Callable[[Server], Relay],
    agent_factory: Callable[..., Agent],
    outgoing: Path,
) -> None:
    if not shutil.which("strace"):
        if os.environ.get("CI"):
            pytest.fail("strace is not installed", pytrace=False)
        pytest.skip("strace is not installed")
    network = relay(embedded_server)
    agent = agent_factory(network.url_for(embedded_server), [{"path": outgoing, "settle_seconds": 0.2}], workers=2)
    agent.start()
    network.bytes_per_second = LARGE / 10
    sums = {"large": write(outgoing / "large", LARGE)}
    agent.wait_until(in_flight_beyond(LARGE // 10), SECONDS, "the large file is on its way")
    with read_only_for(agent.pid):
        sums |= {f"{number}": write(outgoing / f"{number}", 5000, seed=number) for number in range(5)}
        agent.wait_until(degraded("lies on a read-only file system"), SECONDS)
        network.bytes_per_second = None
        status = agent.wait_until(lambda it: not it["in_flight"], SECONDS, "the large file is over")
        assert degraded("lies on a read-only file system")(status)
        assert status["jobs"]["done"] == 0
    agent.wait_until(lambda it: done(6)(it) and all_well(it), SECONDS)
    assert_arrived_once(embedded_server, sums)
    assert network.body_bytes() == LARGE + 5 * 5000
    agent.stop()
