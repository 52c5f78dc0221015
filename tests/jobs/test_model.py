"""The store against a queue of plain values: whatever is done to both, in whatever order, both must agree.

Several workers hold claims, among them such as have gone stale; the process is killed at any statement, and the next
one goes on with what is on the disk.
"""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tusd_agent.jobs.model import Entry, Fingerprint
from tusd_agent.jobs.orders import Verb
from tusd_agent.jobs.states import TABLE, Event, State

from .work import PLACES, Work

CONTENT, OTHER_CONTENT = Fingerprint(10, 1, 1, 1), Fingerprint(20, 2, 1, 2)


@pytest.mark.heavy
def test_the_store_does_what_plain_values_do() -> None:
    run_state_machine_as_test(
        Work,
        settings=settings(
            max_examples=100,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            # Shrinking takes minutes; the steps that failed are told either way.
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_of_two_contents_of_a_path_that_wait_the_older_goes_first() -> None:
    """Also where the newer one has been ready for longer, for the older one was cancelled until now."""
    work = Work()
    try:
        work.enqueue(PLACES[0], CONTENT, Entry.QUEUE, None)
        work.order(0, Verb.CANCEL, None)
        work.enqueue(PLACES[0], OTHER_CONTENT, Entry.QUEUE, None)
        work.wait(1.0)
        work.order_many(Verb.RETRY, {State.CANCELLED}, None, None)
        assert work.plain.rows[1].state is State.CANCELLED, "many are brought back only where there is nothing newer"
        work.both(None, lambda: work.orders.retry(1, work.now), lambda plain: plain.order(1, Verb.RETRY, work.now))
        work.claim(None)
        assert [job.id for job in work.hands] == [1]
        work.the_rows_agree()
    finally:
        work.teardown()


@pytest.mark.parametrize(("state", "event"), TABLE)
def test_each_move_of_the_table(state: State | None, event: Event) -> None:
    """Whatever chance leaves out."""
    work = Work()
    try:
        bring_to(work, state)
        take(work, state, event)
        assert (state, event) in work.taken
        work.the_rows_agree()
        work.the_counters_are_what_is_counted()
        work.no_upload_is_forgotten()
    finally:
        work.teardown()


def bring_to(work: Work, state: State | None) -> None:
    """The way of one job to that state."""
    if state is None:
        return
    work.enqueue(PLACES[0], CONTENT, Entry.QUEUE, None)
    match state:
        case State.PENDING:
            return
        case State.HELD:
            work.order(0, Verb.HOLD, None)
            return
        case State.CANCELLED:
            work.order(0, Verb.CANCEL, None)
            return
        case State.VANISHED:
            work.vanish(0, None)
            return
    work.claim(None)
    work.created(0, None)
    match state:
        case State.FAILED:
            work.fail(0, "refused", None)
        case State.DONE:
            work.arrive(0, 1, True, False, None)
        case State.DISPOSING | State.DELIVERED:
            work.arrive(0, 1, True, True, None)
    if state is State.DELIVERED:
        work.defer(0, 0.0, False, None)


def take(work: Work, state: State | None, event: Event) -> None:
    """Has the event happen to that job."""
    match event:
        case Event.HOLD | Event.CANCEL if state is None:
            entry = Entry.HOLD if event is Event.HOLD else Entry.IGNORE
            work.enqueue(PLACES[0], CONTENT, entry, None)
        case Event.ENQUEUE:
            work.enqueue(PLACES[0], CONTENT, Entry.QUEUE, None)
        case Event.SUPERSEDE:
            work.enqueue(PLACES[0], OTHER_CONTENT, Entry.QUEUE, None)
        case Event.CLAIM:
            work.claim(None)
        case Event.CREATED:
            pass  # on the way there
        case Event.PROGRESS:
            work.progress(0, None)
        case Event.DEFER:
            work.defer(0, 50.0, False, None)
        case Event.INTERRUPT:
            work.interrupt(0, False, None)
        case Event.RESTART:
            work.restart(0, 50.0, None)
        case Event.FAIL:
            work.fail(0, "refused", None)
        case Event.FINISH if state is State.DISPOSING:
            work.dispose(0, None)
        case Event.FINISH | Event.DELIVER:
            work.arrive(0, 1, True, event is Event.DELIVER, None)
        case Event.VANISH if state is State.UPLOADING:
            work.find_it_gone(0, None)
        case Event.VANISH:
            work.vanish(0, None)
        case Event.RENAME:
            work.rename(0, PLACES[1], 2, None)
        case Event.EXPIRE:
            work.expire(None)
        case Event.RECOVER:
            work.recover()
        case _:
            work.order(0, Verb(event), None)
