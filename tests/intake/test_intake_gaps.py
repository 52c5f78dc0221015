"""Directories that no events come from though they should: found by the scan, watched anew or said."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import inotify_rm_watch

from tests.intake.living import PATIENCE_SECONDS, Living, living
from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import wait_for
from tests.support.namespaces import bind, in_namespaces, mount_tmpfs, unmount
from tusd_agent.intake.inotify import Emitter
from tusd_agent.intake.presence import EXAMPLE_CHARACTERS
from tusd_agent.intake.watcher import PATH_MAX


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Living]:
    with living(tmp_path) as it:
        yield it


def emitter_of(it: Living) -> Emitter:
    emitter = it.intake._presence._watcher._emitter(str(it.path))
    assert emitter is not None
    return emitter


def lose_watch(it: Living, directory: Path) -> None:
    """Takes the watch away in the kernel, as nobody but a bug would."""
    emitter = emitter_of(it)
    group = emitter._inotify
    assert group is not None
    path = os.fsencode(directory.resolve())
    assert inotify_rm_watch(emitter._inotify_fd._inotify_fd, group._active_callbacks_by_path[path]) == 0
    wait_for(lambda: not emitter.has_watch(path), PATIENCE_SECONDS, "the watch to be forgotten")


def tick_through_rescan(it: Living) -> None:
    scanned_at = it.state().last_scan_at
    it.intake.rescan()
    it.tick_until(lambda: it.state().last_scan_at != scanned_at and not it.state().scanning, "a scan")


def test_a_directory_that_lost_its_watch_is_watched_anew(it: Living, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b", "b/c"):
        (it.path / name).mkdir()
    it.tick_until_watched()
    for name in ("a", "b/c"):
        lose_watch(it, it.path / name)
        (it.path / name / "meanwhile").write_bytes(b"content")
    tick_through_rescan(it)
    it.tick_until_names(b"a/meanwhile", b"b/c/meanwhile")
    it.tick_until(lambda: it.intake.health().gaps, "the gaps to be counted")
    assert it.intake.health().gaps == 2
    assert "2 directories below" in caplog.text
    assert it.state().problem is None
    it.assert_events_come(b"a/meanwhile", b"b/c/meanwhile", directory=it.path / "b/c")
    tick_through_rescan(it)
    it.now += 10
    it.intake.tick(it.now)
    assert it.intake.health().gaps == 2
    assert it.intake.health().restarts == 0


def test_a_new_directory_is_no_gap(it: Living) -> None:
    it.tick_until_watched()
    for number in range(20):
        (it.path / f"{number}/deep/down").mkdir(parents=True)
        tick_through_rescan(it)
    it.now += 10
    it.tick_until(lambda: not it.state().scanning, "quiet")
    assert it.intake.health().gaps == 0


def test_a_directory_that_is_gone_again_is_no_gap(it: Living) -> None:
    (it.path / "a").mkdir()
    it.tick_until_watched()
    lose_watch(it, it.path / "a")
    tick_through_rescan(it)
    (it.path / "a").rmdir()
    it.now += 10
    it.tick_until(lambda: not it.state().scanning, "quiet")
    assert it.intake.health().gaps == 0


def test_a_folder_that_lost_its_own_watch_is_watched_at_the_next_look(it: Living) -> None:
    it.tick_until_watched()
    lose_watch(it, it.path)
    (it.path / "meanwhile").write_bytes(b"content")
    it.tick_until_names(b"meanwhile")
    it.assert_events_come(b"meanwhile")


def test_a_folder_removed_and_made_again_with_the_same_number(it: Living) -> None:
    """File systems give the number of a removed directory to the next one; nothing looks different then."""
    (it.path / "old").write_bytes(b"content")
    it.tick_until_watched()
    it.tick_until_names(b"old")
    number = it.path.stat().st_ino
    for _ in range(100):
        shutil.rmtree(it.path)
        it.path.mkdir()
        if it.path.stat().st_ino == number:
            break
    (it.path / "meanwhile").write_bytes(b"content")
    it.tick_until(lambda: b"meanwhile" in it.names(), "the new folder's file")
    it.tick_until(lambda: it.names() == [b"meanwhile"], "the end of the old file's job")
    it.assert_events_come(b"meanwhile")
    assert it.intake.health().restarts == 0


@in_namespaces
def test_a_disk_that_is_unmounted_and_mounted_between_two_looks(it: Living) -> None:
    mount_tmpfs(it.base / "disk")
    bind(it.base / "disk", it.path)
    it.tick_until_watched()
    unmount(it.path)
    bind(it.base / "disk", it.path)
    it.tick_until(lambda: emitter_of(it).has_watch(os.fsencode(it.path)), "its watch to end and come back")
    it.assert_events_come()


def make_deep(folder: Path, name: bytes = b"d" * 240, levels: int = PATH_MAX // 240 + 1) -> bytes:
    """Directories in each other, by default so many that the path of the last one is too long for any call that takes
    a path, and a file in the last one; gives that one's path, relative."""
    relative = []
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=descriptor)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
        relative.append(name)
    file = os.open(b"file", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=descriptor)
    os.write(file, b"deep content")
    os.close(file)
    os.close(descriptor)
    return b"/".join(relative)


def test_a_directory_deeper_than_any_path_reaches(it: Living, caplog: pytest.LogCaptureFixture) -> None:
    deep = make_deep(it.path)
    assert len(os.fsencode(it.path) + b"/" + deep) > PATH_MAX
    it.tick_until_watched()
    it.tick_until_names(deep + b"/file")
    it.tick_until(lambda: it.state().problem, "the problem")
    problem = it.state().problem or ""
    assert " can't be watched (a path may be too long), such as ddd" in problem
    assert "files there are found by scans only" in problem
    assert len(problem) < EXAMPLE_CHARACTERS + 200
    for _ in range(3):
        tick_through_rescan(it)
        it.now += 10
        it.intake.tick(it.now)
        assert it.state().problem == problem
    # It is no gap, and the folder is not watched anew for its sake.
    assert it.intake.health().gaps == 0
    assert "watched anew" not in caplog.text
    it.assert_events_come(deep + b"/file")
    shutil.rmtree(it.path / ("d" * 240))
    tick_through_rescan(it)
    it.tick_until(lambda: it.state().problem is None, "the end of the problem")


@pytest.mark.heavy
@pytest.mark.parametrize("when", ["at the start", "while running"])
def test_directories_nested_more_deeply_than_python_likes(
    it: Living, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda died: None)
    if when == "while running":
        it.tick_until_watched()
        deep = make_deep(it.base, b"d", 1100)
        (it.base / "d").rename(it.path / "d")
    else:
        deep = make_deep(it.path, b"d", 1100)
    it.tick_until_names(deep + b"/file")
    it.now += 2
    it.tick_until(lambda: not it.state().scanning and it.intake.health().alive, "quiet")
    if sys.version_info < (3, 12):
        it.tick_until(lambda: it.state().problem, "the problem")
        assert "can't be watched: its directories are nested too deeply" in (it.state().problem or "")
        assert it.state().mode == "poll (it can't be watched)"
        assert it.intake.health().watches == 1, "only the canary's is left"
    assert it.intake.health().restarts <= 1
    (it.path / "shallow").write_bytes(b"content")
    it.now += 300
    it.tick_until_names(deep + b"/file", b"shallow")
    # shutil.rmtree does not like them either.
    subprocess.run(["rm", "-rf", str(it.path / "d")], check=True)


@pytest.mark.heavy
def test_a_file_deeper_than_any_path_reaches_arrives(
    embedded_server: Server, agent_factory: Callable[..., Agent], tmp_path: Path
) -> None:
    folder = tmp_path / "outgoing"
    folder.mkdir()
    make_deep(folder)
    agent = agent_factory(embedded_server.url, [{"path": folder, "settle_seconds": 0.2}])
    agent.start()
    agent.wait_until(lambda it: it["jobs"]["done"] == 1, 60)
    status = agent.wait_until(lambda it: it["folders"][0]["problem"], 60)
    assert "can't be watched" in status["folders"][0]["problem"]
    (folder / "shallow").write_bytes(b"content")
    agent.wait_until(lambda it: it["jobs"]["done"] == 2, 60)
    agent.stop()
    arrived = sorted(upload.path.read_bytes() for upload in embedded_server.stored())
    assert arrived == [b"content", b"deep content"]
    shutil.rmtree(folder)


@pytest.mark.heavy
def test_a_directory_that_becomes_readable_is_watched(
    embedded_server: Server, agent_factory: Callable[..., Agent], tmp_path: Path
) -> None:
    closed = tmp_path / "outgoing/closed"
    closed.mkdir(parents=True)
    closed.chmod(0)
    settings = {"path": closed.parent, "settle_seconds": 0.2}
    agent = agent_factory(embedded_server.url, [settings], unprivileged=True, rescan_interval_seconds=1)
    agent.start()
    agent.wait_until(lambda it: "the directory closed can't be looked at" in (it["folders"][0]["problem"] or ""), 30)
    closed.chmod(0o755)
    agent.wait_until(lambda it: it["watcher"]["gaps"] == 1, 30)
    canary, folder, opened = 1, 1, 1
    agent.wait_until(lambda it: it["watcher"]["watches"] == canary + folder + opened, 30)
    agent.wait_until(lambda it: it["folders"][0]["problem"] is None, 30)
    (closed / "file").write_bytes(b"content")
    agent.wait_until(lambda it: it["jobs"]["done"] == 1, 30)
    agent.stop()
