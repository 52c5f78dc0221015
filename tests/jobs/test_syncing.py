"""Many wait for one sync, and nobody returns before the one that covers its commit."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tusd_agent.jobs import syncing
from tusd_agent.jobs.database import Database, DatabaseUnwritable
from tusd_agent.jobs.syncing import LogSync


class Disk:
    """Stands for fdatasync(2): each call waits until it is let go, and is counted once it has ended."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.ended = 0

    def fdatasync(self, descriptor: int) -> None:
        self.begun.release()
        assert self.go_on.acquire(timeout=10)
        self.ended += 1


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "fdatasync", disk.fdatasync)
    return disk


@pytest.fixture
def log(tmp_path: Path) -> LogSync:
    (tmp_path / "queue.db-wal").touch()
    log = LogSync(tmp_path / "queue.db")
    log.open()
    return log


def test_those_that_come_while_a_sync_runs_share_the_next(disk: Disk, log: LogSync) -> None:
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(log.wait, log.committed())
        assert disk.begun.acquire(timeout=10)
        others = [pool.submit(log.wait, log.committed()) for _ in range(4)]
        disk.go_on.release()
        first.result(10)
        assert disk.begun.acquire(timeout=10)
        assert not any(other.done() for other in others), "the first sync may have been before their commits"
        disk.go_on.release()
        for other in others:
            other.result(10)
    assert disk.ended == 2


class Naps:
    """Stands for the pauses of a sync; `meanwhile` is what happens in them."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.count = 0
        self._meanwhile = meanwhile

    def __call__(self, seconds: float) -> None:
        self.count += 1
        self._meanwhile()


def in_another_thread(call: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(call).result(10)


def test_who_makes_commits_alone_waits_for_nobody(log: LogSync, monkeypatch: pytest.MonkeyPatch) -> None:
    naps = Naps()
    monkeypatch.setattr(time, "sleep", naps)
    for _ in range(3):
        log.wait(log.committed())
    assert naps.count == 0


def test_in_a_crowd_a_sync_waits_for_the_next_commits(
    disk: Disk, log: LogSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[int] = []
    naps = Naps(lambda: commits.append(log.committed()))
    monkeypatch.setattr(syncing, "CROWDED_SECONDS", 60.0)
    monkeypatch.setattr(time, "sleep", naps)
    for _ in range(2):
        disk.go_on.release()
    in_another_thread(lambda: log.wait(log.committed()))
    log.wait(log.committed())
    assert (naps.count, disk.ended) == (1, 2)
    log.wait(commits[0])
    assert (naps.count, disk.ended) == (1, 2), "the sync covered what was committed while it waited"


def test_a_crowd_that_has_gone_is_not_waited_for(log: LogSync, monkeypatch: pytest.MonkeyPatch) -> None:
    naps = Naps()
    monkeypatch.setattr(syncing, "CROWDED_SECONDS", 0.0)
    monkeypatch.setattr(time, "sleep", naps)
    in_another_thread(lambda: log.wait(log.committed()))
    log.wait(log.committed())
    assert naps.count == 0


def test_a_sync_that_fails_is_trouble_with_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    database = Database(tmp_path / "queue.db")
    database.open()
    with monkeypatch.context() as failing:
        failing.setattr(os, "fdatasync", fails)
        with database.transaction():
            pass
        with pytest.raises(DatabaseUnwritable, match="fails: look at that disk"), database.transaction(durable=True):
            pass
    assert database.trouble is not None
    database.ensure_writable()
    assert database.trouble is None
    database.close()
