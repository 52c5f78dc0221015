"""What a file system says when it fails: the folder is unavailable, or a problem is said, and nothing vanishes.

No real file system fails on demand, so the functions that ask it do.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.intake.living import Living, living
from tusd_agent import beneath
from tusd_agent.jobs.states import State

pytestmark = pytest.mark.heavy  # real disks that fail take their time


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Living]:
    with living(tmp_path) as it:
        yield it


def failing(real: Callable[..., object], fails: Callable[..., bool], code: int) -> Callable[..., object]:
    """The function, but for what `fails` says of its arguments."""

    def call(*arguments: object, **named: object) -> object:
        if fails(*arguments):
            raise OSError(code, os.strerror(code))
        return real(*arguments, **named)

    return call


CODES = [errno.ESTALE, errno.EIO]


@pytest.fixture
def waiting(it: Living) -> Living:
    """Jobs that wait, in two directories; polled, so that scans are what there is."""
    it.build(watch="poll", poll_interval_seconds=1.0)
    (it.path / "sub").mkdir()
    for name in ("a", "sub/b", "sub/c"):
        (it.path / name).write_bytes(b"content")
    it.tick_until_names(b"a", b"sub/b", b"sub/c")
    return it


def tick_for_seconds(it: Living, seconds: float) -> None:
    end = it.now + seconds
    it.tick_until(lambda: it.now > end, "the time to pass", step_seconds=0.5)


@pytest.mark.parametrize("code", CODES)
def test_a_root_that_answers_with_an_error_is_unavailable_and_nothing_vanishes(waiting: Living, code: int) -> None:
    it, root = waiting, str(waiting.path)
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(os, "scandir", failing(os.scandir, lambda path=".": path == root, code))
        broken.setattr(os, "open", failing(os.open, lambda path, *flags: path == root, code))
        it.tick_until(lambda: not it.state().available, "the folder to be missed")
        tick_for_seconds(it, 30)
        assert it.state().problem == f"its file system does not answer: {os.strerror(code)}"
        assert it.names() == [b"a", b"sub/b", b"sub/c"]
        assert not it.intake.is_present(root)
    it.tick_until(lambda: it.state().available and it.state().problem is None, "the folder to be back")
    (it.path / "new").write_bytes(b"content")
    it.tick_until_names(b"a", b"new", b"sub/b", b"sub/c")


@pytest.mark.parametrize("code", CODES)
def test_a_root_that_fails_in_the_middle_of_a_scan(
    waiting: Living, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    it = waiting
    caplog.set_level(logging.INFO)
    with pytest.MonkeyPatch.context() as broken:
        # The looks at the folder go by its path and succeed, what the scan reads goes by descriptors and fails.
        broken.setattr(os, "scandir", failing(os.scandir, lambda path=".": isinstance(path, int), code))
        it.tick_until(lambda: it.state().problem, "the problem")
        tick_for_seconds(it, 30)
        assert it.names() == [b"a", b"sub/b", b"sub/c"]
        # It is taken up in vain less and less often: 0.1, 0.2, 0.4 seconds apart, and so on.
        assert 3 <= sum(record.message.startswith("Watching ") for record in caplog.records) <= 12
    it.now += 60
    it.tick_until(lambda: it.state().available and it.state().problem is None, "the folder to be back")
    assert it.names() == [b"a", b"sub/b", b"sub/c"]


@pytest.mark.parametrize("code", CODES)
def test_a_directory_that_answers_with_an_error_is_a_problem_and_nothing_vanishes(waiting: Living, code: int) -> None:
    it = waiting
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(os, "open", failing(os.open, lambda path, *flags: path == b"sub", code))
        it.tick_until(lambda: it.state().problem, "the problem")
        (it.path / "a").unlink()
        it.tick_until(lambda: it.names(State.VANISHED) == [b"a"], "the rest to go on")
        tick_for_seconds(it, 30)
        assert it.state().available
        assert it.state().problem == f"the directory sub can't be looked at: {os.strerror(code)}"
        assert it.names() == [b"sub/b", b"sub/c"]
    it.tick_until(lambda: it.state().problem is None, "the end of it")
    assert it.names() == [b"sub/b", b"sub/c"]


@pytest.mark.parametrize("code", CODES)
def test_a_file_that_answers_with_an_error_does_not_vanish(waiting: Living, code: int) -> None:
    it = waiting
    real = os.stat
    with pytest.MonkeyPatch.context() as broken:
        # Its name is in the directory no more, and to look at it fails: nobody knows whether it is there.
        (it.path / "sub/b").rename(it.base / "b")
        (it.path / "sub/c").unlink()
        broken.setattr(os, "stat", failing(real, lambda path: path == b"b", code))
        tick_for_seconds(it, 30)
        assert it.names() == [b"a", b"sub/b", b"sub/c"]
        assert it.state().available
    (it.base / "b").rename(it.path / "sub/b")
    it.tick_until_names(b"a", b"sub/b")
    assert it.names(State.VANISHED) == [b"sub/c"]


@pytest.mark.parametrize("code", CODES)
def test_a_new_file_that_answers_with_an_error_is_taken_when_it_can_be(waiting: Living, code: int) -> None:
    it = waiting
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(beneath, "open_regular", failing(beneath.open_regular, lambda *at: at[2] == b"new", code))
        (it.path / "new").write_bytes(b"content")
        tick_for_seconds(it, 30)
        assert it.names() == [b"a", b"sub/b", b"sub/c"]
    it.tick_until_names(b"a", b"new", b"sub/b", b"sub/c")


def test_the_agent_without_a_free_descriptor_says_so(waiting: Living) -> None:
    it, root = waiting, str(waiting.path)
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(os, "open", failing(os.open, lambda path, *flags: path == root, errno.EMFILE))
        it.tick_until(lambda: "LimitNOFILE" in (it.state().problem or ""), "the problem")
        tick_for_seconds(it, 10)
        assert it.names() == [b"a", b"sub/b", b"sub/c"]
    it.tick_until(lambda: it.state().available and it.state().problem is None, "the folder to be back")


def test_a_disk_that_goes_while_absent_files_are_looked_for(waiting: Living) -> None:
    """Between the look at the folder and the look at its files it is unmounted: their absence says nothing."""
    it = waiting
    (followed,) = it.intake._followed.values()
    looks: list[tuple[int, int]] = []
    look = followed.ground.look

    def unmounted_after_the_first() -> tuple[int, int]:
        looks.append(look() if len(looks) % 2 == 0 else (0, 0))
        return looks[-1]

    followed.ground.look = unmounted_after_the_first  # type: ignore[method-assign]
    (it.path / "a").unlink()
    followed._absent.append((0.0, b""))
    followed.end_absent(it.now)
    assert len(looks) == 2
    assert b"a" in it.names()
