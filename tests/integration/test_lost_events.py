"""Events that nobody was there to read: the agent notices, and finds what they would have told of."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.agent import Agent
from tests.support.files import wait_for
from tusd_agent.config import load
from tusd_agent.intake.inotify import Reader
from tusd_agent.intake.intake import Intake
from tusd_agent.service import Service

# The discard service's port, which no client may use by accident: nobody listens there.
NOBODY_THERE = "http://127.0.0.1:9/files/"
MAX_QUEUED_EVENTS = Path("/proc/sys/fs/inotify/max_queued_events")


def overflow_queue(folder: Path) -> None:
    """More events than the kernel keeps for a reader that does not read; a file of many names, so that none merge."""
    here, there = folder / "busy-1", folder / "busy-2"
    here.write_bytes(b"content")
    for _ in range(int(MAX_QUEUED_EVENTS.read_text()) // 2 + 2000):
        os.rename(here, there)
        here, there = there, here
    here.unlink()


def is_stopped(pid: int) -> bool:
    """Whether every thread of the process is stopped (proc_pid_stat(5), state T)."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return all((thread / "stat").read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


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
        # A signal takes a moment to reach all threads, and until then the queue is read.
        wait_for(lambda: is_stopped(agent.pid), 30, "the agent to stand still")
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


def test_the_death_of_a_thread_is_logged_and_wakes_the_intake(
    agent_factory: Callable[..., Agent],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In this process, where a thread can be made to die."""
    folder = tmp_path / "outgoing"
    agent = agent_factory(NOBODY_THERE, [{"path": folder, "settle_seconds": 0.2}])
    service = Service(load(agent.config, agent.environment), agent.environment)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    awoken: list[str] = []
    wake = Intake.wake

    def noticed(intake: Intake) -> None:
        awoken.append(threading.current_thread().name)
        wake(intake)

    def die(reader: Reader, event: object) -> None:
        raise KeyError("a race")

    monkeypatch.setattr(Intake, "wake", noticed)
    service.start()
    try:
        wait_for(lambda: ended_scans(service), 30, "the first scan")
        with pytest.MonkeyPatch.context() as broken:
            broken.setattr(Reader, "handle_event", die)
            (folder / "killer").write_bytes(b"content")
            wait_for(lambda: service.status()["watcher"]["restarts"], 30, "the restart")
        wait_for(lambda: taken_of(service) == 1, 30, "the file")
    finally:
        service.stop()
    assert awoken[0] == "inotify"
    assert "the thread inotify ended by an error" in caplog.text


def ended_scans(service: Service) -> bool:
    return all(folder["last_scan_at"] and not folder["scanning"] for folder in service.status()["folders"])


def taken_of(service: Service) -> int:
    jobs = service.status()["jobs"]
    return jobs["pending"] + jobs["uploading"]
