"""When a file is complete: pure, no disk and no clock."""

from hypothesis import given
from hypothesis import strategies as st

from tusd_agent.intake.settle import Later, Observation, Settling
from tusd_agent.jobs.model import Fingerprint, Place

QUIET = 2.0


def place(name: bytes = b"a") -> Place:
    return Place("/srv/out", b"", name)


def content(number: int = 0) -> Fingerprint:
    return Fingerprint(10, 1, number, 7)


def test_a_file_is_ready_when_it_was_quiet_and_unchanged() -> None:
    settling = Settling(QUIET)
    settling.note(place(), 0.0)
    assert settling.observe(place(), content(), 0.0) is Observation.NOT_YET
    assert settling.due(1.9, 10) == []
    assert settling.next_due() == 2.0
    assert settling.due(2.0, 10) == [place()]
    assert settling.observe(place(), content(), 2.0) is Observation.READY
    assert settling.left_seconds(place(), 2.0) == 0.0
    settling.forget(place())
    assert len(settling) == 0
    assert settling.next_due() is None
    assert settling.left_seconds(place(), 2.0) is None


def test_a_file_that_never_rests_is_kept_and_told_of() -> None:
    settling = Settling(QUIET, growing_after_seconds=60.0)
    for second in range(60):
        settling.note(place(), float(second))
    settling.note(place(b"b"), 59.0)
    assert settling.growing == {}
    settling.note(place(), 60.0)
    assert settling.growing == {place(): 0.0}
    # Also one that is quiet, and found to be open for writing each time.
    assert settling.observe(place(), content(), 62.0) is Observation.NOT_YET
    assert settling.observe(place(), content(), 64.0) is Observation.READY
    settling.note(place(), 64.0)
    assert settling.growing == {place(): 0.0}
    settling.forget(place())
    assert settling.growing == {}
    assert place(b"b") in settling


def test_what_waits_for_an_instant_of_its_own_comes_in_the_order_of_these() -> None:
    later = Later()
    for name, due in ((b"c", 3.0), (b"a", 1.0), (b"b", 1.0), (b"a", 0.5)):
        later.add(place(name), due)
    assert (len(later), later.next_due()) == (3, 1.0)
    assert later.take_due(0.9, 10) == []
    assert later.take_due(1.0, 1) == [place(b"a")]
    assert later.take_due(5.0, 10) == [place(b"b"), place(b"c")]
    assert (len(later), later.next_due()) == (0, None)


def test_an_event_begins_the_quiet_time_anew() -> None:
    settling = Settling(QUIET)
    settling.note(place(), 0.0)
    settling.observe(place(), content(), 0.0)
    settling.note(place(), 1.5)
    assert settling.due(3.4, 10) == []
    assert settling.observe(place(), content(), 3.4) is Observation.NOT_YET
    assert settling.observe(place(), content(), 3.5) is Observation.READY


def test_a_change_that_no_event_told_of_begins_it_anew_too() -> None:
    settling = Settling(QUIET)
    settling.note(place(), 0.0)
    settling.observe(place(), content(0), 0.0)
    assert settling.observe(place(), content(1), 2.0) is Observation.NOT_YET
    assert settling.next_due() == 4.0
    assert settling.observe(place(), content(1), 4.0) is Observation.READY


def test_the_first_look_alone_never_makes_a_file_ready() -> None:
    settling = Settling(QUIET)
    settling.note(place(), 0.0)
    assert settling.observe(place(), content(), 100.0) is Observation.NOT_YET
    assert settling.observe(place(), content(), 102.0) is Observation.READY


def test_without_a_quiet_time_the_first_look_is_enough() -> None:
    settling = Settling(0.0)
    settling.note(place(), 5.0)
    assert settling.observe(place(), content(), 5.0) is Observation.READY


def test_a_file_that_is_gone_is_forgotten() -> None:
    settling = Settling(QUIET)
    settling.note(place(), 0.0)
    assert settling.observe(place(), None, 1.0) is Observation.GONE
    assert place() not in settling


def test_no_more_are_due_than_asked_for_the_longest_quiet_first() -> None:
    settling = Settling(QUIET)
    for number in range(5):
        settling.note(place(b"%d" % number), float(number))
    settling.note(place(b"0"), 5.0)
    assert settling.due(100.0, 3) == [place(b"1"), place(b"2"), place(b"3")]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["note", "look", "write"]),
            st.sampled_from([b"a", b"b", b"c"]),
            st.floats(0.0, 3.0, allow_nan=False),
        ),
        max_size=60,
    )
)
def test_ready_always_means_quiet_and_unchanged_for_long_enough(steps: list[tuple[str, bytes, float]]) -> None:
    settling = Settling(QUIET)
    now = 0.0
    written = dict.fromkeys([b"a", b"b", b"c"], 0)
    last_noted: dict[bytes, float] = {}
    # Since when every look has seen what the last one saw.
    seen_since: dict[bytes, tuple[int, float]] = {}
    for what, name, wait in steps:
        now += wait
        if what == "note":
            settling.note(place(name), now)
            last_noted[name] = now
        elif what == "write":
            written[name] += 1
        elif place(name) in settling:
            if name not in seen_since or seen_since[name][0] != written[name]:
                seen_since[name] = (written[name], now)
            ready = settling.observe(place(name), content(written[name]), now) is Observation.READY
            assert ready == (now >= max(last_noted[name], seen_since[name][1]) + QUIET)
            if ready:
                settling.forget(place(name))
                del seen_since[name]
        next_due = settling.next_due()
        assert bool(settling.due(now, 99)) == (next_due is not None and next_due <= now)
