"""What lay in a folder before it was watched, where that is not to be sent; and a ledger that is not complete."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.intake.living import Living, living
from tests.support.files import wait_for
from tusd_agent.intake.asides import RECOVERED_PREFIX
from tusd_agent.intake.count import count_taken
from tusd_agent.intake.folder import WatchedFolder
from tusd_agent.jobs.model import ASIDE_PREFIX
from tusd_agent.jobs.orders import Orders
from tusd_agent.jobs.states import EXISTING_IGNORED, LEDGER_LOST, State


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Living]:
    with living(tmp_path) as it:
        yield it


def let_time_pass(base: Path) -> None:
    """Waits until what is written from now on is clearly younger than what has been, by the file system's clock."""
    probe = base / "clock"
    probe.write_bytes(b"")
    begun = probe.stat().st_ctime_ns

    def later() -> bool:
        probe.write_bytes(b"")
        return probe.stat().st_ctime_ns > begun + 200_000_000

    wait_for(later, 15, "the clock goes on")


@pytest.fixture
def ignoring(it: Living) -> Living:
    """Two files lay there, one below, when the folder was first seen."""
    (it.path / "old").write_bytes(b"content")
    (it.path / "tree").mkdir()
    (it.path / "tree/older").write_bytes(b"content")
    let_time_pass(it.base)
    it.build(existing="ignore")
    it.start_and_scan()
    it.wait_for_names(b"old", b"tree/older", state=State.CANCELLED)
    return it


def restart(it: Living, **rules: object) -> None:
    it.stop()
    it.build(None, 0.1, **{"existing": "ignore", **rules})
    it.start_and_scan()


def test_what_lay_there_is_never_sent(ignoring: Living) -> None:
    it = ignoring
    assert {job.reason for job in it.jobs()} == {EXISTING_IGNORED}
    it.rescan()
    restart(it)
    (it.path / "old").chmod(0o600)
    os.utime(it.path / "old", ns=(5, (it.path / "old").stat().st_mtime_ns))  # as touch -a
    os.rename(it.path / "tree/older", it.path / "elsewhere")
    it.wait_until_settled()
    it.rescan()
    it.wait_until_settled()
    assert it.names(State.CANCELLED) == [b"elsewhere", b"old"]
    os.rename(it.path / "tree", it.path / "arbor")
    (it.path / "elsewhere").rename(it.path / "arbor/older")
    restart(it)
    it.wait_for_names(b"arbor/older", b"old", state=State.CANCELLED)
    assert {name for name in it.names() if not name.startswith(b"marker")} == set()


def test_a_folder_renamed_within_while_nobody_looks(ignoring: Living) -> None:
    it = ignoring
    it.stop()
    os.rename(it.path / "tree", it.path / "arbor")
    restart(it)
    it.wait_for_names(b"arbor/older", b"old", state=State.CANCELLED)
    assert it.names() == []


def test_what_comes_or_changes_later_is_sent(ignoring: Living) -> None:
    it = ignoring
    (it.path / "new").write_bytes(b"content")
    (it.path / "old").write_bytes(b"changed")
    (it.base / "from outside").write_bytes(b"content")
    os.utime(it.base / "from outside", (1e9, 1e9))
    os.rename(it.base / "from outside", it.path / "tree/moved")
    it.wait_for_names(b"new", b"old", b"tree/moved")


@pytest.mark.parametrize("watching", [True, False], ids=["seen at once", "while it was stopped"])
def test_a_tree_moved_in_is_sent_though_its_files_are_older_than_the_watching(it: Living, watching: bool) -> None:
    """Only the directory that is moved gets a new ctime: its files look as if they had lain there."""
    (it.base / "tree/deep").mkdir(parents=True)
    (it.base / "tree/deep/file").write_bytes(b"content")
    let_time_pass(it.base)
    it.build(existing="ignore")
    it.start_and_scan()
    if not watching:
        it.stop()
    let_time_pass(it.base)
    os.rename(it.base / "tree", it.path / "tree")
    if not watching:
        restart(it)
    it.wait_for_names(b"tree/deep/file")


def test_a_file_made_just_after_the_first_look_is_sent(it: Living) -> None:
    """The kernel stamps files with a clock that is some milliseconds behind the one that we look at."""
    it.build(existing="ignore")
    for number in range(30):
        path = it.base / f"out-{number}"
        path.mkdir()
        it.build(path, existing="ignore")
        it.intake.tick(0.0)
        (path / "new").write_bytes(b"content")
        it.intake.note(os.fsencode(path / "new"))
        for second in range(1, 10):
            it.intake.tick(float(second))
        it.intake.close()
    assert [job.state for job in it.jobs()] == [State.PENDING] * 30


def test_to_send_what_lay_there_after_all(ignoring: Living) -> None:
    """The setting alone changes nothing for what has been decided on: the operator's word brings it back."""
    it = ignoring
    restart(it, existing="upload")
    it.rescan()
    assert it.names() == []
    it.wait_for_names(b"old", b"tree/older", state=State.CANCELLED)
    job = next(job for job in it.jobs() if job.place.name == b"old")
    Orders(it.database).retry(job.id, 1e9)
    assert it.names() == [b"old"]
    it.send_all()
    it.rescan()
    assert it.names() == []


def test_what_lay_there_without_its_marker_is_sent_when_that_comes(it: Living) -> None:
    for name in ("complete", "complete.done", "incomplete"):
        (it.path / name).write_bytes(b"")
    let_time_pass(it.base)
    it.build(existing="ignore", contract="marker")
    assert count_taken(WatchedFolder(str(it.path), "default", contract="marker"), 2e9) == 1
    it.start_and_scan()
    it.wait_for_names(b"complete", state=State.CANCELLED)
    (it.path / "incomplete.done").write_bytes(b"")
    it.wait_for_names(b"incomplete")


def test_explain_says_so(ignoring: Living) -> None:
    explanation = ignoring.intake.explain(os.fsencode(ignoring.path / "old"))
    assert explanation is not None
    assert (explanation.taken, explanation.rule, explanation.waits_for) == (False, EXISTING_IGNORED, None)


@pytest.fixture
def lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Living]:
    """Two files were sent, one had to wait; then the database was lost, and the intake does not run yet."""
    with living(tmp_path) as before:
        for name in ("sent", "too"):
            (before.path / name).write_bytes(b"content")
        before.start_and_scan()
        before.wait_for_names(b"sent", b"too")
        before.send_all()
        (before.path / "waiting").write_bytes(b"content")
        before.wait_for_names(b"waiting")
    for path in tmp_path.glob("queue.db*"):
        path.unlink()
    let_time_pass(tmp_path)
    caplog.set_level(logging.INFO, "tusd_agent")
    with living(tmp_path) as it:
        assert it.database.loss is not None
        yield it


def test_after_a_loss_what_is_older_is_held_and_what_is_newer_goes(lost: Living) -> None:
    let_time_pass(lost.base)
    lost.start_and_scan()
    (lost.path / "new").write_bytes(b"content")
    lost.wait_for_names(b"new")
    lost.wait_for_names(b"sent", b"too", b"waiting", state=State.HELD)
    assert {job.reason for job in lost.jobs() if job.state is State.HELD} == {LEDGER_LOST}
    explanation = lost.intake.explain(os.fsencode(lost.path / "sent"))
    assert explanation is not None
    assert explanation.waits_for == (
        "your word, for the ledger is incomplete: release sends it, adopt takes it as sent before"
    )


def test_release_sends_it_and_adopt_takes_it_as_done(lost: Living, caplog: pytest.LogCaptureFixture) -> None:
    lost.start_and_scan()
    lost.wait_for_names(b"sent", b"too", b"waiting", state=State.HELD)
    assert "held until you release or adopt it" in caplog.text
    orders = Orders(lost.database)
    for job in lost.jobs():
        if job.place.name == b"waiting":
            orders.release(job.id, 1e9)
        else:
            orders.adopt(job.id, 1e9)
    assert lost.names() == [b"waiting"]
    assert lost.names(State.DONE) == [b"sent", b"too"]
    lost.rescan()
    assert len(lost.jobs()) == 3
    # What is changed later is a new content, whatever was said of the old one.
    (lost.path / "sent").write_bytes(b"newer content")
    lost.wait_for_names(b"sent", b"waiting")


def test_what_is_held_stays_so_after_a_restart_a_chmod_and_a_rename(lost: Living) -> None:
    lost.start_and_scan()
    lost.wait_for_names(b"sent", b"too", b"waiting", state=State.HELD)
    lost.stop()
    lost.build()
    lost.start_and_scan()
    (lost.path / "sent").chmod(0o600)
    os.rename(lost.path / "too", lost.path / "renamed")
    lost.wait_for_names(b"renamed", b"sent", b"waiting", state=State.HELD)
    lost.rescan()
    assert len(lost.jobs()) == 3


def test_a_loss_stays_known_as_long_as_old_files_turn_up(lost: Living, tmp_path: Path) -> None:
    shutil.move(lost.path, tmp_path / "elsewhere")
    lost.start()
    lost.stop()
    lost.database.close()
    shutil.move(tmp_path / "elsewhere", lost.path)
    with living(tmp_path) as it:
        assert it.database.loss is None
        it.start_and_scan()
        it.wait_for_names(b"sent", b"too", b"waiting", state=State.HELD)


def test_after_a_loss_a_file_put_aside_is_held_under_the_name_it_gets(lost: Living) -> None:
    """It was sent before it was put aside; its recovery alone makes it look new."""
    aside = lost.path / (ASIDE_PREFIX.decode() + str(uuid4()))
    os.rename(lost.path / "sent", aside)
    lost.start_and_scan()
    wait_for(lambda: len(lost.names(State.HELD)) == 3, 15, "all three are held")
    assert lost.names(State.HELD)[0].startswith(RECOVERED_PREFIX)
    assert lost.names() == []


def test_with_existing_ignored_what_is_older_than_the_loss_is_held_and_not_decided_on(lost: Living) -> None:
    lost.build(existing="ignore")
    lost.start_and_scan()
    lost.wait_for_names(b"sent", b"too", b"waiting", state=State.HELD)
