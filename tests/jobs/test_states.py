"""The table of states against what it promises: who can leave which state, and that nothing is left out."""

import pytest

from tusd_agent.jobs.states import TABLE, WAITING, WORKING, Event, IllegalMove, State, target


def test_every_working_state_can_be_interrupted_recovered_and_finished() -> None:
    for state in WORKING:
        assert target(state, Event.INTERRUPT) in WAITING
        assert target(state, Event.RECOVER) in WAITING
        assert target(state, Event.FINISH) is State.DONE


def test_every_waiting_state_is_claimed_into_a_working_one() -> None:
    assert {target(state, Event.CLAIM) for state in WAITING} == WORKING


def test_superseded_is_never_left() -> None:
    assert [event for state, event in TABLE if state is State.SUPERSEDED] == []


def test_every_other_state_can_be_renamed_and_stays() -> None:
    for state in set(State) - {State.SUPERSEDED}:
        assert target(state, Event.RENAME) is state


def test_every_state_can_be_reached_from_a_new_job() -> None:
    reached: set[State | None] = {None}
    while True:
        further = {to for (state, _), to in TABLE.items() if state in reached} - reached
        if not further:
            break
        reached |= further
    assert reached == {None, *State}


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (State.DONE, Event.CLAIM),
        (State.FAILED, Event.CLAIM),
        (State.DELIVERED, Event.VANISH),
        (State.DISPOSING, Event.FAIL),
        (State.PENDING, Event.FINISH),
        (None, Event.CLAIM),
    ],
)
def test_an_illegal_move_is_a_missing_key(state: State | None, event: Event) -> None:
    with pytest.raises(IllegalMove, match=str(event)):
        target(state, event)
