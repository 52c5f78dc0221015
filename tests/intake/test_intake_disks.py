"""On which disk a folder lies, and polling where events can't be relied on."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.intake.living import PATIENCE_SECONDS, Living, living
from tests.support.files import wait_for
from tests.support.namespaces import in_namespaces, mount_tmpfs
from tusd_agent.intake import disks
from tusd_agent.intake.disks import is_unmounted
from tusd_agent.jobs.states import State


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Living]:
    with living(tmp_path) as it:
        yield it


@in_namespaces
def test_the_top_of_a_disk_is_found_beneath_a_link(tmp_path: Path) -> None:
    disk = tmp_path / "a disk"
    mount_tmpfs(disk)
    (disk / "sub").mkdir()
    (tmp_path / "link").symlink_to(disk)
    assert disks.disk_root(str(tmp_path / "link" / "sub")) == os.fsencode(disk)


@pytest.mark.parametrize(
    ("remembered", "found", "expected"),
    [
        (None, None, False),
        (None, b"/mnt", False),
        (b"/mnt", b"/mnt", False),
        (b"/mnt", None, True),
        (b"/mnt/a/b", b"/mnt/a", True),
        (b"/mnt/a", b"/mnt/a/b", False),
        (b"/mnt/ab", b"/mnt/a", False),
    ],
)
def test_a_disk_is_missed_where_only_the_one_beneath_it_is_left(
    remembered: bytes | None, found: bytes | None, expected: bool
) -> None:
    assert is_unmounted(remembered, found) is expected


def test_polling_finds_new_changed_and_deleted_files_without_a_single_watch(it: Living) -> None:
    it.build(watch="poll", poll_interval_seconds=1.0)
    it.tick_until(lambda: it.state().last_scan_at, "the first scan")
    assert (it.state().mode, it.state().problem) == ("poll (as set)", None)
    assert it.intake.health().watches == 0
    assert inotify_descriptors() == []
    (it.path / "sub").mkdir()
    for name in ("a", "sub/b", "c"):
        (it.path / name).write_bytes(b"content")
    it.tick_until_names(b"a", b"c", b"sub/b")
    (it.path / "a").write_bytes(b"other content")
    it.tick_until(lambda: it.names(State.SUPERSEDED) == [b"a"], "the changed file")
    (it.path / "c").unlink()
    shutil.rmtree(it.path / "sub")
    it.tick_until(lambda: it.names(State.VANISHED) == [b"c", b"sub/b"], "the deleted files")
    assert it.names() == [b"a"]
    assert not it.intake.health().alive
    assert inotify_descriptors() == []


def inotify_descriptors() -> list[str]:
    """Those of this process."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue
    return [link for link in links if "inotify" in link]


@pytest.mark.parametrize(
    ("kind", "watch", "mode"),
    [
        ("nfs4", "auto", "poll (nfs4 does not tell of all changes)"),
        ("fuse.sshfs", "auto", "poll (fuse.sshfs does not tell of all changes)"),
        ("nfs4", "inotify", "inotify"),
        ("ext4", "auto", "inotify"),
        (None, "auto", "inotify"),
        ("ext4", "poll", "poll (as set)"),
    ],
)
def test_the_mode_follows_from_setting_and_file_system(
    it: Living, monkeypatch: pytest.MonkeyPatch, kind: str | None, watch: str, mode: str
) -> None:
    monkeypatch.setattr("tusd_agent.intake.presence.file_system_type", lambda path: kind)
    it.build(watch=watch)
    it.tick_until(lambda: it.state().last_scan_at, "the first scan")
    assert it.state().mode == mode
    assert (it.intake.health().watches > 0) is (mode == "inotify")


@pytest.mark.parametrize(
    ("polled", "scan_seconds", "expected"),
    [
        (True, 0.01, 10.0),
        (True, 1.0, 10.0),
        (True, 5.0, 50.0),
        # Not even the interval of all folders makes it more.
        (True, 1000.0, 10_000.0),
        (False, 5.0, 3600.0),
    ],
)
def test_a_tenth_of_the_time_at_most_goes_into_polling(
    it: Living, polled: bool, scan_seconds: float, expected: float
) -> None:
    it.build(watch="poll", poll_interval_seconds=10.0)
    (followed,) = it.intake._followed.values()
    followed.polled_because = "as set" if polled else None
    assert followed.scan_interval_seconds(scan_seconds) == expected


def test_a_slow_scan_is_followed_by_a_pause_as_long_as_nine_of_it(it: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    it.build(watch="poll", poll_interval_seconds=1.0)
    (followed,) = it.intake._followed.values()
    begun: list[float] = []
    begin = followed._begin_scan

    def slow(now: float) -> None:
        was = followed._scan
        begin(now)
        if was is None and followed._scan is not None:
            begun.append(now)
            it.now += 20  # so long it takes

    monkeypatch.setattr(followed, "_begin_scan", slow)
    it.tick_until(lambda: len(begun) > 4, "some scans", step_seconds=10.0)
    assert all(later - earlier >= 20 + 9 * 20 for earlier, later in pairwise(begun))


@in_namespaces
def test_a_folder_on_fuse_is_polled_by_itself(it: Living) -> None:
    if shutil.which("bindfs") is None:
        pytest.skip("bindfs is not installed: it makes the file system in user space that this is about")
    behind = it.base / "behind"
    behind.mkdir()
    subprocess.run(["bindfs", "--no-allow-other", str(behind), str(it.path)], check=True)
    try:
        it.build(poll_interval_seconds=1.0)
        it.tick_until(lambda: it.state().last_scan_at, "the first scan")
        assert it.state().mode.startswith("poll (fuse")
        (behind / "a").write_bytes(b"content")
        it.tick_until_names(b"a")
        (behind / "a").unlink()
        it.tick_until(lambda: it.names(State.VANISHED) == [b"a"], "the deleted file")
    finally:
        it.intake.close()
        subprocess.run(["umount", "--lazy", str(it.path)], check=True)


def test_the_polling_thread_waits_in_between(it: Living) -> None:
    """A running intake: its ticks are counted, and they are few."""
    it.build(watch="poll", poll_interval_seconds=0.5, look_again_seconds=5.0)
    ticks: list[float] = []
    tick = it.intake.tick

    def counted(now: float) -> float:
        ticks.append(now)
        return tick(now)

    it.intake.tick = counted  # type: ignore[method-assign]
    it.start()
    wait_for(lambda: ticks and ticks[-1] - ticks[0] > 2.0, PATIENCE_SECONDS, "two seconds")
    # A scan is three ticks or so, and there are five at most.
    assert len(ticks) < 40
