"""Forgetting rows: never those that prevent a second upload, and the room they took is given back."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.intake.living import Living, living
from tusd_agent.intake.retiring import LEAST_ABSENCE_SECONDS, Keep, Retiring
from tusd_agent.jobs.retention import Retention
from tusd_agent.jobs.states import State

DAY = 86_400.0


class Time:
    """A clock that is set by hand; it begins where the jobs of `Living.send_all` end."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


class Rounds:
    """Rounds of retiring over a living folder, days apart."""

    def __init__(self, it: Living, days: float = 30, jobs: int = 0) -> None:
        self.clock = Time()
        self._never = threading.Event()
        keep = Keep(Retention(it.database), days * DAY, jobs)
        self._retiring = Retiring(keep, list(it.intake._followed.values()), self.clock)

    def after(self, days: float) -> int:
        self.clock.now += days * DAY
        return self._retiring.round(self._never)


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Living]:
    with living(tmp_path) as it:
        it.build()
        yield it


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tusd_agent.intake.retiring.PAUSE_SECONDS", 0.0)


def sent(it: Living, *names: str) -> None:
    """Files that have arrived."""
    it.start_and_scan()
    for name in names:
        path = it.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content of " + os.fsencode(name))
    it.wait_for_names(*map(os.fsencode, names))
    it.send_all()


def newest(it: Living) -> None:
    """One more that has arrived and stays: the row with the highest id is never forgotten."""
    (it.path / "newest").write_bytes(b"stays")
    it.wait_for_names(b"newest")
    it.send_all()


def test_what_is_there_is_never_forgotten(it: Living) -> None:
    sent(it, "a", "d/b")
    rounds = Rounds(it)
    assert [rounds.after(100) for _ in range(3)] == [0, 0, 0]
    assert it.names(State.DONE) == [b"a", b"d/b"]


def test_what_is_gone_is_forgotten_when_it_was_gone_for_long_enough(it: Living) -> None:
    sent(it, "a", "d/b", "d/c")
    newest(it)
    shutil.rmtree(it.path / "d")
    rounds = Rounds(it)
    assert rounds.after(1) == 0
    assert rounds.after(29) == 0
    assert rounds.after(2) == 2
    assert it.names(State.DONE) == [b"a", b"newest"]
    with it.database.reading() as connection:
        assert connection.execute("SELECT path FROM directories").fetchall() == [(b"",)]


def test_what_comes_back_begins_anew(it: Living) -> None:
    sent(it, "a")
    newest(it)
    (it.path / "a").rename(it.base / "elsewhere")
    rounds = Rounds(it)
    assert rounds.after(1) == 0
    (it.base / "elsewhere").rename(it.path / "a")
    assert rounds.after(40) == 0
    (it.path / "a").unlink()
    assert rounds.after(1) == 0
    assert rounds.after(29) == 0
    assert rounds.after(2) == 1


def test_while_the_folder_is_unavailable_nothing_is_absent(it: Living, tmp_path: Path) -> None:
    sent(it, "a")
    it.path.rename(tmp_path / "moved")
    rounds = Rounds(it)
    assert [rounds.after(100) for _ in range(3)] == [0, 0, 0]
    (tmp_path / "moved").rename(it.path)
    assert rounds.after(100) == 0
    assert it.names(State.DONE) == [b"a"]


def test_older_contents_of_a_path_go_when_a_newer_one_is_done(it: Living) -> None:
    sent(it, "a")
    (it.path / "a").write_bytes(b"newer content")
    it.wait_for_names(b"a")
    rounds = Rounds(it)
    assert rounds.after(31) == 0, "the newer one is not done yet"
    it.send_all()
    assert rounds.after(0) == 1
    assert len(it.jobs()) == 1


def test_too_many_rows_go_sooner_but_not_at_once(it: Living) -> None:
    sent(it, "a", "b", "c")
    for name in "ab":
        (it.path / name).unlink()
    rounds = Rounds(it, days=30, jobs=1)
    assert rounds.after(0) == 0
    assert rounds.after(LEAST_ABSENCE_SECONDS / DAY) == 2
    assert it.names(State.DONE) == [b"c"]


def test_failed_held_and_waiting_jobs_stay(it: Living) -> None:
    it.start_and_scan()
    (it.path / "a").write_bytes(b"content")
    it.wait_for_names(b"a")
    it.stop()
    (it.path / "a").unlink()
    rounds = Rounds(it)
    assert [rounds.after(100) for _ in range(2)] == [0, 0]
    assert it.names() == [b"a"]


def test_a_number_is_never_given_to_a_second_job(it: Living) -> None:
    sent(it, "a", "b")
    for name in "ab":
        (it.path / name).unlink()
    rounds = Rounds(it)
    assert rounds.after(1) == 0
    assert rounds.after(31) == 1, "the one with the highest number stays"
    numbers = {job.id for job in it.jobs()}
    assert numbers == {2}
    newest(it)
    assert {job.id for job in it.jobs()} == {2, 3}
    assert rounds.after(0) == 1
    assert {job.id for job in it.jobs()} == {3}


def test_the_room_is_given_back(it: Living) -> None:
    names = [f"{number:03}" + "x" * 200 for number in range(300)]
    sent(it, *names)
    newest(it)
    for name in names:
        (it.path / name).unlink()
    rounds = Rounds(it)
    assert rounds.after(1) == 0
    with it.database.reading() as connection:
        (before,) = connection.execute("PRAGMA page_count").fetchone()
    assert rounds.after(31) == 300
    with it.database.reading() as connection:
        (after,) = connection.execute("PRAGMA page_count").fetchone()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    assert after < before / 2
    assert free == 0
