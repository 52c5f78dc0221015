"""What says that a file is complete, as a folder may ask for: its final name, or a marker file beside it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.intake.living import Living, living
from tests.support.files import wait_for
from tusd_agent.jobs.states import State

LONG_SETTLE_SECONDS = 30.0
"""Where a contract says that a file is complete, nobody waits for so long."""


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Living]:
    with living(tmp_path) as it:
        yield it


def mark(path: Path) -> None:
    """Makes a marker, or marks anew, as touch(1) does: it opens the file for writing."""
    path.write_bytes(b"")


@pytest.fixture(params=["events", "scans"])
def marked(it: Living, request: pytest.FixtureRequest) -> Living:
    """A folder with the marker contract, found by events, or by nothing but scans."""
    by_events = request.param == "events"
    it.build(contract="marker", watch="auto" if by_events else "poll", poll_interval_seconds=0.2)
    it.start_and_scan()
    return it


def wait_until_looked_at(it: Living) -> None:
    """Waits until whatever lies there has been looked at: by events and by a scan."""
    (it.path / "witness").write_bytes(b"content")
    mark(it.path / "witness.done")
    it.wait_until_names_include(b"witness")
    it.rescan()
    wait_for(lambda: it.state().settling == 0, 15, "everything looked at")
    it.send_all()
    os.unlink(it.path / "witness.done")
    os.unlink(it.path / "witness")


def test_under_rename_a_final_name_is_complete_at_once(it: Living) -> None:
    it.build(contract="rename", settle_seconds=LONG_SETTLE_SECONDS)
    it.start_and_scan()
    (it.path / "a.tmp").write_bytes(b"content")
    os.rename(it.path / "a.tmp", it.path / "a")
    (it.base / "b").write_bytes(b"content")
    os.rename(it.base / "b", it.path / "b")
    (it.path / "c.part").write_bytes(b"content")
    os.link(it.path / "c.part", it.path / "c")
    (it.base / "tree/deep").mkdir(parents=True)
    (it.base / "tree/deep/d").write_bytes(b"content")
    os.rename(it.base / "tree", it.path / "tree")
    it.wait_for_names(b"a", b"b", b"c", b"tree/deep/d")


def test_under_rename_an_open_writer_vetoes(it: Living) -> None:
    it.build(contract="rename")
    it.start_and_scan()
    with open(it.path / "a.tmp", "wb", buffering=0) as file:
        file.write(b"half of ")
        os.rename(it.path / "a.tmp", it.path / "a")
        it.wait_until_settled(unsettled=1)
        assert b"a" not in it.names()
        file.write(b"it")
    it.wait_until_names_include(b"a")
    assert [job.size_bytes for job in it.jobs() if job.place.name == b"a"] == [10]


def test_under_rename_an_empty_file_is_taken_too(it: Living) -> None:
    it.build(contract="rename")
    it.start_and_scan()
    (it.base / "empty").touch()
    os.rename(it.base / "empty", it.path / "empty")
    it.wait_for_names(b"empty")


def test_the_marker_after_its_file(marked: Living) -> None:
    (marked.path / "a").write_bytes(b"content")
    (marked.path / "sub").mkdir()
    (marked.path / "sub/b").write_bytes(b"content")
    wait_until_looked_at(marked)
    assert marked.names() == []
    mark(marked.path / "a.done")
    marked.wait_for_names(b"a")
    (marked.path / "sub/b.done").write_bytes(b"with a checksum in it, say")
    marked.wait_for_names(b"a", b"sub/b")


def test_markers_are_never_sent(marked: Living) -> None:
    for name in ("a.done", "a.done.done", ".done", "b.done"):
        (marked.path / name).write_bytes(b"content")
    (marked.path / "b").write_bytes(b"content")
    (marked.path / "b.done").write_bytes(b"content")
    marked.wait_for_names(b"b")
    wait_until_looked_at(marked)
    assert {job.place.name for job in marked.jobs()} == {b"b", b"witness"}


def test_a_marker_that_was_there_before_its_file_is_not_meant_for_it(marked: Living) -> None:
    mark(marked.path / "a.done")
    wait_until_looked_at(marked)  # and so some time passes by the file system's clock
    (marked.path / "a").write_bytes(b"content")
    wait_until_looked_at(marked)
    assert marked.names() == []
    mark(marked.path / "a.done")
    marked.wait_for_names(b"a")


def test_a_marker_of_an_older_content_is_not_meant_for_the_newer(marked: Living) -> None:
    (marked.path / "a").write_bytes(b"first")
    mark(marked.path / "a.done")
    marked.wait_for_names(b"a")
    marked.send_all()
    wait_until_looked_at(marked)
    (marked.path / "a").write_bytes(b"second content")
    wait_until_looked_at(marked)
    assert marked.names() == []
    mark(marked.path / "a.done")
    marked.wait_for_names(b"a")
    assert [job.size_bytes for job in marked.jobs() if job.place.name == b"a"] == [5, 14]


def test_a_chmod_after_the_marker_does_no_harm(marked: Living) -> None:
    path = marked.path / "a"
    with open(path, "wb", buffering=0) as file:
        file.write(b"content")
        mark(marked.path / "a.done")
        wait_until_looked_at_while_open(marked)
        path.chmod(0o600)
    marked.wait_until_names_include(b"a")


def wait_until_looked_at_while_open(it: Living) -> None:
    (it.path / "other").write_bytes(b"content")
    mark(it.path / "other.done")
    it.wait_until_names_include(b"other")
    assert b"a" not in it.names()


def test_a_marker_that_is_removed_again(marked: Living) -> None:
    with open(marked.path / "a", "wb", buffering=0) as file:
        file.write(b"content")
        mark(marked.path / "a.done")
        wait_until_looked_at_while_open(marked)
        (marked.path / "a.done").unlink()
    wait_until_looked_at(marked)
    assert b"a" not in marked.names()


def test_a_directory_is_no_marker_and_what_lies_in_it_is_looked_at(marked: Living) -> None:
    (marked.path / "a").write_bytes(b"content")
    (marked.path / "a.done").mkdir()
    (marked.base / "tree.done").mkdir()
    for name in ("b", "b.done"):
        (marked.base / "tree.done" / name).write_bytes(b"content")
    os.rename(marked.base / "tree.done", marked.path / "tree.done")
    marked.wait_for_names(b"tree.done/b")
    wait_until_looked_at(marked)
    assert b"a" not in marked.names()


def test_a_link_is_no_marker(marked: Living) -> None:
    (marked.path / "a").write_bytes(b"content")
    (marked.path / "a.done").symlink_to("/etc/passwd")
    wait_until_looked_at(marked)
    assert marked.names() == []


def test_a_name_too_long_to_have_a_marker_is_said(marked: Living) -> None:
    fits, too_long = b"f" * 250, b"l" * 251
    for name in (fits, too_long):
        Path(os.fsdecode(os.fsencode(marked.path) + b"/" + name)).write_bytes(b"content")
    mark(Path(os.fsdecode(os.fsencode(marked.path) + b"/" + fits + b".done")))
    marked.wait_for_names(fits)
    explanation = marked.intake.explain(os.fsencode(marked.path) + b"/" + too_long)
    assert explanation is not None
    assert (explanation.taken, explanation.rule) == (False, "its name is too long to have a marker file: *.done")


def test_a_suffix_needs_no_dot(it: Living) -> None:
    it.build(contract="marker", marker_suffix="_OK")
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    mark(it.path / "a_OK")
    it.wait_for_names(b"a")


def test_an_open_writer_vetoes_whatever_the_marker_says(marked: Living) -> None:
    with open(marked.path / "a", "wb", buffering=0) as file:
        file.write(b"half of ")
        mark(marked.path / "a.done")
        wait_until_looked_at_while_open(marked)
        file.write(b"it")
        (marked.path / "a.done").write_bytes(b"again")
    marked.wait_until_names_include(b"a")
    assert [job.size_bytes for job in marked.jobs() if job.place.name == b"a"] == [10]


def test_the_marker_of_a_file_from_before_the_start(it: Living) -> None:
    (it.path / "marked").write_bytes(b"content")
    mark(it.path / "marked.done")
    (it.path / "not marked").write_bytes(b"content")
    it.build(contract="marker")
    it.start_and_scan()
    it.wait_for_names(b"marked")
    it.rescan()
    assert it.names() == [b"marked"]
    assert it.names(State.DONE) == []
