"""The threads that read events: dead, hanging, not to be had."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.intake.living import PATIENCE_SECONDS, Living, living
from tests.support.files import wait_for
from tusd_agent.intake import watcher
from tusd_agent.intake.folder import WatchedFolder
from tusd_agent.intake.inotify import Emitter, Reader
from tusd_agent.intake.watcher import Watcher, _Forward

Break = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Living]:
    with living(tmp_path) as it:
        yield it


@pytest.fixture(autouse=True)
def _deaths_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda died: None)


def die(*arguments: object, **named: object) -> None:
    raise KeyError("a race")


def the_reader_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reader, "handle_event", die)


def the_emitter_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Emitter, "build_and_queue_event", die)


def the_dispatcher_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Forward, "dispatch", die)


def write(it: Living, name: str) -> None:
    (it.path / name).write_bytes(name.encode())


def has_died(it: Living) -> bool:
    return not it.intake.health().alive


@pytest.mark.parametrize("breaks", [the_reader_dies, the_emitter_dies, the_dispatcher_dies])
def test_a_thread_that_dies_is_replaced_and_what_came_meanwhile_arrives(it: Living, breaks: Break) -> None:
    it.tick_until_watched()
    with pytest.MonkeyPatch.context() as broken:
        breaks(broken)
        write(it, "killer")
        wait_for(lambda: has_died(it), PATIENCE_SECONDS, "the death")
    write(it, "meanwhile")
    it.tick_until_names(b"killer", b"meanwhile")
    assert it.intake.health().restarts == 1
    # At once, but for threads that lived less than a second.
    it.tick_until(lambda: it.state().mode == "inotify", "the folder to be watched again")
    assert it.state().problem is None
    it.assert_events_come(b"killer", b"meanwhile")
    assert it.intake.health().restarts == 1


def test_a_death_is_seen_at_once_by_who_is_told_of_it(it: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    it.build(look_again_seconds=3600)
    monkeypatch.setattr(threading, "excepthook", lambda died: it.intake.wake())
    it.start_and_scan()
    with pytest.MonkeyPatch.context() as broken:
        the_reader_dies(broken)
        write(it, "killer")
        wait_for(lambda: it.intake.health().restarts, PATIENCE_SECONDS, "the restart")
    it.wait_until_names_include(b"killer")


@pytest.mark.heavy
def test_threads_that_die_again_and_again_are_not_started_in_a_circle(it: Living) -> None:
    it.tick_until_watched()
    begun = it.now
    with pytest.MonkeyPatch.context() as broken:
        the_reader_dies(broken)
        write(it, "killer")
        # From here on the canary alone kills each new reader.
        it.tick_until(lambda: it.intake.health().restarts >= 3, "some restarts")
        assert it.state().mode in ("inotify", "poll (no events to be had)")
        it.tick_until(lambda: it.state().mode == "poll (no events to be had)", "polling in between")
        assert it.state().problem == "the threads that read file events ended; they are started again soon"
        write(it, "meanwhile")
        it.tick_until_names(b"killer", b"meanwhile")
        it.tick_until(lambda: it.now > begun + 100, "some more restarts", step_seconds=1.0)
        # 1 + 2 + 4 + … seconds apart.
        assert it.intake.health().restarts <= 8
    it.now += 200
    it.tick_until(lambda: it.state().mode == "inotify", "the end of it")
    it.assert_events_come(b"killer", b"meanwhile")


def test_a_folder_that_goes_costs_the_other_folders_nothing(it: Living) -> None:
    """The thread of a folder ends with it: that is no trouble of the watcher's."""
    it.tick_until_watched()
    watching = it.intake._presence._watcher
    other = it.base / "other"
    other.mkdir()
    watching.watch(WatchedFolder(str(other), "default"))
    other.rmdir()
    wait_for(lambda: not watching.is_watched(str(other)), PATIENCE_SECONDS, "its watch to end")
    assert watching.alive
    it.tick_until(lambda: not it.state().scanning, "quiet")
    scanned_at = it.state().last_scan_at
    it.assert_events_come()
    assert it.state().last_scan_at == scanned_at
    assert it.intake.health().restarts == 0


def test_threads_that_hang_do_not_hold_up_the_stop(
    it: Living, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watcher, "STOP_SECONDS", 0.1)
    freed = threading.Event()
    hangs = threading.Event()

    def hang(emitter: Emitter) -> None:
        hangs.set()
        freed.wait(PATIENCE_SECONDS)

    it.tick_until_watched()
    begun = time.monotonic()
    with pytest.MonkeyPatch.context() as slow:
        slow.setattr(Emitter, "on_thread_stop", hang)
        it.intake.close()
        assert time.monotonic() - begun < PATIENCE_SECONDS
        assert hangs.is_set()
        assert not it.intake.health().alive
        freed.set()
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "The threads that read file events hang and are left behind"
    ]


def test_no_thread_to_be_had_is_said_and_tried_again(it: Living) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if isinstance(thread, Emitter):
            raise RuntimeError("can't start new thread")
        start(thread)

    with pytest.MonkeyPatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        it.tick_until(lambda: it.state().mode == "poll (it can't be watched)", "the mode")
        assert "can't start new thread. Raise TasksMax= of the unit" in (it.state().problem or "")
        assert it.intake.health().watches == 0
    it.now += 60
    it.tick_until(lambda: it.state().mode == "inotify", "the next try")
    it.assert_events_come()


def test_a_watcher_that_can_not_start_leaves_no_descriptor_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    for _ in range(5):
        with pytest.raises(watcher.WatchFailed, match="can't start new thread"):
            Watcher(print).start()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_watch_under_a_name_that_another_took_over_does_not_break_the_end(tmp_path: Path) -> None:
    """A directory renamed and replaced at once leaves two watches under one name; watchdog's own code then fails."""
    watching = Watcher(print)
    watching.start()
    try:
        watching.watch(WatchedFolder(str(tmp_path), "default"))
        emitter = watching._emitter(str(tmp_path))
        assert emitter is not None
        group = emitter._inotify
        assert group is not None
        (descriptor,) = group._active_callbacks_by_watch
        group._active_callbacks_by_path.clear()
        watching.unwatch(str(tmp_path))
        assert descriptor not in group._active_callbacks_by_watch
        assert watching.alive
        assert watching.watches == 0
    finally:
        watching.stop()
