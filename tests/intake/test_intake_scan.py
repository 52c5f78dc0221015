"""What is found without events: files from before the start, folders that come and go, files put aside."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.intake.living import PATIENCE_SECONDS, SETTLE_SECONDS, Living, living, make_unreadable
from tests.support.files import wait_for
from tusd_agent.intake.filters import Filter
from tusd_agent.intake.folder import WatchedFolder
from tusd_agent.intake.scan import SLICE_ENTRIES, FolderUnavailable, Scan
from tusd_agent.jobs.claims import Claims
from tusd_agent.jobs.model import ASIDE_PREFIX, Job, Lane, Place, Sent
from tusd_agent.jobs.states import State


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Living]:
    with living(tmp_path) as it:
        yield it


def scan_of(it: Living, start: bytes = b"") -> Scan:
    folder = WatchedFolder(str(it.path), "default", settle_seconds=10.0)
    return Scan(folder, Filter(folder), it.ledger, start)


def finished(scan: Scan, now: float) -> tuple[list[bytes], list[bytes]]:
    """The paths that a scan finds quiet, and those it finds fresh."""
    quiet, fresh = [], []
    while (part := scan.step(now)) is not None:
        quiet += [place.relative for place, _ in part.ready]
        fresh += [place.relative for place, _ in part.fresh]
    return sorted(quiet), sorted(fresh)


def test_files_that_lay_there_before_the_start(it: Living) -> None:
    (it.path / "deep/down").mkdir(parents=True)
    for name in ("a", "deep/b", "deep/down/c", "deep/x.tmp"):
        (it.path / name).write_bytes(b"content")
    it.start()
    it.wait_for_names(b"a", b"deep/b", b"deep/down/c")
    state = it.wait_for_scan()
    assert (state.available, state.problem, state.files_seen, state.mode) == (True, None, 3, "inotify")


def test_quiet_files_are_told_from_fresh_ones_by_their_ctime(it: Living) -> None:
    (it.path / "a").write_bytes(b"content")
    os.utime(it.path / "a", (1.0, 1.0))
    changed_at = (it.path / "a").stat().st_ctime
    assert finished(scan_of(it), changed_at + 9.9) == ([], [b"a"])
    assert finished(scan_of(it), changed_at + 10.001) == ([b"a"], [])
    # A clock that went back, or a file from the future: it settles instead of being taken, or left, for ever.
    assert finished(scan_of(it), changed_at - 1000.0) == ([], [b"a"])


def test_a_scan_goes_on_in_slices(it: Living) -> None:
    for number in range(SLICE_ENTRIES + 10):
        (it.path / f"{number}").touch()
    scan = scan_of(it)
    first = scan.step(0.0)
    assert first is not None
    assert len(first.fresh) == SLICE_ENTRIES
    second = scan.step(0.0)
    assert second is not None
    assert len(second.fresh) == 10
    assert scan.step(0.0) is None
    assert scan.result.files_seen == SLICE_ENTRIES + 10


def test_a_directory_that_goes_during_the_scan_does_no_harm(it: Living) -> None:
    for name in ("a", "b"):
        (it.path / name).mkdir()
        for number in range(SLICE_ENTRIES):
            (it.path / name / str(number)).touch()
    scan = scan_of(it)
    first = scan.step(0.0)
    assert first is not None
    begun = first.fresh[0][0].directory
    shutil.rmtree(it.path / ("a" if begun == b"b" else "b"))
    _, fresh = finished(scan, 0.0)
    assert all(name.startswith(begun) for name in fresh)
    assert scan.result.problems == {}


def test_a_directory_that_is_replaced_by_a_link_is_not_followed(it: Living) -> None:
    (it.base / "elsewhere").mkdir()
    (it.base / "elsewhere/secret").touch()
    (it.path / "way").symlink_to(it.base / "elsewhere")
    assert finished(scan_of(it), 0.0) == ([], [])
    assert finished(scan_of(it, b"way"), 0.0) == ([], [])


def test_a_folder_that_is_gone_is_unavailable_and_so_is_one_that_goes(it: Living) -> None:
    (it.path / "deep").mkdir()
    for number in range(SLICE_ENTRIES):
        (it.path / str(number)).touch()
    scan = scan_of(it)
    scan.step(0.0)
    shutil.rmtree(it.path)
    with pytest.raises(FolderUnavailable, match="does not exist"):
        finished(scan, 0.0)
    with pytest.raises(FolderUnavailable, match="does not exist"):
        finished(scan_of(it), 0.0)


def test_a_directory_that_may_not_be_read_is_a_problem_and_the_rest_goes_on(it: Living) -> None:
    make_unreadable(it.path / "closed")
    (it.path / "open").mkdir()
    (it.path / "open/a").write_bytes(b"content")
    try:
        it.start()
        it.wait_for_names(b"open/a")
        state = it.wait_for_scan()
    finally:
        (it.path / "closed").chmod(0o700)
    assert state.available
    assert state.problem == f"the directory closed can't be looked at: {os.strerror(errno.EACCES)}"
    assert it.rescan().problem is None


def test_files_that_are_gone_end_their_jobs_but_not_what_was_sent(it: Living) -> None:
    it.start_and_scan()
    for name in ("sent", "waiting", "stays"):
        (it.path / name).write_bytes(b"content")
        it.wait_until_names_include(name.encode())
        if name == "sent":
            it.send_all()
    (it.path / "sent").unlink()
    (it.path / "waiting").unlink()
    it.rescan()
    it.wait_for_names(b"waiting", state=State.VANISHED)
    assert it.names(State.DONE) == [b"sent"]
    assert it.names() == [b"stays"]


def test_a_directory_that_is_gone_as_a_whole_ends_its_jobs_too(it: Living) -> None:
    (it.path / "sub").mkdir()
    (it.path / "sub" / "waits").write_bytes(b"content")
    (it.path / "stays").write_bytes(b"content")
    it.start_and_scan()
    it.wait_for_names(b"stays", b"sub/waits")
    shutil.rmtree(it.path / "sub")
    it.rescan()
    it.wait_for_names(b"sub/waits", state=State.VANISHED)
    assert it.names() == [b"stays"]


def test_a_folder_that_comes_later_is_taken_up_by_itself(it: Living) -> None:
    later = it.base / "mount/out"
    it.build(later)
    it.start()
    wait_for(lambda: "does not exist" in (it.state().problem or ""), PATIENCE_SECONDS, "a problem")
    assert not it.state().available
    later.mkdir(parents=True)
    (later / "early").write_bytes(b"content")
    it.wait_for_names(b"early")
    it.wait_for_scan()
    (later / "late").write_bytes(b"content")
    it.wait_for_names(b"early", b"late")
    assert (it.state().available, it.state().problem) == (True, None)


def test_a_folder_that_is_removed_and_made_again(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    it.wait_for_names(b"a")
    os.rename(it.path, it.base / "away")
    wait_for(lambda: not it.state().available, PATIENCE_SECONDS, "the folder to be missed")
    assert it.intake.problems() == [f"{it.path}: the folder does not exist; it is taken up as soon as it does"]
    assert it.names() == [b"a"]
    it.path.mkdir()
    (it.path / "b").write_bytes(b"content")
    wait_for(lambda: b"b" in it.names(), PATIENCE_SECONDS, "a file of the new folder")
    it.wait_for_scan()
    (it.path / "c").write_bytes(b"content")
    wait_for(lambda: b"c" in it.names(), PATIENCE_SECONDS, "the events of the new folder")
    # What moves in the old one is no longer ours.
    (it.base / "away/d").write_bytes(b"content")
    it.wait_until_settled()
    assert b"d" not in it.names()


def test_a_folder_that_is_exchanged_for_another_at_once(it: Living) -> None:
    it.start_and_scan()
    (it.base / "other").mkdir()
    (it.base / "other/a").write_bytes(b"content")
    os.rename(it.path, it.base / "away")
    os.rename(it.base / "other", it.path)
    it.wait_for_names(b"a")
    it.wait_for_scan()
    (it.path / "b").write_bytes(b"content")
    it.wait_for_names(b"a", b"b")


def aside(it: Living, state: State) -> Job:
    """A file put aside in the course of its disposal, whose job is then in this state."""
    (it.path / "a").write_bytes(b"content")
    found = os.stat(it.path / "a")
    it.intake.note(os.fsencode(it.path / "a"))
    it.start()
    it.wait_for_names(b"a")
    it.stop()
    claims = Claims(it.database)
    job = claims.claim(Lane(str(it.path), "default"), 1e12)
    assert job is not None
    job = claims.deliver(job, 1e9, Sent(job.fingerprint, None))
    assert found.st_ino == job.fingerprint.inode
    os.rename(it.path / "a", it.path / os.fsdecode(job.aside_name))
    if state is State.DELIVERED:
        return claims.defer(job, 1e12, "the disk is full")
    if state is State.DONE:
        return claims.finish(job, 1e9)
    return job


@pytest.mark.parametrize("state", [State.DISPOSING, State.DELIVERED])
def test_a_file_put_aside_stays_while_its_job_disposes_of_it(it: Living, state: State) -> None:
    job = aside(it, state)
    it.build()
    it.start_and_scan()
    assert os.listdir(os.fsencode(it.path)) == [job.aside_name]


def test_a_file_put_aside_whose_job_is_done_gets_its_name_again_and_is_not_sent_again(it: Living) -> None:
    aside(it, State.DONE)
    it.build()
    it.start_and_scan()
    assert os.listdir(it.path) == ["a"]
    it.wait_until_settled()
    assert it.names(State.DONE) == [b"a"]
    assert it.names() == [b"marker-1"]


def test_a_file_put_aside_never_overwrites_the_one_that_came_in_its_place(it: Living) -> None:
    aside(it, State.DONE)
    (it.path / "a").write_bytes(b"newer")
    (it.path / "a~1").write_bytes(b"also")
    it.build()
    it.start_and_scan()
    assert sorted(os.listdir(it.path)) == ["a", "a~1", "a~2"]
    assert (it.path / "a").read_bytes() == b"newer"
    assert (it.path / "a~2").read_bytes() == b"content"


def test_a_file_put_aside_that_no_job_knows_is_found_again(it: Living, caplog: pytest.LogCaptureFixture) -> None:
    uuid = uuid4()
    (it.path / "deep").mkdir()
    (it.path / "deep" / os.fsdecode(ASIDE_PREFIX + str(uuid).encode())).write_bytes(b"content")
    (it.path / ".tusd-agent-no-uuid").write_bytes(b"content")
    it.start()
    it.wait_for_names(b"deep/recovered-" + str(uuid).encode())
    assert "was put aside by the agent" in caplog.text
    assert (it.path / ".tusd-agent-no-uuid").exists()


def test_nothing_is_lost_when_the_queue_cant_be_written(it: Living) -> None:
    it.start_and_scan()
    with it.database.reading() as connection:
        connection.execute("PRAGMA query_only = ON")
    (it.path / "a").write_bytes(b"content")
    wait_for(lambda: it.intake.problems(), PATIENCE_SECONDS, "a problem")
    assert "the queue can't be written" in it.intake.problems()[0]
    assert it.jobs() == []
    with it.database.reading() as connection:
        connection.execute("PRAGMA query_only = OFF")
    it.wait_for_names(b"a")
    wait_for(lambda: not it.intake.problems(), PATIENCE_SECONDS, "the problem to be over")


def test_a_scan_that_meets_a_queue_that_cant_be_read_is_done_again(it: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    (it.path / "a").write_bytes(b"content")
    refused: list[bytes] = []
    known = it.ledger.known

    def refuse_once(folder: str, directory: bytes, limit: int) -> object:
        if not refused:
            refused.append(directory)
            raise sqlite3.OperationalError("disk I/O error")
        return known(folder, directory, limit)

    monkeypatch.setattr(it.ledger, "known", refuse_once)
    it.start()
    it.wait_for_names(b"a")
    assert refused == [b""]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_intake_that_ended_by_an_error_is_a_problem(it: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(now: float) -> float:
        raise ZeroDivisionError

    monkeypatch.setattr(it.intake, "tick", break_down)
    assert it.intake.problems() == []
    it.start()
    wait_for(it.intake.problems, PATIENCE_SECONDS, "the problem")
    assert "the thread intake has ended" in it.intake.problems()[0]


def test_after_lost_events_everything_is_scanned(it: Living) -> None:
    it.start_and_scan()
    after = it.state().last_scan_at or 0.0
    it.intake._events_lost()
    it.wait_for_scan(after)


def test_a_burst_beyond_the_limit_is_scanned_instead(it: Living) -> None:
    (it.path / "a").write_bytes(b"content")
    it.intake.tick(0.0)
    (followed,) = it.intake._followed.values()
    followed.notes._limit = 3
    for number in range(4):
        followed.notes.add(b"%d" % number)
    assert followed.notes.drain() == ([], True)
    assert followed.notes.drain() == ([], False)


def test_a_tick_says_when_the_next_one_is_due(it: Living) -> None:
    (it.path / "a").write_bytes(b"content")
    now = 1000.0
    while (wait_seconds := it.intake.tick(now)) == 0.0:
        pass
    assert wait_seconds <= SETTLE_SECONDS
    assert it.state().settling == 1
    it.intake.tick(now + SETTLE_SECONDS)
    assert it.names() == [b"a"]
    assert it.intake.tick(now + SETTLE_SECONDS) == pytest.approx(0.1)
    it.intake.close()


def test_a_rename_is_seen_before_the_job_is_ended(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    it.wait_for_names(b"a")
    it.stop()
    claimed = it.claims.claim(Lane(str(it.path), "default"), 1e12)
    assert claimed is not None
    it.claims.defer(it.claims.created(claimed, "http://localhost/files/1"), 1e12, "the network is down")
    os.rename(it.path / "a", it.path / "b")
    it.build()
    it.start_and_scan()
    it.wait_for_names(b"b")
    (job,) = it.jobs()
    assert job.place == Place(str(it.path), b"", b"b")
    assert job.upload_url == "http://localhost/files/1"
