"""The life of a job, as one literal table. Words only: this file imports nothing of the project.

A job is one *content* of one path. ``TABLE[state, event]`` is the state it goes to; a missing key is an illegal
move. What else an event changes in the row stands with the verb that causes it (`ledger`, `claims`, `orders`).
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where a job is. A waiting and a working state for each half of the way, one end, and what stands aside."""

    PENDING = "pending"
    """Waits to be uploaded: as soon as `not_before` has come and its endpoint accepts. A worker takes it."""

    UPLOADING = "uploading"
    """A worker holds it and sends. The worker leaves it; a stop or a crash puts it back to pending."""

    DELIVERED = "delivered"
    """The server has it all, the after-upload action has yet to be carried out (again). A worker takes it."""

    DISPOSING = "disposing"
    """A worker holds it and carries out the after-upload action."""

    DONE = "done"
    """On the server, and disposed of as the folder asks. The row stays: it prevents a second upload."""

    FAILED = "failed"
    """A person must look: trying again by itself can't help. `retry` brings it back."""

    HELD = "held"
    """Kept back, by the operator or by the agent with a reason. `release` brings it back, `adopt` takes it as done."""

    CANCELLED = "cancelled"
    """Not to be sent, says the operator or the folder's ``existing = "ignore"``. `retry` brings it back."""

    VANISHED = "vanished"
    """The file went before it was sent. Comes back as pending if the same file is seen again."""

    SUPERSEDED = "superseded"
    """Its path holds newer content, which has a job of its own. Never left."""


class Event(StrEnum):
    """What can happen to a job; each is the name of the verb that causes it."""

    ENQUEUE = "enqueue"
    CLAIM = "claim"
    CREATED = "created"
    PROGRESS = "progress"
    DEFER = "defer"
    INTERRUPT = "interrupt"
    RESTART = "restart"
    FAIL = "fail"
    FINISH = "finish"
    DELIVER = "deliver"
    VANISH = "vanish"
    SUPERSEDE = "supersede"
    RENAME = "rename"
    CANCEL = "cancel"
    HOLD = "hold"
    RETRY = "retry"
    RELEASE = "release"
    RESEND = "resend"
    ADOPT = "adopt"
    RECOVER = "recover"
    EXPIRE = "expire"


_PENDING, _UPLOADING, _DELIVERED, _DISPOSING = (
    State.PENDING,
    State.UPLOADING,
    State.DELIVERED,
    State.DISPOSING,
)
_DONE, _FAILED, _HELD, _CANCELLED, _VANISHED = (
    State.DONE,
    State.FAILED,
    State.HELD,
    State.CANCELLED,
    State.VANISHED,
)

TABLE: Mapping[tuple[State | None, Event], State] = MappingProxyType(
    {
        (None, Event.ENQUEUE): _PENDING,
        (None, Event.HOLD): _HELD,
        (None, Event.CANCEL): _CANCELLED,
        (_VANISHED, Event.ENQUEUE): _PENDING,
        # the first half: to the server
        (_PENDING, Event.CLAIM): _UPLOADING,
        (_UPLOADING, Event.CREATED): _UPLOADING,
        (_UPLOADING, Event.PROGRESS): _UPLOADING,
        (_UPLOADING, Event.DEFER): _PENDING,
        (_UPLOADING, Event.INTERRUPT): _PENDING,
        (_UPLOADING, Event.RESTART): _PENDING,
        (_UPLOADING, Event.FAIL): _FAILED,
        (_UPLOADING, Event.FINISH): _DONE,
        (_UPLOADING, Event.DELIVER): _DISPOSING,
        # the second half: what becomes of the file here
        (_DELIVERED, Event.CLAIM): _DISPOSING,
        (_DISPOSING, Event.DEFER): _DELIVERED,
        (_DISPOSING, Event.INTERRUPT): _DELIVERED,
        (_DISPOSING, Event.FINISH): _DONE,
        # the file went, or its path holds newer content
        (_PENDING, Event.VANISH): _VANISHED,
        (_UPLOADING, Event.VANISH): _VANISHED,
        (_FAILED, Event.VANISH): _VANISHED,
        (_HELD, Event.VANISH): _VANISHED,
        (_PENDING, Event.SUPERSEDE): State.SUPERSEDED,
        (_UPLOADING, Event.SUPERSEDE): State.SUPERSEDED,
        (_FAILED, Event.SUPERSEDE): State.SUPERSEDED,
        (_HELD, Event.SUPERSEDE): State.SUPERSEDED,
        # the file has a new name
        (_PENDING, Event.RENAME): _PENDING,
        (_UPLOADING, Event.RENAME): _UPLOADING,
        (_DELIVERED, Event.RENAME): _DELIVERED,
        (_DISPOSING, Event.RENAME): _DISPOSING,
        (_DONE, Event.RENAME): _DONE,
        (_FAILED, Event.RENAME): _FAILED,
        (_HELD, Event.RENAME): _HELD,
        (_CANCELLED, Event.RENAME): _CANCELLED,
        (_VANISHED, Event.RENAME): _VANISHED,
        # the operator
        (_PENDING, Event.CANCEL): _CANCELLED,
        (_UPLOADING, Event.CANCEL): _CANCELLED,
        (_FAILED, Event.CANCEL): _CANCELLED,
        (_HELD, Event.CANCEL): _CANCELLED,
        (_DELIVERED, Event.CANCEL): _DONE,
        (_PENDING, Event.HOLD): _HELD,
        (_UPLOADING, Event.HOLD): _HELD,
        (_FAILED, Event.RETRY): _PENDING,
        (_CANCELLED, Event.RETRY): _PENDING,
        (_HELD, Event.RETRY): _PENDING,
        (_HELD, Event.RELEASE): _PENDING,
        (_HELD, Event.ADOPT): _DONE,
        (_PENDING, Event.RETRY): _PENDING,
        (_DELIVERED, Event.RETRY): _DELIVERED,
        (_DONE, Event.RESEND): _PENDING,
        # nobody wants it any more: the folder's give_up_after_seconds
        (_PENDING, Event.EXPIRE): _FAILED,
        # after a crash
        (_UPLOADING, Event.RECOVER): _PENDING,
        (_DISPOSING, Event.RECOVER): _DELIVERED,
    }
)

WAITING = frozenset({_PENDING, _DELIVERED})
WORKING = frozenset({_UPLOADING, _DISPOSING})
SUPERSEDABLE = frozenset(state for state, event in TABLE if event is Event.SUPERSEDE and state is not None)

FINISHED_WITH_SERVER_ERROR = "finished with server error"
"""The reason of a failure whose upload is complete by its offset, though the server refused it at the very end."""

TOO_OLD = "too old"
"""The reason of a failure of a job that waited longer than its folder's settings allow, whatever it waited for."""

LEDGER_LOST = "ledger lost"
"""The reason of a job that is held because the ledger is incomplete: its content may have been sent before."""

EXISTING_IGNORED = 'it lay there before the folder was watched (existing = "ignore")'
"""The reason of a job that exists only to say that its content is not to be sent."""


class IllegalMove(Exception):
    """An event that the table does not have for this state: an error of the program, never of the operator."""


def target(state: State | None, event: Event) -> State:
    """The state that `event` leads to from `state`; raises `IllegalMove` where the table has none."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise IllegalMove(f"a job that is {state or 'not there'} can't {event}") from None
