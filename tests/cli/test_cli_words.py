"""Sizes, rates, durations and instants in words."""

import re
from datetime import datetime

import pytest

from tusd_agent.cli import words


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (10 * 1024 - 1, "10 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (12 * 1024**2, "12 MiB"),
        (int(2.84 * 1024**3), "2.8 GiB"),
        (1024**5, "1.0 PiB"),
        (2**63 - 1, "8.0 EiB"),
        (5000 * 1024**6, "5000 EiB"),
    ],
)
def test_size(size_bytes: int, text: str) -> None:
    assert words.size(size_bytes) == text


def test_rate() -> None:
    assert words.rate(12.4 * 1024**2) == "12 MiB/s"
    assert words.rate(0.4) == "0 B/s"


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 10, "0 %"),
        (999, 1000, "99 %"),
        (1000, 1000, "100 %"),
        (0, 0, "100 %"),
        (2**62 - 1, 2**62, "99 %"),
        (9, 5, "100 %"),
    ],
)
def test_percent_is_100_only_when_all_is_there(part: int, whole: int, text: str) -> None:
    assert words.percent(part, whole) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (3660, "1 h 1 min"),
        (86399, "23 h 59 min"),
        (86400, "1 d"),
        (90000, "1 d 1 h"),
        (400 * 86400, "400 d"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(("at", "text"), [(1000.5, "now"), (1180, "in 3 min"), (820, "3 min ago")])
def test_distance(at: float, text: str) -> None:
    assert words.distance(at, 1000.0) == text


def test_an_instant_is_local_iso_with_its_offset() -> None:
    text = words.instant(1_700_000_000.9, 1_700_000_180.0)
    shown, _, distance = text.partition(" ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", shown)
    assert datetime.fromisoformat(shown).timestamp() == 1_700_000_000
    assert distance == "(2 min ago)"


def test_plural() -> None:
    assert [words.plural(count, "job") for count in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]


def test_columns_are_aligned_whatever_the_script() -> None:
    lines = words.aligned([["a", "1", "x"], ["漢字", "100", "y"], ["e\u0301e", "20", ""]], right=(1,))
    assert lines == ["a       1  x", "漢字  100  y", "e\u0301e     20"]
    assert words.aligned([]) == []
