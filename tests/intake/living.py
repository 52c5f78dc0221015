"""A running intake with a real queue: what the tests of this room are made with."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.files import wait_for
from tusd_agent.intake.folder import FolderState, WatchedFolder
from tusd_agent.intake.intake import Intake
from tusd_agent.jobs.claims import Claims
from tusd_agent.jobs.database import Database
from tusd_agent.jobs.folders import Folders
from tusd_agent.jobs.ledger import Ledger
from tusd_agent.jobs.model import Job, Lane, Sent
from tusd_agent.jobs.rows import SELECT_JOB, job_of
from tusd_agent.jobs.states import State

SETTLE_SECONDS = 0.15
PATIENCE_SECONDS = 15.0


class Living:
    """A watched folder, its queue, and an intake that runs between `start` and `stop`."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.path = base / "out"
        self.path.mkdir(exist_ok=True)
        self.database = Database(base / "queue.db")
        self.database.open()
        self.ledger = Ledger(self.database)
        self.claims = Claims(self.database)
        self.now = 1000.0
        """The instant of the next tick that `tick_until` makes."""
        self._ticks = False
        self.intake = self.build()

    def build(self, path: Path | None = None, look_again_seconds: float = 0.1, **rules: object) -> Intake:
        """The intake of the folder, with these settings; it replaces the present one."""
        settings = {"settle_seconds": SETTLE_SECONDS, **rules}
        folder = WatchedFolder(str(path or self.path), "default", **settings)  # type: ignore[arg-type]
        self.intake = Intake(
            [folder],
            self.ledger,
            memory=Folders(self.database),
            rescan_interval_seconds=3600,
            canary_folder=self.base / "run",
            monotonic=lambda: self.now if self._ticks else time.monotonic(),
            look_again_seconds=look_again_seconds,
            retry_seconds=0.2,
        )
        return self.intake

    def start(self) -> None:
        """Runs, without waiting for anything."""
        self.intake.start()

    def start_and_scan(self) -> None:
        """Runs, and waits until the first scan is over: what happens from now on is seen by events only."""
        self.start()
        self.wait_for_scan()

    def wait_for_scan(self, after: float = 0.0) -> FolderState:
        """Waits until a scan has ended later than `after` (since the epoch) and none runs."""
        wait_for(
            lambda: not self.state().scanning and (self.state().last_scan_at or 0.0) > after, PATIENCE_SECONDS, "a scan"
        )
        return self.state()

    def rescan(self) -> FolderState:
        """Has the folder scanned, and waits until that is over."""
        after = self.state().last_scan_at or 0.0
        assert self.intake.rescan() == [str(self.path)]
        return self.wait_for_scan(after)

    def stop(self) -> None:
        self.intake.stop()

    def tick_until(self, predicate: Callable[[], object], what: str, step_seconds: float = 0.1) -> None:
        """Instead of `start`: ticks, at instants `step_seconds` apart, until `predicate` holds.

        Only the watcher's threads need real time then; minutes pass as a test wants them to: see `now`.
        """

        self._ticks = True

        def ticked() -> object:
            self.intake.tick(self.now)
            self.now += step_seconds
            return predicate()

        try:
            wait_for(ticked, PATIENCE_SECONDS, what)
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.state()}, {self.intake.health()}") from None

    def tick_until_watched(self) -> None:
        """Ticks until the first scan is over; from then on events tell of what happens."""
        self.tick_until(lambda: self.state().last_scan_at and not self.state().scanning, "the first scan")
        assert self.state().mode == "inotify"

    def assert_events_come(self, *names: bytes, directory: Path | None = None) -> None:
        """What is written there (in the folder) now is found, and by no scan. `names`: what is pending already."""
        directory = directory or self.path
        self.tick_until(lambda: not self.state().scanning, "the end of the scan")
        scanned_at = self.state().last_scan_at
        (directory / "by-event").write_bytes(b"content")
        self.tick_until_names(*names, os.fsencode(directory.relative_to(self.path) / "by-event"))
        assert self.state().last_scan_at == scanned_at, "found by a scan"

    def tick_until_names(self, *names: bytes) -> None:
        """Ticks until the pending jobs are those of exactly these paths."""
        self.tick_until(lambda: self.names() == sorted(names), f"{names}")

    def state(self) -> FolderState:
        (state,) = self.intake.folder_states()
        return state

    def jobs(self) -> list[Job]:
        """All jobs, the oldest first."""
        with self.database.reading() as connection:
            return [job_of(row) for row in connection.execute(f"{SELECT_JOB} ORDER BY j.id")]

    def names(self, state: State = State.PENDING) -> list[bytes]:
        """The paths of the jobs in a state, sorted."""
        return sorted(job.place.relative for job in self.jobs() if job.state is state)

    def wait_for_names(self, *names: bytes, state: State = State.PENDING) -> None:
        """Waits until the jobs in `state` are those of exactly these paths."""
        wanted = sorted(names)
        try:
            wait_for(lambda: self.names(state) == wanted, PATIENCE_SECONDS, "")
        except AssertionError:
            raise AssertionError(
                f"wanted {wanted}, got {[(job.place.relative, job.state) for job in self.jobs()]}, {self.state()}"
            ) from None

    def wait_until_names_include(self, name: bytes) -> None:
        """Waits until a job of this path is pending."""
        wait_for(lambda: name in self.names(), PATIENCE_SECONDS, f"{name!r} among {self.names()}")

    def wait_until_settled(self, unsettled: int = 0) -> None:
        """Waits until a file that comes after everything else has been taken and only `unsettled` files settle."""
        marker = b"marker-%d" % len(self.jobs())
        (self.path / marker.decode()).write_bytes(b"marker")
        wait_for(lambda: marker in self.names(), PATIENCE_SECONDS, "the marker")
        wait_for(lambda: self.state().settling == unsettled and not self.state().scanning, PATIENCE_SECONDS, "quiet")

    def wait_until_settled_without_marker(self) -> None:
        """Waits until nothing settles; for folders whose rules a marker would not meet."""
        after = self.state().last_scan_at or 0.0
        self.rescan()
        wait_for(
            lambda: self.state().settling == 0 and (self.state().last_scan_at or 0.0) > after, PATIENCE_SECONDS, "quiet"
        )

    def send_all(self, digests: dict[bytes, bytes] | None = None) -> None:
        """Marks every waiting job done, as a worker does, with the digests given by path."""
        while job := self.claims.claim(Lane(str(self.path), "default"), 1e12):
            sent = Sent(job.fingerprint, (digests or {}).get(job.place.relative))
            self.claims.finish(self.claims.created(job, "http://localhost/files/1"), 1e9, sent=sent)


def make_unreadable(path: Path) -> None:
    """Makes a directory that we may not read; skips the test where nothing is kept from us (CAP_DAC_OVERRIDE)."""
    path.mkdir(mode=0)
    if os.access(path, os.R_OK):
        pytest.skip("we may read everything")


@contextmanager
def living(base: Path) -> Iterator[Living]:
    """What a test uses; stopped and closed at its end."""
    # A lease that is broken in the moment it is held would kill us, as it would the agent, which ignores it too.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    it = Living(base)
    try:
        yield it
    finally:
        it.stop()
        it.intake.close()
        it.database.close()
