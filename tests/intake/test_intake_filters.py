"""Which names are taken, and what is said of why."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_agent.intake.filters import Filter
from tusd_agent.intake.folder import WatchedFolder
from tusd_agent.jobs.model import ASIDE_PREFIX


def rules(include: tuple[str, ...] = (), exclude: tuple[str, ...] = (), recursive: bool = True) -> Filter:
    return Filter(WatchedFolder("/srv/out", "default", recursive, include=include, exclude=exclude))


@pytest.mark.parametrize(
    "name",
    [
        b".hidden", b"x~", b"x.tmp", b"x.part", b"x.partial", b"x.filepart", b"x.crdownload", b"x.swp", b"~$x.docx",
        b"deep/down/x.part", b".git/config", b"a/.cache/b/x", ASIDE_PREFIX + b"5", b"a/" + ASIDE_PREFIX + b"5",
    ],
)  # fmt: skip
def test_temporary_names_are_left_alone(name: bytes) -> None:
    assert not rules().verdict(name, is_directory=False).taken


@pytest.mark.parametrize("name", [b"x", b"x.tmp.csv", b"part", b"a.part/x", b"~x", b"x~1", b"a b/c\n.d", b"\xff\xfe"])
def test_other_names_are_taken(name: bytes) -> None:
    assert rules().verdict(name, is_directory=False).taken


def test_of_directories_only_hidden_ones_are_not_entered() -> None:
    assert rules().verdict(b"x.part", is_directory=True).taken
    assert rules().verdict(b"x~", is_directory=True).taken
    assert not rules().verdict(b"a/.x", is_directory=True).taken


def test_excluded_directories_are_not_entered_and_nothing_below_them_is_taken() -> None:
    excluding = rules(exclude=("build/", "!build/keep.txt"))
    assert not excluding.verdict(b"build", is_directory=True).taken
    assert not excluding.verdict(b"a/build", is_directory=True).taken
    assert not excluding.verdict(b"build/x", is_directory=False).taken
    assert not excluding.verdict(b"build/keep.txt", is_directory=False).taken
    assert excluding.verdict(b"build", is_directory=False).taken


def test_a_later_pattern_takes_out_of_an_earlier_one() -> None:
    excluding = rules(exclude=("*.log", "!important.log"))
    assert not excluding.verdict(b"a/x.log", is_directory=False).taken
    assert excluding.verdict(b"a/important.log", is_directory=False).taken


def test_include_patterns_count_for_files_not_for_the_directories_on_the_way() -> None:
    including = rules(include=("*.csv", "/raw/**"))
    assert including.verdict(b"deep", is_directory=True).taken
    assert including.verdict(b"deep/x.csv", is_directory=False).taken
    assert including.verdict(b"raw/x/y.bin", is_directory=False).taken
    assert not including.verdict(b"deep/x.bin", is_directory=False).taken


def test_exclude_goes_before_include_and_temporary_before_both() -> None:
    both = rules(include=("*",), exclude=("*.csv",))
    assert not both.verdict(b"x.csv", is_directory=False).taken
    assert not both.verdict(b"x.tmp", is_directory=False).taken
    assert both.verdict(b"x.bin", is_directory=False).taken


def test_a_folder_that_is_not_recursive_takes_its_own_files_only() -> None:
    flat = rules(recursive=False)
    assert flat.verdict(b"x", is_directory=False).taken
    assert not flat.verdict(b"a", is_directory=True).taken
    assert not flat.verdict(b"a/x", is_directory=False).taken


def test_names_that_are_no_utf8_and_names_with_newlines_match_patterns_too() -> None:
    excluding = rules(exclude=("*.log",))
    assert not excluding.verdict(b"\xff\xfe.log", is_directory=False).taken
    assert not excluding.verdict(b"a\nb/c\nd.log", is_directory=False).taken
    assert excluding.verdict(b"x.log\n", is_directory=False).taken
    assert not rules(exclude=(os.fsdecode(b"caf\xe9*"),)).verdict(b"caf\xe9.txt", is_directory=False).taken


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        (b"x.part", "a temporary name: *.part"),
        (b"x.log", "exclude pattern '*.log'"),
        (b"x.csv", "include pattern '*.csv'"),
        (b"x.bin", "no include pattern matches"),
        (b"old/x.csv", "exclude pattern 'old/'"),
        (b".x/x.csv", "below a hidden directory: .*"),
        (ASIDE_PREFIX + b"1", "a file that the agent itself has put aside"),
    ],
)
def test_the_rule_that_decided_is_said(name: bytes, rule: str) -> None:
    verdict = rules(include=("*.csv",), exclude=("*.log", "old/")).verdict(name, is_directory=False)
    assert verdict.rule == rule


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="!"):
        rules(exclude=("!",))


@given(st.lists(st.binary(min_size=1, max_size=12).filter(lambda part: b"/" not in part and b"\0" not in part)))
def test_any_bytes_are_judged_and_what_lies_below_is_judged_as_its_directory(parts: list[bytes]) -> None:
    judging = rules(include=("*.c",), exclude=("a*", "[b-d]/"))
    for depth in range(1, len(parts)):
        above, below = b"/".join(parts[:depth]), b"/".join(parts[: depth + 1])
        if not judging.verdict(above, is_directory=True).taken:
            assert not judging.verdict(below, is_directory=True).taken
            assert not judging.verdict(below, is_directory=False).taken
