"""Whose turn it is, as values: who has more waiting does not get more turns."""

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import pytest

from tusd_agent.delivery.turns import Turns, admits, kept_for_small
from tusd_agent.jobs.model import Lane
from tusd_agent.jobs.waiting import Head, Kind


def head(folder: str, endpoint: str = "default", *, tried: bool = False, large: bool = False, at: float = 1.0) -> Head:
    return Head(Lane(folder, endpoint), Kind(tried, large), at)


def first(
    turns: Turns,
    heads: list[Head],
    priority: Mapping[str, int] | None = None,
    in_flight: Mapping[str, int] | None = None,
    probing: tuple[str, ...] = (),
) -> Head:
    chosen = turns.in_order(
        heads, lambda folder: (priority or {}).get(folder, 0), lambda name: (in_flight or {}).get(name, 0), probing
    )[0]
    turns.served(chosen)
    return chosen


def test_an_endpoint_with_twenty_folders_gets_the_turns_of_one() -> None:
    heads = [head(f"many/{number}", "many") for number in range(20)] + [head("one", "one", at=9.0)]
    turns = Turns()
    served = [first(turns, heads).lane for _ in range(400)]
    assert Counter(lane.endpoint for lane in served) == {"many": 200, "one": 200}
    assert set(Counter(lane.folder for lane in served if lane.endpoint == "many").values()) == {10}


def test_a_folder_that_comes_later_is_served_at_once_and_not_more_than_others() -> None:
    turns = Turns()
    for _ in range(100):
        first(turns, [head("a"), head("b")])
    both = [head("a"), head("b"), head("c", at=99.0)]
    assert [first(turns, both).lane.folder for _ in range(6)] == ["c", "a", "b"] * 2


def test_the_endpoint_with_the_fewest_in_flight_is_next() -> None:
    heads = [head("a", "slow"), head("b", "fast")]
    turns = Turns()
    served = [first(turns, heads, in_flight={"slow": 2, "fast": 1}).lane.endpoint for _ in range(3)]
    assert served == ["fast"] * 3


def test_higher_priority_goes_first() -> None:
    heads = [head("low", at=0.0), head("high", at=5.0), head("middle")]
    turns, priority = Turns(), {"high": 10, "low": -10}
    assert {first(turns, heads, priority).lane.folder for _ in range(9)} == {"high"}
    assert {first(turns, heads[::2], priority).lane.folder for _ in range(9)} == {"middle"}


@pytest.mark.parametrize(("new_at", "tried_at"), [(1.0, 2.0), (2.0, 1.0), (1.0, 1.0)])
def test_new_and_tried_jobs_alternate(new_at: float, tried_at: float) -> None:
    heads = [head("a", at=new_at), head("a", tried=True, at=tried_at)]
    turns = Turns()
    tried = [first(turns, heads).kind.tried for _ in range(20)]
    assert all(before is not after for before, after in pairwise(tried))


def test_of_new_jobs_the_one_that_waits_longest_is_next_large_or_small() -> None:
    assert first(Turns(), [head("a", large=True, at=1.0), head("a", at=2.0)]).kind.large
    assert not first(Turns(), [head("a", large=True, at=2.0), head("a", at=1.0)]).kind.large


def test_the_probe_is_a_job_that_was_never_tried_where_there_is_one() -> None:
    heads = [head("a", tried=True, at=0.0), head("b", at=9.0)]
    turns = Turns()
    assert [first(turns, heads, probing=("default",)).kind.tried for _ in range(5)] == [False] * 5
    assert first(turns, heads[:1], probing=("default",)).kind.tried


@pytest.mark.parametrize(("concurrency", "kept"), [(1, 0), (2, 1), (3, 1), (4, 1), (7, 1), (8, 2), (16, 4), (256, 64)])
def test_one_of_four_is_kept_for_small_files(concurrency: int, kept: int) -> None:
    assert kept_for_small(concurrency) == kept
    assert admits(concurrency, concurrency - kept - 1, concurrency - kept - 1, large=True)
    assert admits(concurrency, concurrency - 1, concurrency - kept, large=False) or kept == 0
    assert not admits(concurrency, concurrency - kept, concurrency - kept, large=True)
    assert not admits(concurrency, concurrency, 0, large=False)
    assert not admits(0, 0, 0, large=False)
