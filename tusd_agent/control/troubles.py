"""``GET /v1/errors``: the jobs in trouble, grouped by cause; and all of one job, its failed attempts included."""

from collections.abc import Iterable, Sequence
from typing import TypedDict

from ..jobs.causes import hint_of
from ..jobs.history import Failure
from ..jobs.model import Job
from ..jobs.troubles import MAX_GROUPS, Trouble
from .replies import JobReply, escaped, job_reply


class FailedAttempt(TypedDict):
    """An attempt that failed: when, its short kind, what happened."""

    at: float
    cause: str
    error: str


class JobDetail(JobReply):
    """``GET /v1/jobs/{id}``. `cause` is the short kind of the last failure, or of what the job is held for, and `hint`
    what to do about it; `failures` are the last ten attempts that failed, the latest last."""

    cause: str | None
    hint: str | None
    failures: list[FailedAttempt]


class ErrorGroup(TypedDict):
    """The jobs of one cause: how many by state, of which none has more than `counted_up_to` of them counted.

    `example` is the newest of those that failed, else of the others; `hint` says what to do.
    """

    cause: str
    hint: str
    jobs: dict[str, int]
    example: JobReply


class ErrorsReply(TypedDict):
    """``GET /v1/errors``: failed jobs, held ones, and those that wait after an attempt that failed.

    The groups with most failed jobs come first. `complete`: whether these are all causes there are, and all counts
    whole: beyond so many of a cause and state they end at `counted_up_to`.
    """

    groups: list[ErrorGroup]
    complete: bool
    counted_up_to: int


def job_detail(job: Job, failures: Sequence[Failure], *, whole_url: bool = False) -> JobDetail:
    """The job with all there is to know of it."""
    return JobDetail(
        **job_reply(job, whole_url=whole_url),
        cause=None if job.cause is None else escaped(job.cause),
        hint=None if job.cause is None else hint_of(job.cause),
        failures=[FailedAttempt(at=one.at, cause=escaped(one.cause), error=escaped(one.words)) for one in failures],
    )


def errors_reply(troubles: Sequence[Trouble], counted_up_to: int) -> ErrorsReply:
    """The jobs in trouble as they are shown."""
    by_cause: dict[str, list[Trouble]] = {}
    for trouble in troubles:
        by_cause.setdefault(trouble.cause, []).append(trouble)
    groups = [_group(cause, those) for cause, those in by_cause.items()]
    groups.sort(key=lambda group: (-group["jobs"].get("failed", 0), -sum(group["jobs"].values()), group["cause"]))
    complete = len(troubles) < MAX_GROUPS and all(trouble.counted_all for trouble in troubles)
    return ErrorsReply(groups=groups, complete=complete, counted_up_to=counted_up_to)


def _group(cause: str, troubles: Iterable[Trouble]) -> ErrorGroup:
    by_state = {str(trouble.state): trouble for trouble in troubles}
    newest = by_state.get("failed") or max(by_state.values(), key=lambda trouble: trouble.example.id)
    return ErrorGroup(
        cause=escaped(cause),
        hint=hint_of(cause),
        jobs={state: trouble.jobs for state, trouble in by_state.items()},
        example=job_reply(newest.example),
    )
