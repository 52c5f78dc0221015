"""A disk that does not answer: it is said, systemd's watchdog is fed all the same, and a stop does not wait for it."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import wait_for, write
from tests.support.namespaces import in_namespaces

from .test_whole_path import assert_arrived_once, done

WATCHDOG_SECONDS = 2.0
STOP_SECONDS = 6.0


@pytest.mark.heavy
@in_namespaces
def test_a_disk_that_does_not_answer(
    embedded_server: Server, agent_factory: Callable[..., Agent], tmp_path: Path
) -> None:
    assert shutil.which("bindfs") is not None, "bindfs is not installed"
    (tmp_path / "behind").mkdir()
    point = tmp_path / "point"
    point.mkdir()
    disk = subprocess.Popen(["bindfs", "-f", "--no-allow-other", str(tmp_path / "behind"), str(point)])
    wait_for(point.is_mount, 10, "the mount")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        environment = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": f"{WATCHDOG_SECONDS * 1e6:.0f}",
        }
        folder = {"path": point, "settle_seconds": 0.2, "watch": "poll", "poll_interval_seconds": 1}
        agent = agent_factory(embedded_server.url, [folder], environment=environment)
        agent.start()
        agent.wait_until(lambda status: status["state"] == "ok", 30)
        disk.send_signal(signal.SIGSTOP)
        try:
            status = agent.wait_until(lambda status: "a disk does not answer" in str(status["reasons"]), 30)
            assert status["state"] == "degraded"
            heard(systemd)
            time_of_death = time.monotonic() + 2 * WATCHDOG_SECONDS
            while time.monotonic() < time_of_death:
                wait_for(lambda: b"WATCHDOG=1" in heard(systemd), WATCHDOG_SECONDS, "a sign of life")
        finally:
            disk.send_signal(signal.SIGCONT)
        # It goes on where it was.
        digest = write(point / "later", 1000, 1)
        # After a scan that took so long the next is put off.
        agent.command("rescan")
        agent.wait_until(done(1), 30)
        assert_arrived_once(embedded_server, {"later": digest})
        disk.send_signal(signal.SIGSTOP)
        agent.command("rescan")
        try:
            agent.wait_until(lambda status: "a disk does not answer" in str(status["reasons"]), 30)
            began = time.monotonic()
            agent.stop()
            assert time.monotonic() - began < STOP_SECONDS
            assert agent.returncode == 0
            assert "a watched folder does not answer" in agent.log_text()
        finally:
            disk.send_signal(signal.SIGCONT)
            disk.terminate()
            disk.wait(10)


def heard(systemd: socket.socket) -> list[bytes]:
    """What was said to systemd since the last time."""
    said = []
    while True:
        try:
            said.append(systemd.recv(4096))
        except BlockingIOError:
            return said
