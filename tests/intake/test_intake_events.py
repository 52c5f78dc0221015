"""Files that come while the agent runs: every way in which a file can appear, found by events alone."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.intake.living import Living, living
from tests.support.files import wait_for
from tusd_agent import beneath
from tusd_agent.jobs.states import State


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Living]:
    with living(tmp_path) as it:
        yield it


def test_a_file_written_here(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a.csv").write_bytes(b"content")
    it.wait_for_names(b"a.csv")
    (job,) = it.jobs()
    assert (job.size_bytes, job.endpoint, job.fingerprint.inode) == (7, "default", (it.path / "a.csv").stat().st_ino)


def test_a_file_renamed_in_from_outside(it: Living) -> None:
    it.start_and_scan()
    (it.base / "made").write_bytes(b"content")
    os.rename(it.base / "made", it.path / "a")
    it.wait_for_names(b"a")


def test_a_file_is_taken_when_it_gets_its_final_name(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a.part").write_bytes(b"content")
    (it.path / ".a").write_bytes(b"content")
    it.wait_until_settled()
    assert b"a.part" not in [job.place.relative for job in it.jobs()]
    os.rename(it.path / "a.part", it.path / "a")
    it.wait_for_names(b"a", b"marker-0")
    assert len(it.jobs()) == 2


def test_a_file_that_is_linked_into_place(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a.tmp").write_bytes(b"content")
    os.link(it.path / "a.tmp", it.path / "a")
    os.unlink(it.path / "a.tmp")
    it.wait_for_names(b"a")


def test_a_second_name_of_a_file_is_another_job(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    it.wait_for_names(b"a")
    os.link(it.path / "a", it.path / "b")
    it.wait_for_names(b"a", b"b")


def test_a_whole_tree_that_is_moved_in_and_what_is_written_there_later(it: Living) -> None:
    it.start_and_scan()
    names = [f"{a}/{b}/file" for a in "xyz" for b in "12"]
    for name in names:
        (it.base / "tree" / name).parent.mkdir(parents=True)
        (it.base / "tree" / name).write_bytes(b"content")
    os.rename(it.base / "tree", it.path / "tree")
    it.wait_for_names(*(f"tree/{name}".encode() for name in names))
    (it.path / "tree/x/1/late").write_bytes(b"content")
    it.wait_for_names(b"tree/x/1/late", *(f"tree/{name}".encode() for name in names))


def test_directories_made_and_filled_at_once(it: Living) -> None:
    it.start_and_scan()
    for number in range(50):
        directory = it.path / f"{number}/b/c"
        os.makedirs(directory)
        (directory / "file").write_bytes(b"content")
    it.wait_for_names(*(f"{number}/b/c/file".encode() for number in range(50)))


@pytest.mark.heavy
def test_a_file_that_grows_is_taken_once_and_whole(it: Living) -> None:
    it.build(settle_seconds=1.0)
    it.start_and_scan()
    pause = threading.Event()
    for _ in range(15):
        # Opened and closed each time: nothing but the quiet time says that there is more to come.
        with open(it.path / "a", "ab") as file:
            file.write(b"0123456789")
        pause.wait(0.2)
        assert it.jobs() == []
    it.wait_for_names(b"a")
    (job,) = it.jobs()
    assert job.size_bytes == 150


def test_a_file_that_somebody_has_open_for_writing_is_not_taken(it: Living) -> None:
    it.start_and_scan()
    with open(it.path / "open", "wb", buffering=0) as file:
        file.write(b"first")
        with open(it.path / "open", "rb") as same:
            if beneath.at_rest(same.fileno()) is None:
                pytest.skip("this file system knows no leases")
        it.wait_until_settled(unsettled=1)
        assert it.names() == [b"marker-0"]
        file.write(b"second")
    it.wait_for_names(b"marker-0", b"open")
    assert it.jobs()[-1].size_bytes == 11


def test_a_file_that_is_replaced_atomically_has_its_newest_content_sent(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a").write_bytes(b"first")
    it.wait_for_names(b"a")
    (it.path / "a.tmp").write_bytes(b"second!")
    os.rename(it.path / "a.tmp", it.path / "a")
    it.wait_for_names(b"a", state=State.SUPERSEDED)
    assert [(job.state, job.size_bytes) for job in it.jobs()] == [(State.SUPERSEDED, 5), (State.PENDING, 7)]


def test_a_file_that_is_overwritten_after_it_was_sent_is_sent_again(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a").write_bytes(b"first")
    it.wait_for_names(b"a")
    it.send_all()
    with open(it.path / "a", "r+b") as file:
        file.write(b"other")
    it.wait_for_names(b"a")
    assert [job.state for job in it.jobs()] == [State.DONE, State.PENDING]


def test_only_regular_files_are_taken(it: Living) -> None:
    it.start_and_scan()
    (it.base / "elsewhere").mkdir()
    (it.base / "elsewhere/secret").write_bytes(b"secret")
    (it.path / "link").symlink_to(it.base / "elsewhere/secret")
    (it.path / "way").symlink_to(it.base / "elsewhere")
    os.mkfifo(it.path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(it.path / "socket"))
        it.wait_until_settled()
        it.rescan()
        assert [job.place.relative for job in it.jobs()] == [b"marker-0"]
        # A file that is written through the link is none of the folder.
        (it.path / "way/more").write_bytes(b"more")
        it.wait_until_settled()
        assert {job.place.relative for job in it.jobs()} == {b"marker-0", b"marker-1"}


@pytest.mark.parametrize("name", [b"caf\xe9 \xff", b"two\nlines", b"a" * 255, b"-rf *", b" "])
def test_any_name_is_kept_byte_for_byte(it: Living, name: bytes) -> None:
    it.start_and_scan()
    directory = os.path.join(os.fsencode(it.path), b"d\xff\n")
    os.mkdir(directory)
    with open(os.path.join(directory, name), "wb") as file:
        file.write(b"content")
    it.wait_for_names(b"d\xff\n/" + name)


def test_include_and_exclude(it: Living) -> None:
    it.build(include=("*.csv", "*.bin"), exclude=("old/", "x*"))
    it.start_and_scan()
    for name in ("a.csv", "b.bin", "c.txt", "x.csv", "old/d.csv", "deep/e.csv"):
        (it.path / name).parent.mkdir(exist_ok=True)
        (it.path / name).write_bytes(b"content")
    it.wait_for_names(b"a.csv", b"b.bin", b"deep/e.csv")
    it.rescan()
    assert it.names() == [b"a.csv", b"b.bin", b"deep/e.csv"]


def test_a_folder_that_is_not_recursive(it: Living) -> None:
    it.build(recursive=False)
    it.start_and_scan()
    (it.path / "deep").mkdir()
    (it.path / "deep/a").write_bytes(b"content")
    (it.path / "b").write_bytes(b"content")
    it.wait_for_names(b"b")
    it.rescan()
    assert it.names() == [b"b"]


def test_a_folder_that_is_reached_through_a_link(it: Living) -> None:
    (it.base / "link").symlink_to(it.path)
    it.build(it.base / "link")
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    it.wait_for_names(b"a")
    (job,) = it.jobs()
    assert job.place.folder == str(it.base / "link")


def test_a_file_that_goes_before_it_is_complete_leaves_nothing(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    (it.path / "a").unlink()
    it.wait_until_settled()
    assert [job.place.relative for job in it.jobs()] == [b"marker-0"]


def test_a_note_by_hand_takes_a_file_like_an_event(it: Living) -> None:
    assert it.intake.note(os.fsencode(it.path / "a"))
    assert not it.intake.note(os.fsencode(it.base / "elsewhere"))
    assert not it.intake.note(os.fsencode(it.path) + b"-not/a")


def test_many_files_at_once(it: Living) -> None:
    it.start_and_scan()
    for number in range(2500):
        (it.path / f"{number:04}").write_bytes(b"content")
    it.wait_for_names(*(b"%04d" % number for number in range(2500)))
    assert wait_for(lambda: it.state().settling == 0, 5, "nothing settles any more")
