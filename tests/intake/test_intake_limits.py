"""Limits of size, age, depth and names: by event, by scan, and in what is said of them."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.intake.living import Living, living
from tests.support.files import wait_for
from tusd_agent.intake import follow
from tusd_agent.intake.filters import Filter
from tusd_agent.intake.folder import WatchedFolder
from tusd_agent.intake.notes import LIMIT
from tusd_agent.jobs.model import Fingerprint

SECOND_NS = 10**9


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Living]:
    with living(tmp_path) as it:
        yield it


def said(it: Living, name: str) -> tuple[bool, str]:
    explanation = it.intake.explain(os.fsencode(it.path / name))
    assert explanation is not None
    return explanation.taken, explanation.rule


def make(it: Living, *files: tuple[str, int]) -> None:
    for name, size in files:
        (it.path / name).parent.mkdir(parents=True, exist_ok=True)
        (it.path / name).write_bytes(b"x" * size)


@pytest.mark.parametrize("by", ["event", "scan"])
def test_sizes(it: Living, by: str) -> None:
    files = (("empty", 0), ("small", 9), ("least", 10), ("most", 20), ("large", 21))
    it.build(min_size_bytes=10, max_size_bytes=20)
    if by == "scan":
        make(it, *files)
    it.start_and_scan()
    if by == "event":
        make(it, *files)
    it.wait_for_names(b"least", b"most")
    it.wait_until_settled_without_marker()
    assert it.names() == [b"least", b"most"]
    assert said(it, "small") == (False, "smaller than min_size: 9 bytes, not 10 or more")
    assert said(it, "large") == (False, "larger than max_size: 21 bytes, not 20 or fewer")
    # One that grows into the limits is taken then.
    make(it, ("small", 11))
    it.wait_for_names(b"least", b"most", b"small")


@pytest.mark.parametrize("by", ["event", "scan"])
def test_a_file_that_is_too_old(it: Living, by: str) -> None:
    it.build(max_age_seconds=3600)
    if by == "event":
        it.start_and_scan()
    for name, age in (("old", 4000), ("young", 3000), ("future", -4000)):
        (it.base / name).write_bytes(b"content")
        os.utime(it.base / name, (time.time() - age,) * 2)
        os.rename(it.base / name, it.path / name)
    if by == "scan":
        it.start_and_scan()
    it.wait_for_names(b"future", b"young")
    it.wait_until_settled_without_marker()
    assert said(it, "old") == (False, "older than max_age_seconds = 3600")
    assert it.names() == [b"future", b"young"]


@pytest.mark.parametrize("by", ["event", "scan"])
def test_a_file_that_becomes_old_enough_is_taken_without_another_scan(it: Living, by: str) -> None:
    it.build(min_age_seconds=1.5)
    if by == "event":
        it.start_and_scan()
    written_at = time.time()
    (it.path / "young").write_bytes(b"content")
    if by == "scan":
        it.start_and_scan()
    scanned_at = it.state().last_scan_at
    explanation = it.intake.explain(os.fsencode(it.path / "young"))
    assert explanation is not None
    assert explanation.taken
    assert (explanation.waits_for or "").startswith("its age: younger than min_age_seconds = 1.5; ")
    it.wait_for_names(b"young")
    assert time.time() >= written_at + 1.5
    assert it.state().last_scan_at == scanned_at
    assert it.state().settling == 0


def test_a_young_file_that_is_written_again_is_as_young_as_that(it: Living) -> None:
    it.build(min_age_seconds=1.0)
    it.start_and_scan()
    path = it.path / "young"
    path.write_bytes(b"content")
    wait_for(lambda: time.time() > path.stat().st_mtime + 0.7, 15, "some age")
    path.write_bytes(b"newer content")
    it.wait_for_names(b"young")
    (job,) = it.jobs()
    assert (job.size_bytes, job.created_at >= path.stat().st_mtime + 1.0) == (13, True)


def test_young_files_beyond_the_limit_are_found_again_by_a_scan(it: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "LIMIT", 50)
    it.build(min_age_seconds=1.5)
    it.start_and_scan()
    for number in range(200):
        (it.path / str(number)).write_bytes(b"content")
    it.wait_for_names(*(b"%d" % number for number in range(200)))


@pytest.mark.heavy
def test_very_many_young_files_stay_bounded_in_memory(it: Living) -> None:
    for number in range(LIMIT + 5000):
        os.close(os.open(it.path / str(number), os.O_WRONLY | os.O_CREAT))
    it.build(min_age_seconds=3600)
    it.start()
    state = it.wait_for_scan()
    assert state.files_seen == LIMIT + 5000
    wait_for(lambda: it.state().settling == LIMIT, 60, f"{LIMIT} files that wait: {it.state()}")
    assert it.jobs() == []


@pytest.mark.parametrize("by", ["event", "scan"])
@pytest.mark.parametrize("hidden", [False, True])
def test_hidden_files(it: Living, by: str, hidden: bool) -> None:
    files = ((".file", 1), (".folder/file", 1), ("folder/.file", 1), ("plain", 1), (".x.tmp", 1))
    it.build(hidden=hidden)
    if by == "scan":
        make(it, *files)
    it.start_and_scan()
    if by == "event":
        make(it, *files)
    it.wait_for_names(*([b".file", b".folder/file", b"folder/.file", b"plain"] if hidden else [b"plain"]))
    it.wait_until_settled_without_marker()
    assert said(it, ".file")[0] is hidden
    assert said(it, ".folder/file")[0] is hidden
    assert said(it, ".x.tmp")[0] is False
    assert len(it.jobs()) == (4 if hidden else 1)


@pytest.mark.parametrize("by", ["event", "scan"])
def test_depth(it: Living, by: str) -> None:
    files = (("1", 1), ("a/2", 1), ("a/b/3", 1), ("a/b/c/4", 1))
    it.build(max_depth=2)
    if by == "scan":
        make(it, *files)
    it.start_and_scan()
    if by == "event":
        make(it, *files)
    it.wait_for_names(b"1", b"a/2")
    it.wait_until_settled_without_marker()
    assert said(it, "a/b/3") == (False, "deeper than max_depth = 2")
    assert said(it, "a/b/c/4") == (False, "deeper than max_depth = 2")
    assert said(it, "a/2")[0] is True
    assert it.names() == [b"1", b"a/2"]


@pytest.mark.parametrize("by", ["event", "scan"])
def test_patterns_count_in_their_order(it: Living, by: str) -> None:
    files = (
        ("a.log", 1),
        ("important.log", 1),
        ("raw/x.bin", 1),
        ("raw/x.csv", 1),
        ("other.bin", 1),
        ("cache/y.csv", 1),
    )
    it.build(include=("*.csv", "*.log", "/raw/*"), exclude=("*.log", "!important.log", "cache/"))
    if by == "scan":
        make(it, *files)
    it.start_and_scan()
    if by == "event":
        make(it, *files)
    it.wait_for_names(b"important.log", b"raw/x.bin", b"raw/x.csv")
    it.wait_until_settled_without_marker()
    assert said(it, "a.log") == (False, "exclude pattern '*.log'")
    assert said(it, "important.log") == (True, "include pattern '*.log'")
    assert said(it, "raw/x.bin") == (True, "include pattern '/raw/*'")
    assert said(it, "other.bin") == (False, "no include pattern matches")
    assert said(it, "cache/y.csv") == (False, "exclude pattern 'cache/'")
    assert len(it.jobs()) == 3


def limits(**settings: float) -> Filter:
    return Filter(WatchedFolder("/srv/out", "default", **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mtime", "ctime", "taken"),
    [(90, 90, False), (90, 10, True), (10, 90, True), (1000, 90, False), (1000, 10, True), (89, 95, True)],
)
def test_the_age_is_that_of_the_older_of_both_times(mtime: int, ctime: int, taken: bool) -> None:
    verdict = limits(min_age_seconds=10.5).content(Fingerprint(1, mtime * SECOND_NS, ctime * SECOND_NS, 7), 100.0)
    assert verdict.taken is taken
    assert (verdict.again_at is not None) is not taken
    assert taken or verdict.again_at == min(mtime, ctime) + 10.5


def test_a_file_both_too_small_and_too_young_does_not_wait_for_its_age() -> None:
    verdict = limits(min_age_seconds=10, min_size_bytes=5).content(
        Fingerprint(1, 99 * SECOND_NS, 99 * SECOND_NS, 7), 100.0
    )
    assert (verdict.taken, verdict.again_at) == (False, None)


def test_a_path_of_very_many_directories_is_judged_like_any_other() -> None:
    deep = b"a/" * 2000
    assert limits().verdict(deep + b"file", is_directory=False).taken
    assert limits().verdict(deep.rstrip(b"/"), is_directory=True).taken
    assert not limits().verdict(b"x/" + b".hidden/" + deep + b"file", is_directory=False).taken
    assert limits(max_depth=4).verdict(deep + b"file", is_directory=False).rule == "deeper than max_depth = 4"
