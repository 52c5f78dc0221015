"""What goes with a file that was deleted or moved: its marker, and the folders that it leaves empty."""

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from tests.support.files import wait_for
from tusd_agent.delivery.disposal import dispose
from tusd_agent.delivery.emptying import EmptyFolders
from tusd_agent.delivery.rules import FolderRules
from tusd_agent.jobs.model import Job

from .test_files import job_of

GO_ON = threading.Event()
SETTLE_SECONDS = 10.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out" / "a" / "b" / "c").mkdir(parents=True)
    return tmp_path / "out"


class Clock:
    """Wall clock and monotonic clock: the system's, and as far ahead of it as a test wants."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def empty(clock: Clock) -> EmptyFolders:
    return EmptyFolders(clock=clock, monotonic=clock)


def directories(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir())


def grow_old(folder: Path) -> None:
    """Nothing was created in or taken from any directory for an hour."""
    for path in folder.rglob("*"):
        if path.is_dir():
            os.utime(path, (time.time() - 3600,) * 2)


def test_folders_that_became_empty_are_removed_upwards_but_not_the_watched_one(
    folder: Path, empty: EmptyFolders, clock: Clock
) -> None:
    grow_old(folder)
    empty.note(str(folder), b"a/b/c", SETTLE_SECONDS)
    empty.run_once()
    assert directories(folder) == ["a", "a/b", "a/b/c"], "it has yet to settle"
    clock.ahead += SETTLE_SECONDS
    empty.run_once()
    assert directories(folder) == []
    assert folder.is_dir()
    empty.note(str(folder), b"", SETTLE_SECONDS)
    clock.ahead += SETTLE_SECONDS
    empty.run_once()
    assert folder.is_dir()


def test_a_folder_that_is_not_empty_stays_with_all_above_it(folder: Path, empty: EmptyFolders, clock: Clock) -> None:
    (folder / "a" / "kept").touch()
    grow_old(folder)
    empty.note(str(folder), b"a/b/c", SETTLE_SECONDS)
    clock.ahead += SETTLE_SECONDS
    empty.run_once()
    assert directories(folder) == ["a"]
    assert (folder / "a" / "kept").exists()


def test_a_young_folder_stays_until_it_had_rest(folder: Path, empty: EmptyFolders, clock: Clock) -> None:
    empty.note(str(folder), b"a/b/c", SETTLE_SECONDS)
    clock.ahead += SETTLE_SECONDS
    grow_old(folder)
    # Somebody made a file in it and took it away again: another may follow.
    os.utime(folder / "a" / "b", (clock(), clock()))
    empty.run_once()
    assert directories(folder) == ["a", "a/b"]
    clock.ahead += SETTLE_SECONDS
    empty.run_once()
    assert directories(folder) == []


def test_each_file_that_goes_begins_the_wait_anew(folder: Path, empty: EmptyFolders, clock: Clock) -> None:
    grow_old(folder)
    for _ in range(3):
        empty.note(str(folder), b"a/b/c", SETTLE_SECONDS)
        clock.ahead += SETTLE_SECONDS / 2
        empty.run_once()
    assert directories(folder) == ["a", "a/b", "a/b/c"]
    clock.ahead += SETTLE_SECONDS / 2
    empty.run_once()
    assert directories(folder) == []


def test_no_link_is_followed(folder: Path, empty: EmptyFolders, clock: Clock, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "b" / "c").mkdir(parents=True)
    (folder / "a" / "b" / "c").rmdir()
    (folder / "a" / "b").rmdir()
    (folder / "a").rmdir()
    (folder / "a").symlink_to(outside)
    (folder / "link").symlink_to(outside / "b" / "c")
    grow_old(outside)
    for directory in (b"a/b/c", b"a", b"link", b"a/../../outside/b/c"):
        empty.note(str(folder), directory, SETTLE_SECONDS)
    clock.ahead += 100 * SETTLE_SECONDS
    empty.run_once()
    assert (outside / "b" / "c").is_dir()
    assert (folder / "a").is_symlink()
    assert (folder / "link").is_symlink()


def test_a_folder_that_is_gone_or_a_file_now_is_no_trouble(folder: Path, empty: EmptyFolders, clock: Clock) -> None:
    (folder / "a" / "b" / "c").rmdir()
    (folder / "a" / "b" / "c").touch()
    for directory in (b"a/b/c", b"x/y"):
        empty.note(str(folder), directory, SETTLE_SECONDS)
    clock.ahead += 100 * SETTLE_SECONDS
    empty.run_once()
    assert (folder / "a" / "b" / "c").is_file()


def test_its_thread_does_it_and_stops(folder: Path) -> None:
    empty = EmptyFolders()
    empty.start()
    grow_old(folder)
    empty.note(str(folder), b"a/b/c", 0.1)
    wait_for(lambda: not directories(folder), 10, "the folders are removed")
    empty.note(str(folder), b"a", 3600)
    begun = time.monotonic()
    empty.stop()
    assert time.monotonic() - begun < 5


# Markers.


@pytest.fixture
def sent(folder: Path) -> tuple[Path, Job]:
    path = folder / "a" / "file"
    path.write_bytes(b"content")
    job = job_of(path, folder, digest=hashlib.sha256(b"content").digest())
    path.with_name("file.done").touch()
    return path, job._replace(delivered_at=time.time() + 1)


def marked(folder: Path, **rules: str) -> FolderRules:
    return FolderRules(str(folder), marker_suffix=".done", **rules)  # type: ignore[arg-type]  # literals


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_marker_of_a_deleted_file_is_deleted(folder: Path, sent: tuple[Path, Job]) -> None:
    path, job = sent
    path.with_name("other.done").touch()
    assert dispose(job, marked(folder, after_upload="delete"), GO_ON).words == "deleted"
    assert names(path.parent) == ["b", "other.done"]


def test_the_marker_of_a_moved_file_is_deleted(folder: Path, sent: tuple[Path, Job], tmp_path: Path) -> None:
    path, job = sent
    dispose(job, marked(folder, after_upload="move", move_to=str(tmp_path / "sent")), GO_ON)
    assert names(path.parent) == ["b"]
    assert names(tmp_path / "sent" / "a") == ["file"]


def test_without_the_contract_it_is_a_file_like_any_other(folder: Path, sent: tuple[Path, Job]) -> None:
    path, job = sent
    dispose(job, FolderRules(str(folder), after_upload="delete"), GO_ON)
    assert names(path.parent) == ["b", "file.done"]


def test_after_a_crash_between_the_two_the_marker_goes_too(folder: Path, sent: tuple[Path, Job]) -> None:
    path, job = sent
    path.unlink()
    assert "gone already" in dispose(job, marked(folder, after_upload="delete"), GO_ON).words
    assert names(path.parent) == ["b"]
    # The marker lay aside already.
    path.with_name(os.fsdecode(job.aside_name) + ".marker").touch()
    dispose(job, marked(folder, after_upload="delete"), GO_ON)
    assert names(path.parent) == ["b"]


def test_a_marker_set_after_the_delivery_is_of_newer_content_and_stays(folder: Path, sent: tuple[Path, Job]) -> None:
    path, job = sent
    marker = path.with_name("file.done")
    dispose(job._replace(delivered_at=marker.stat().st_ctime - 1), marked(folder, after_upload="delete"), GO_ON)
    assert names(path.parent) == ["b", "file.done"]


def test_a_marker_stays_with_newer_content(folder: Path, sent: tuple[Path, Job]) -> None:
    path, job = sent
    path.write_bytes(b"newer")
    dispose(job, marked(folder, after_upload="delete"), GO_ON)
    assert names(path.parent) == ["b", "file", "file.done"]


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_only_a_regular_file_is_a_marker(folder: Path, sent: tuple[Path, Job], tmp_path: Path, kind: str) -> None:
    path, job = sent
    marker = path.with_name("file.done")
    marker.unlink()
    if kind == "link":
        marker.symlink_to(tmp_path)
    else:
        marker.mkdir()
    dispose(job, marked(folder, after_upload="delete"), GO_ON)
    assert names(path.parent) == ["b", "file.done"]
