"""A path that an operator names: looked at as if an event had told of it, and taken by its folder's rules if at all.

Nothing is opened on behalf of who asks: the intake takes the file when it is complete, as any other.
"""

from typing import NoReturn

from ..control.refusals import Refused, outside
from ..control.replies import Error, escaped, job_reply, path_b64
from ..control.replies_changes import AddReply
from ..intake.explain import NEXT_LOOK, NEXT_SCAN, Explanation, Seen
from ..intake.intake import Intake
from ..jobs.model import Job, shown
from ..jobs.standing import Pauses
from ..jobs.states import State

_HINTS = {
    State.PENDING: "it is sent as soon as it is its turn: tusd-agent show {id}",
    State.UPLOADING: "it is being sent: tusd-agent show {id}",
    State.DELIVERED: "it has arrived; what is to follow could not be done yet: tusd-agent show {id}",
    State.DISPOSING: "it has arrived; what is to follow is being done: tusd-agent show {id}",
    State.DONE: "it was sent: tusd-agent resend {id} sends it once more",
    State.FAILED: "tusd-agent show {id} says why, tusd-agent retry {id} tries again",
    State.HELD: "tusd-agent release {id} lets it go on",
    State.CANCELLED: "tusd-agent retry {id} sends it after all",
}


def add(intake: Intake, pauses: Pauses, path: bytes) -> AddReply:
    """Has the path looked at, if its folder's rules take it; raises `Refused`."""
    found = intake.explain(path)
    if found is None:
        raise outside(path)
    if found.seen is Seen.NO_FOLDER:
        _refuse(409, "not_available", found, f"waits for {found.waits_for}", "it is found by itself once that is there")
    if found.seen is Seen.NOTHING:
        job = found.job
        later = "check the path; a file that comes later is found by itself"
        hint = later if job is None else f"its job was: tusd-agent show {job.id}"
        _refuse(404, "not_there", found, "is not there", hint)
    if found.seen is Seen.DIRECTORY:
        if found.place.relative:
            intake.note(path)
        else:
            intake.rescan(found.place.folder)
        return _reply(found, True, "its files to be looked at, which happens now", None, "tusd-agent status")
    if not found.taken:
        _refuse(409, "not_taken", found, f"is not taken: {found.rule}", _way_out(found))
    intake.note(path)
    if found.known and found.job is not None:
        hint = _HINTS.get(found.job.state, "tusd-agent show {id}").format(id=found.job.id)
        if found.job.state in (State.PENDING, State.DELIVERED) and pauses.cover(found.place.folder, found.job.endpoint):
            hint = "it is paused: tusd-agent status says by what, tusd-agent resume ends that"
        return _reply(found, False, found.waits_for, found.job, hint)
    waits_for = None if found.waits_for in (NEXT_LOOK, NEXT_SCAN) else found.waits_for  # that is what this is
    return _reply(found, True, waits_for, None, "tusd-agent wait --path waits until it has arrived")


def _way_out(found: Explanation) -> str:
    if found.known and found.job is not None:
        return _HINTS.get(found.job.state, "tusd-agent show {id}").format(id=found.job.id)
    return "change the folder's settings and tusd-agent reload, or send it by itself: tusd-agent upload"


def _refuse(status: int, code: str, found: Explanation, why: str, hint: str) -> NoReturn:
    message = escaped(f"{shown(found.place.path)} {why}")
    raise Refused(status, Error(code=code, message=message, hint=escaped(hint)))


def _reply(found: Explanation, added: bool, waits_for: str | None, job: Job | None, hint: str) -> AddReply:
    path = found.place.path.rstrip(b"/")  # the folder itself has no name below it
    return AddReply(
        path=shown(path),
        path_b64=path_b64(path),
        folder=escaped(found.place.folder),
        added=added,
        waits_for=None if waits_for is None else escaped(waits_for),
        job=None if job is None else job_reply(job),
        hint=hint,
    )
