"""A file that gets a new name: its job follows it, or it is another file, as the folder asks."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.intake.living import Living, living
from tests.support.files import wait_for
from tusd_agent.jobs.states import State


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Living]:
    with living(tmp_path) as it:
        yield it


def test_the_job_follows_its_file(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    it.wait_for_names(b"a")
    os.rename(it.path / "a", it.path / "b")
    it.wait_for_names(b"b")
    assert len(it.jobs()) == 1


def test_a_file_that_was_sent_is_not_sent_again_under_its_new_name(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    it.wait_for_names(b"a")
    it.send_all()
    os.rename(it.path / "a", it.path / "b")
    it.wait_for_names(b"b", state=State.DONE)
    it.rescan()
    assert len(it.jobs()) == 1


def test_where_a_new_name_makes_a_new_file_it_is_sent_again(it: Living) -> None:
    it.build(renamed="new")
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    it.wait_for_names(b"a")
    it.send_all()
    os.rename(it.path / "a", it.path / "b")
    it.wait_for_names(b"b")
    assert it.names(State.DONE) == [b"a"]


def test_a_directory_that_is_renamed_takes_its_jobs_along(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a/deep").mkdir(parents=True)
    for number in range(5):
        (it.path / f"a/deep/{number}").write_bytes(b"content")
    it.wait_for_names(*(b"a/deep/%d" % number for number in range(5)))
    os.rename(it.path / "a", it.path / "b")
    it.wait_for_names(*(b"b/deep/%d" % number for number in range(5)))
    assert len(it.jobs()) == 5
    # And it is watched under its new name.
    (it.path / "b/deep/new").write_bytes(b"content")
    it.wait_for_names(b"b/deep/new", *(b"b/deep/%d" % number for number in range(5)))


def test_the_chain_of_logrotate(it: Living) -> None:
    it.start_and_scan()
    (it.path / "log.1").write_bytes(b"older")
    (it.path / "log").write_bytes(b"newer!")
    it.wait_for_names(b"log", b"log.1")
    it.send_all()
    os.rename(it.path / "log.1", it.path / "log.2")
    os.rename(it.path / "log", it.path / "log.1")
    (it.path / "log").write_bytes(b"newest!")
    it.wait_for_names(b"log")
    it.wait_for_names(b"log.1", b"log.2", state=State.DONE)
    it.rescan()
    assert sorted((job.place.relative, job.state, job.size_bytes) for job in it.jobs()) == [
        (b"log", State.PENDING, 7),
        (b"log.1", State.DONE, 6),
        (b"log.2", State.DONE, 5),
    ]


def test_a_rename_while_the_agent_is_down_is_found_by_the_scan(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    (it.path / "gone").write_bytes(b"content")
    it.wait_for_names(b"a", b"gone")
    it.stop()
    uuid = it.jobs()[0].uuid
    os.rename(it.path / "a", it.path / "b")
    os.unlink(it.path / "gone")
    it.build()
    it.start()
    it.wait_for_names(b"b")
    it.wait_for_names(b"gone", state=State.VANISHED)
    assert uuid in [job.uuid for job in it.jobs() if job.state is State.PENDING]
    assert len(it.jobs()) == 2


def test_a_job_that_ended_with_its_file_comes_back_under_the_new_name(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    it.wait_for_names(b"a")
    os.rename(it.path / "a", it.base / "away")
    it.rescan()
    it.wait_for_names(b"a", state=State.VANISHED)
    os.rename(it.base / "away", it.path / "b")
    it.wait_for_names(b"b")
    assert len(it.jobs()) == 1


def test_two_files_that_change_names(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a").write_bytes(b"a")
    (it.path / "b").write_bytes(b"bb")
    it.wait_for_names(b"a", b"b")
    it.send_all()
    os.rename(it.path / "a", it.path / "c.tmp")
    os.rename(it.path / "b", it.path / "a")
    os.rename(it.path / "c.tmp", it.path / "b")
    wait_for(
        lambda: {(job.place.relative, job.size_bytes) for job in it.jobs()} == {(b"b", 1), (b"a", 2)}, 10, "the swap"
    )
    assert len(it.jobs()) == 2
