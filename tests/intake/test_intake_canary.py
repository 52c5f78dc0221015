"""The canary, by which threads are found that live and hear nothing."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import InotifyEvent

from tests.intake.living import PATIENCE_SECONDS, Living, living
from tests.support.files import wait_for
from tests.support.namespaces import in_namespaces, mount_tmpfs
from tusd_agent.intake import watcher
from tusd_agent.intake.canary import INTERVAL_SECONDS, Canary
from tusd_agent.intake.canary import PATIENCE_SECONDS as CANARY_PATIENCE_SECONDS
from tusd_agent.intake.inotify import Reader
from tusd_agent.intake.watcher import Watcher


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Living]:
    with living(tmp_path) as it:
        yield it


def pass_canary(it: Living) -> None:
    """The next canary flies, and comes back."""
    heard_at = it.intake.health().canary_at
    it.now += INTERVAL_SECONDS
    # In small steps: on a busy machine the threads may take longer than the canary's patience otherwise lasts.
    it.tick_until(lambda: it.intake.health().canary_at != heard_at, "the canary", step_seconds=0.01)


def test_a_reader_that_is_deaf_is_found_by_the_canary(it: Living) -> None:
    it.tick_until_watched()
    it.tick_until(lambda: it.intake.health().canary_at, "the first canary")
    pass_canary(it)
    dropped: list[bytes] = []
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(Reader, "handle_event", lambda reader, event: dropped.append(event.name))
        it.now += INTERVAL_SECONDS
        it.intake.tick(it.now)
        (it.path / "meanwhile").write_bytes(b"content")
        it.now += CANARY_PATIENCE_SECONDS - 0.1
        it.intake.tick(it.now)
        assert it.intake.health().alive
        assert it.intake.health().restarts == 0
        wait_for(lambda: {b"file", b"meanwhile"} <= set(dropped), PATIENCE_SECONDS, "the events to be dropped")
    # From here on it hears again, but what it should have heard is lost.
    it.now += 0.2
    it.tick_until(lambda: it.intake.health().restarts == 1, "the restart", step_seconds=0.5)
    it.tick_until_names(b"meanwhile")
    it.assert_events_come(b"meanwhile")
    pass_canary(it)
    assert it.intake.health().restarts == 1


def test_a_canary_that_comes_back_late_because_all_of_us_stood_still_is_not_lost(it: Living) -> None:
    it.tick_until_watched()
    it.tick_until(lambda: it.intake.health().canary_at, "the first canary")
    stopped = threading.Event()
    heard = Reader.handle_event

    def hear_later(reader: Reader, event: InotifyEvent) -> None:
        stopped.wait(PATIENCE_SECONDS)
        heard(reader, event)

    with pytest.MonkeyPatch.context() as slow:
        slow.setattr(Reader, "handle_event", hear_later)
        it.now += INTERVAL_SECONDS
        it.intake.tick(it.now)
        # The whole process is stopped for an hour, and the intake is the first to go on.
        it.now += 3600
        it.intake.tick(it.now)
        heard_at = it.intake.health().canary_at
        stopped.set()
        it.tick_until(lambda: it.intake.health().canary_at != heard_at, "the canary", step_seconds=0.01)
    assert it.intake.health().restarts == 0


def test_a_quiet_hour_has_no_restart_in_it(it: Living) -> None:
    it.tick_until_watched()
    it.tick_until(lambda: it.intake.health().canary_at, "the first canary")
    for _ in range(60):
        pass_canary(it)
    assert it.intake.health().restarts == 0
    assert it.intake.health().gaps == 0


def test_the_canarys_directory_goes_at_the_stop(it: Living) -> None:
    it.start()
    directory = it.base / "run/canary"
    wait_for(lambda: it.intake.health().canary_at, PATIENCE_SECONDS, "the canary")
    assert os.listdir(directory) == ["file"]
    it.stop()
    assert not directory.exists()


def test_the_canarys_directory_goes_at_the_stop_even_when_it_never_flew(
    it: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watcher, "watch_directory", lambda *arguments: die_of_a_limit())
    it.start_and_scan()
    assert (it.base / "run/canary").exists()
    it.stop()
    assert not (it.base / "run/canary").exists()


def die_of_a_limit() -> None:
    raise watcher.WatchFailed("no watch for it")


def remove(directory: Path) -> None:
    shutil.rmtree(directory)


def remove_and_make_again(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.mkdir()


def move_away(directory: Path) -> None:
    directory.rename(directory.parent / "away")


@pytest.mark.parametrize("does", [remove, remove_and_make_again, move_away])
def test_a_canary_whose_directory_somebody_takes_away_comes_back(it: Living, does: Callable[[Path], None]) -> None:
    it.tick_until_watched()
    it.tick_until(lambda: it.intake.health().canary_at, "the first canary")
    does(it.base / "run/canary")
    heard_at = it.intake.health().canary_at
    it.now += INTERVAL_SECONDS
    it.tick_until(lambda: it.intake.health().canary_at != heard_at, "the canary")
    pass_canary(it)
    assert it.intake.health().alive
    assert it.intake.health().restarts == 0


@in_namespaces
def test_a_full_disk_under_the_canary_does_no_harm(it: Living) -> None:
    run = it.base / "run"
    mount_tmpfs(run, "nr_inodes=2")  # the top directory and the canary's: no room for its file
    it.tick_until_watched()
    for _ in range(10):
        it.now += INTERVAL_SECONDS
        it.tick_until(lambda: it.intake.tick(it.now) > 0.0, "a tick with nothing to do", step_seconds=2.0)
    assert (run / "canary").exists()
    assert not (run / "canary/file").exists()
    assert it.intake.health().restarts == 0
    assert it.intake.health().alive
    it.assert_events_come()


def test_a_canary_that_could_not_be_sent_is_not_lost(tmp_path: Path) -> None:
    canary = Canary(tmp_path, time.time)
    with pytest.raises(FileNotFoundError):
        canary.fly(100.0)
    assert canary.next_due() == 100.0 + INTERVAL_SECONDS
    assert not canary.fly(100.0 + CANARY_PATIENCE_SECONDS)
    canary.prepare()
    (tmp_path / "canary/file").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        canary.fly(1000.0)
    assert not (tmp_path / "elsewhere").exists()
