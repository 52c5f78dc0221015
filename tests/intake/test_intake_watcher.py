"""The watcher alone: what it notes, what it does not, and what it says when it can't watch."""

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watchdog.observers import inotify_c
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

from tests.intake.living import make_unreadable
from tests.support.files import wait_for
from tusd_agent.intake.folder import WatchedFolder
from tusd_agent.intake.limits import partly_watched_sentence
from tusd_agent.intake.watcher import Watcher, WatchFailed

SECONDS = 10


class Noted:
    def __init__(self) -> None:
        self.paths: list[bytes] = []
        self.lost = 0
        self.limited: list[str] = []
        self.watcher = Watcher(self.paths.append, self.note_lost, self.limited.append)

    def note_lost(self) -> None:
        self.lost += 1


@pytest.fixture
def noted() -> Iterator[Noted]:
    noted = Noted()
    noted.watcher.start()
    yield noted
    noted.watcher.stop()


def test_reading_and_listing_give_no_note_but_writing_does(noted: Noted, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"content")
    noted.watcher.watch(WatchedFolder(str(tmp_path), "default"))
    (tmp_path / "old").read_bytes()
    os.listdir(tmp_path)
    (tmp_path / "old").chmod(0o600)
    (tmp_path / "new").write_bytes(b"content")
    wait_for(lambda: os.fsencode(tmp_path / "new") in noted.paths, SECONDS, "the note")
    assert os.fsencode(tmp_path / "old") not in noted.paths
    (tmp_path / "old").write_bytes(b"other")
    wait_for(lambda: os.fsencode(tmp_path / "old") in noted.paths, SECONDS, "the note of an overwritten file")


def test_a_file_that_is_moved_out_holds_nothing_up(
    noted: Noted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though watchdog would wait for the other half of a move, here for longer than we wait for the notes."""
    monkeypatch.setattr(InotifyMoveEventGrouper, "delay", 2 * SECONDS)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "leaves").write_bytes(b"content")
    noted.watcher.watch(WatchedFolder(str(folder), "default"))
    (folder / "leaves").rename(tmp_path / "elsewhere")
    (folder / "new").write_bytes(b"content")
    wait_for(lambda: os.fsencode(folder / "new") in noted.paths, SECONDS, "the note of what came after it")
    (folder / "new").rename(folder / "renamed")
    (tmp_path / "elsewhere").rename(folder / "back")
    wait_for(lambda: os.fsencode(folder / "back") in noted.paths, SECONDS, "the note of what is moved in")
    assert os.fsencode(folder / "renamed") in noted.paths


def test_after_unwatch_and_after_stop_nothing_is_noted(noted: Noted, tmp_path: Path) -> None:
    gone, stays = tmp_path / "gone", tmp_path / "stays"
    for path in (gone, stays):
        path.mkdir()
        noted.watcher.watch(WatchedFolder(str(path), "default"))
    noted.watcher.unwatch(str(gone))
    (gone / "a").touch()
    (stays / "b").touch()
    wait_for(lambda: noted.paths, SECONDS, "the note of the other folder")
    assert {os.path.dirname(path) for path in noted.paths} == {os.fsencode(stays)}
    noted.watcher.stop()
    assert not noted.watcher.alive
    noted.watcher.stop()


def test_a_folder_that_is_not_there_or_no_folder_is_said_so(noted: Noted, tmp_path: Path) -> None:
    with pytest.raises(WatchFailed, match=r"nowhere can't be watched: it does not exist"):
        noted.watcher.watch(WatchedFolder(str(tmp_path / "nowhere"), "default"))
    (tmp_path / "file").touch()
    with pytest.raises(WatchFailed, match=r"file can't be watched"):
        noted.watcher.watch(WatchedFolder(str(tmp_path / "file"), "default"))


def test_a_folder_that_may_not_be_read_is_said_so(noted: Noted, tmp_path: Path) -> None:
    make_unreadable(tmp_path / "closed")
    with pytest.raises(WatchFailed, match=r"no permission"):
        noted.watcher.watch(WatchedFolder(str(tmp_path / "closed"), "default"))


def refusing(code: int, from_call: int) -> Callable[[int, bytes, int], int]:
    """inotify_add_watch(2) that fails from its nth call on: the limit is the whole machine's, and not ours to fill."""
    real = inotify_c.inotify_add_watch
    calls = []

    def add_watch(descriptor: int, path: bytes, mask: int) -> int:
        calls.append(path)
        if len(calls) < from_call:
            return int(real(descriptor, path, mask))
        ctypes.set_errno(code)
        return -1

    return add_watch


def test_the_watch_limit_is_named_with_the_number_and_the_way_out(
    noted: Noted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.observers.inotify_c.inotify_add_watch", refusing(errno.ENOSPC, 1))
    limit = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    with pytest.raises(WatchFailed, match=rf"{limit} inotify .* fs.inotify.max_user_watches={2 * limit}"):
        noted.watcher.watch(WatchedFolder(str(tmp_path), "default"))
    assert noted.limited == []


def test_a_directory_below_that_gets_no_watch_is_told(
    noted: Noted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    monkeypatch.setattr("watchdog.observers.inotify_c.inotify_add_watch", refusing(errno.ENOSPC, 2))
    noted.watcher.watch(WatchedFolder(str(tmp_path), "default"))
    assert set(noted.limited) == {str(tmp_path)}
    assert "fs.inotify.max_user_watches" in partly_watched_sentence(str(tmp_path))


def test_an_overflow_of_the_kernels_queue_is_told(noted: Noted, tmp_path: Path) -> None:
    noted.watcher.watch(WatchedFolder(str(tmp_path), "default"))
    raw = struct.pack("iIII", -1, 0x4000, 0, 0)  # IN_Q_OVERFLOW, as inotify(7) gives it
    (parsed,) = inotify_c.InotifyFD._parse_event_buffer(raw)
    assert noted.watcher._reader is not None
    noted.watcher._reader.handle_event(inotify_c.InotifyEvent(*parsed))
    assert (noted.lost, noted.watcher.overflows) == (1, 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reader_that_dies_is_not_alive_and_can_be_started_again(
    noted: Noted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = WatchedFolder(str(tmp_path), "default")
    noted.watcher.watch(folder)

    def die(self: object, event: object) -> None:
        raise KeyError(b"a race")

    with monkeypatch.context() as broken:
        broken.setattr("tusd_agent.intake.inotify.Reader.handle_event", die)
        (tmp_path / "a").touch()
        wait_for(lambda: not noted.watcher.alive, SECONDS, "the reader to die")
    noted.watcher.stop()
    noted.watcher.start()
    noted.watcher.watch(folder)
    (tmp_path / "b").touch()
    wait_for(lambda: os.fsencode(tmp_path / "b") in noted.paths, SECONDS, "a note after the new start")
