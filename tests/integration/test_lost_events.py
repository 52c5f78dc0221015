"""Events that the kernel had no room for: the agent notices, and finds what they would have told of."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.support.agent import Agent

# The discard service's port, which no client may use by accident: nobody listens there.
NOBODY_THERE = "http://127.0.0.1:9/files/"
MAX_QUEUED_EVENTS = Path("/proc/sys/fs/inotify/max_queued_events")


def overflow_queue(folder: Path) -> None:
    """More events than the kernel keeps for a reader that does not read; a file of many names, so that none merge."""
    here, there = folder / "busy-1", folder / "busy-2"
    here.write_bytes(b"content")
    for _ in range(int(MAX_QUEUED_EVENTS.read_text()) // 2 + 100):
        os.rename(here, there)
        here, there = there, here
    here.unlink()


def test_a_kernel_queue_that_overflows(agent_factory: Callable[..., Agent], tmp_path: Path) -> None:
    folder = tmp_path / "outgoing"
    (folder / "there").mkdir(parents=True)
    (folder / "there/before").write_bytes(b"content")
    settings = {"path": folder, "settle_seconds": 0.2}
    agent = agent_factory(NOBODY_THERE, [settings], rescan_interval_seconds=86400)
    agent.start()
    status = agent.wait_until(lambda it: taken(it) == 1 and not it["folders"][0]["scanning"], 30)
    assert status["watcher"]["overflows"] == 0
    scanned_at = status["folders"][0]["last_scan_at"]

    os.kill(agent.pid, signal.SIGSTOP)
    try:
        overflow_queue(folder)
        # Nobody will ever be told of these.
        for number in range(50):
            (folder / f"new-{number}/deep").mkdir(parents=True)
            (folder / f"new-{number}/deep/file").write_bytes(b"content")
            (folder / f"there/{number}").write_bytes(b"content")
        (folder / "there/before").rename(folder / "there/after")
    finally:
        os.kill(agent.pid, signal.SIGCONT)

    status = agent.wait_until(lambda it: taken(it) == 101 and it["watcher"]["overflows"], 60)
    status = agent.wait_until(lambda it: not it["folders"][0]["scanning"] and not it["folders"][0]["settling"], 60)
    assert status["watcher"]["restarts"] == 0
    assert status["folders"][0]["last_scan_at"] > scanned_at
    assert "File events were lost: every folder is scanned" in agent.log_text()
    assert {job["state"] for job in agent.jobs()} <= {"pending", "uploading"}
    assert sum(job["path"].endswith("there/after") for job in agent.jobs()) == 1

    # From the directories that were made in the meantime events come too.
    scanned_at = status["folders"][0]["last_scan_at"]
    (folder / "new-49/deep/later").write_bytes(b"content")
    status = agent.wait_until(lambda it: taken(it) == 102, 60)
    assert status["folders"][0]["last_scan_at"] == scanned_at
    assert status["watcher"]["gaps"] == 0
    agent.stop()


def taken(status: dict[str, dict[str, int]]) -> int:
    return status["jobs"]["pending"] + status["jobs"]["uploading"]
