"""What is said of a path: each answer word for word, as an operator reads it."""

import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.intake.living import Living, living
from tests.support.files import wait_for
from tusd_agent.intake.explain import Explanation
from tusd_agent.jobs.model import ASIDE_PREFIX, Lane
from tusd_agent.jobs.states import EXISTING_IGNORED, State

NO_RULE = "no rule speaks against it"
LONG_SECONDS = 600.0


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Living]:
    with living(tmp_path) as it:
        yield it


def explained(it: Living, name: str | bytes) -> Explanation:
    path = os.path.join(os.fsencode(it.path), os.fsencode(name))
    explanation = it.intake.explain(path)
    assert explanation is not None
    return explanation


def answer(it: Living, name: str | bytes) -> tuple[bool, str, str | None]:
    """With the seconds that are left replaced by N."""
    found = explained(it, name)
    waits_for = None if found.waits_for is None else re.sub(r"\b[0-9.]+ s\b", "N s", found.waits_for)
    return found.taken, found.rule, waits_for


def test_a_file_on_its_way(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    it.wait_for_names(b"a")
    assert answer(it, "a") == (True, NO_RULE, None)
    job = explained(it, "a").job
    assert job is not None
    assert job.state is State.PENDING
    it.send_all()
    assert answer(it, "a") == (True, NO_RULE, None)
    (it.path / "a").unlink()
    assert answer(it, "a") == (True, "it was sent, and is not there any more", None)


def test_a_file_that_is_not_there(it: Living) -> None:
    it.start_and_scan()
    for name in ("a", "no/such/folder/a", "a" * 255):
        assert answer(it, name) == (True, NO_RULE, "the file to be there")
    assert answer(it, "a.tmp") == (False, "a temporary name: *.tmp", None)
    assert answer(it, "a" * 256) == (True, NO_RULE, "a shorter name: no file can have this one")
    (it.path / "file").write_bytes(b"")
    assert answer(it, "file/below") == (True, NO_RULE, "the file to be there")


def test_a_file_that_settles(it: Living) -> None:
    it.build(settle_seconds=LONG_SECONDS)
    (it.path / "before").write_bytes(b"content")
    rest = f"rest: N s more without a change (settle_seconds = {LONG_SECONDS:g})"
    assert answer(it, "before") == (True, NO_RULE, rest)
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    wait_for(lambda: it.state().settling == 2, 15, "both settle")
    assert answer(it, "a") == (True, NO_RULE, rest)
    assert explained(it, "a").job is None


def test_a_file_that_nobody_has_seen_yet(it: Living) -> None:
    (it.path / "a").write_bytes(b"content")
    unseen = "the next scan of the folder, for no event told of it"
    wait_for(lambda: answer(it, "a") == (True, NO_RULE, unseen), 15, unseen)


def test_a_file_that_somebody_writes(it: Living) -> None:
    with open(it.path / "a", "wb"):
        assert answer(it, "a") == (True, NO_RULE, "whoever has it open for writing, or mapped, to close it")


def test_a_file_without_its_marker(it: Living) -> None:
    it.build(contract="marker")
    (it.path / "a\n").write_bytes(b"content")
    assert answer(it, "a\n") == (True, NO_RULE, "its marker file a\\n.done, written later than the file")
    assert answer(it, "a.done") == (False, "a marker file: *.done", None)


def test_sizes_and_ages(it: Living) -> None:
    it.build(min_size_bytes=5, min_age_seconds=LONG_SECONDS)
    (it.path / "small").write_bytes(b"x")
    (it.path / "young").write_bytes(b"content")
    assert answer(it, "small") == (False, "smaller than min_size: 1 bytes, not 5 or more", None)
    assert answer(it, "young") == (
        True, NO_RULE, "its age: younger than min_age_seconds = 600; N s to go"
    )  # fmt: skip


def test_names_and_patterns(it: Living) -> None:
    it.build(exclude=("*.log", "old/"), include=("*.csv",), guard_file="guard.csv", max_depth=2)
    (it.path / "guard.csv").touch()
    for name, rule in (
        ("a.log", "exclude pattern '*.log'"),
        ("old/a.csv", "exclude pattern 'old/'"),
        ("a.bin", "no include pattern matches"),
        (".a.csv", "a temporary name: .*"),
        (".x/a.csv", "below a hidden directory: .*"),
        ("a.csv~", "a temporary name: *~"),
        ("guard.csv", "the folder's guard_file: guard.csv"),
        ("a/b/c.csv", "deeper than max_depth = 2"),
        (os.fsdecode(ASIDE_PREFIX) + "x", "a file that the agent itself has put aside"),
    ):
        assert answer(it, name)[:2] == (False, rule)
        (it.path / name).parent.mkdir(parents=True, exist_ok=True)
        (it.path / name).touch()
        assert answer(it, name) == (False, rule, None)
    (it.path / "b.csv").touch()
    assert answer(it, "b.csv")[:2] == (True, "include pattern '*.csv'")


def test_directories_and_the_folder_itself(it: Living) -> None:
    it.build(exclude=("old/",))
    for name in ("new", "old", ".git"):
        (it.path / name).mkdir()
    assert answer(it, "new") == (False, "a directory: it is not sent itself, the files in it are", None)
    assert answer(it, "old") == (False, "a directory, not entered: exclude pattern 'old/'", None)
    assert answer(it, ".git") == (False, "a directory, not entered: below a hidden directory: .*", None)
    assert answer(it, "new/") == answer(it, "new")
    itself = (False, "the watched folder itself: it is not sent, the files in it are", None)
    assert answer(it, "") == itself
    assert it.intake.explain(os.fsencode(it.path)) == explained(it, "")
    it.build(recursive=False)
    assert answer(it, "new") == (False, "a directory, not entered: the folder is not watched recursively", None)
    shutil.rmtree(it.path)
    assert answer(it, "") == (
        False,
        "the watched folder itself: it is not sent, the files in it are",
        "the folder to be available: the folder does not exist; it is taken up as soon as it does",
    )


def test_what_is_no_regular_file(it: Living) -> None:
    os.mkfifo(it.path / "fifo")
    (it.path / "link").symlink_to("/etc/passwd")
    (it.path / "linked").symlink_to("/etc")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(it.path / "socket"))
    for name, kind in (("fifo", "a FIFO"), ("link", "a symbolic link"), ("socket", "a socket")):
        assert answer(it, name) == (False, f"no regular file but {kind}: these are never opened", None)
    # The same, whatever lies behind the link.
    for name in ("linked/passwd", "linked/no such file"):
        assert answer(it, name) == (
            False, "behind the symbolic link linked: links in a watched folder are not followed", None
        )  # fmt: skip


def test_a_folder_that_is_not_there(it: Living) -> None:
    shutil.rmtree(it.path)
    assert answer(it, "a") == (
        True,
        NO_RULE,
        "its folder to be available: the folder does not exist; it is taken up as soon as it does",
    )


def test_what_lay_there_before(it: Living) -> None:
    (it.path / "a").write_bytes(b"content")
    changed_ns = (it.path / "a").stat().st_ctime_ns
    wait_for(lambda: later_than(it.base, changed_ns + 200_000_000), 15, "the clock goes on")
    it.build(existing="ignore")
    it.intake.tick(0.0)
    for second in range(1, 10):
        assert answer(it, "a") == (False, EXISTING_IGNORED, None)
        it.intake.tick(float(second))
    it.intake.close()
    assert it.names(State.CANCELLED) == [b"a"]
    it.build(existing="upload")
    assert answer(it, "a") == (False, EXISTING_IGNORED, None)


def later_than(base: Path, instant_ns: int) -> bool:
    (base / "clock").write_bytes(b"")
    return (base / "clock").stat().st_ctime_ns > instant_ns


def test_a_file_that_was_touched_after_it_was_sent(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    it.wait_for_names(b"a")
    it.send_all({b"a": b"digest" * 5 + b"32"})
    it.stop()
    it.build()
    (it.path / "a").chmod(0o600)
    assert answer(it, "a") == (
        True,
        NO_RULE,
        "its digest to be compared: size and mtime are as sent, but the file was touched or changed since",
    )


def test_newer_content_is_explained_beside_the_job_of_the_older(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    it.wait_for_names(b"a")
    it.send_all()
    it.stop()
    it.build(settle_seconds=LONG_SECONDS)
    (it.path / "a").write_bytes(b"newer content")
    found = explained(it, "a")
    assert found.job is not None
    assert found.job.state is State.DONE
    assert answer(it, "a")[2] == f"rest: N s more without a change (settle_seconds = {LONG_SECONDS:g})"


def test_a_path_outside_has_no_answer_whether_it_is_there_or_not(it: Living) -> None:
    for path in (b"/etc/passwd", b"/no/such", os.fsencode(it.base), os.fsencode(it.path) + b"-2/a", b"/"):
        assert it.intake.explain(path) is None


@pytest.mark.parametrize(
    "name", [b"a\nb", b"\xff\xfe", b"\x1b[31m", "\u202ea.exe".encode(), "🎺".encode(), b" ", b"-x"]
)
def test_any_name(it: Living, name: bytes) -> None:
    path = os.fsencode(it.path) + b"/" + name
    with open(path, "wb") as file:
        file.write(b"content")
    it.start_and_scan()
    it.wait_for_names(name)
    assert answer(it, name) == (True, NO_RULE, None)


def test_a_file_that_may_not_be_looked_at(it: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tusd_agent.beneath.status", refused)
    assert answer(it, "a") == (True, NO_RULE, "the file to be readable: Permission denied")


def test_a_failed_or_held_job_is_part_of_the_answer(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    it.wait_for_names(b"a")
    job = it.claims.claim(Lane(str(it.path), "default"), 1e12)
    assert job is not None
    it.claims.fail(job, "the server answered 413", 1e12, "refused")
    found = explained(it, "a")
    assert found.job is not None
    assert (found.job.state, found.job.last_error) == (State.FAILED, "the server answered 413")
