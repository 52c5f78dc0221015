"""Many wait for one sync, and nobody returns before the one that covers its commit."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

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
