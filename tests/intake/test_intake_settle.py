"""When a file is complete: pure, no disk and no clock."""

from hypothesis import given
from hypothesis import strategies as st

from tusd_agent.intake.settle import Observation, Settling
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
    assert len(settling) == 0
    assert settling.next_due() is None


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
                del seen_since[name]
        next_due = settling.next_due()
        assert bool(settling.due(now, 99)) == (next_due is not None and next_due <= now)
