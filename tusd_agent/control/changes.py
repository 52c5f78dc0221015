"""The commands that change something. What they are asked with is a body: a JSON object, or nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..jobs.orders import Applied, Verb
from ..jobs.selection import Selection
from ..jobs.standing import Scope
from .asking import Request, number_of
from .refusals import Refused, bad, brief, no_such_job
from .replies import Error, JobReply, OrderReply, RescanReply, job_reply, order_reply
from .replies_changes import AddReply, LimitsReply, PauseReply, ReloadReply
from .selecting import MAX_JOB_ID, absolute_path, selection_of, whole_of

MAX_LIMIT = 1000
"""So many jobs a request changes at most; there is a cursor for the rest."""

MAX_RATE = 2**53

Told = JobReply | OrderReply | RescanReply | PauseReply | LimitsReply | ReloadReply | AddReply


class Doing(Protocol):
    """What the commands that change something ask of the agent. Called by several threads; each may raise `Refused`."""

    def order(self, verb: Verb, selection: Selection, limit: int, cursor: int | None) -> Applied:
        """Carries out an order for selected jobs."""

    def rescan(self, folder: str | None) -> list[str]:
        """Has a folder scanned, or all; returns which."""

    def pause(self, scope: Scope) -> PauseReply:
        """Has nothing of it sent or disposed of until it is resumed."""

    def resume(self, scope: Scope) -> PauseReply:
        """Has it go on."""

    def limits(self) -> LimitsReply:
        """How fast bodies may be sent."""

    def limit(self, rate_bytes_per_second: int | None, endpoint: str | None) -> LimitsReply:
        """Sets that for an endpoint or (`None`) the whole agent; the rate `None` goes back to the configuration."""

    def reload(self) -> ReloadReply:
        """Reads the configuration again and has it hold."""

    def add(self, path: bytes) -> AddReply:
        """Has an absolute path below a watched folder looked at now, by the folder's rules."""


def _verb(request: Request) -> Verb:
    text = request.path["verb"]
    if text not in list(Verb):
        message, hint = f"jobs can't be told to {brief(text)}", f"they can be told to {', '.join(Verb)}"
        raise Refused(404, Error(code="no_such_path", message=message, hint=hint))
    return Verb(text)


def _order(doing: Doing, request: Request) -> OrderReply:
    verb = _verb(request)
    members = dict(request.body)
    limit = whole_of("limit", members.pop("limit", MAX_LIMIT), MAX_LIMIT)
    cursor = members.pop("cursor", None)
    selection = selection_of(members)
    below = None if cursor is None else whole_of("cursor", cursor, MAX_JOB_ID)
    return order_reply(doing.order(verb, selection, limit, below))


def _order_one(doing: Doing, request: Request) -> JobReply:
    number = number_of(request)
    applied = doing.order(_verb(request), Selection(ids=(number,)), 1, None)
    if applied.refused:
        job = applied.refused[0]
        hint = "GET /v1/jobs/{id} tells how it stands"
        message = f"job {job.id} is {job.state}: it can't {request.path['verb']}"
        raise Refused(409, Error(code="not_possible", message=message, hint=hint))
    if not applied.changed:
        raise no_such_job(number)
    return job_reply(applied.changed[0])


def _rescan(doing: Doing, request: Request) -> RescanReply:
    folder = _text(request, "folder", "the path of a watched folder")
    _only(request, "folder")
    folders = doing.rescan(folder)
    if not folders:
        hint = "GET /v1/status, or tusd-agent status, lists the watched folders"
        raise Refused(404, Error(code="not_watched", message=f"no folder {brief(folder or '')} is watched", hint=hint))
    return RescanReply(folders=folders)


def _pause(doing: Doing, request: Request) -> PauseReply:
    return doing.pause(_scope(request))


def _resume(doing: Doing, request: Request) -> PauseReply:
    return doing.resume(_scope(request))


def _add(doing: Doing, request: Request) -> AddReply:
    _only(request, "path", "path_b64")
    plain = _text(request, "path", "an absolute path")
    encoded = _text(request, "path_b64", "the base64 of an absolute path")
    return doing.add(absolute_path(encoded, plain))


def _limit(doing: Doing, request: Request) -> LimitsReply:
    _only(request, "rate_bytes_per_second", "endpoint")
    endpoint = _text(request, "endpoint", "the name of an endpoint")
    allowed = f"a whole number from 0 (no limit) to {MAX_RATE}, or null for what the configuration says"
    if "rate_bytes_per_second" not in request.body:
        raise bad("rate_bytes_per_second", "nothing", allowed)
    rate = request.body["rate_bytes_per_second"]
    if rate is not None and (not isinstance(rate, int) or isinstance(rate, bool) or not 0 <= rate <= MAX_RATE):
        raise bad("rate_bytes_per_second", rate, allowed)
    return doing.limit(rate, endpoint)


def _reload(doing: Doing, request: Request) -> ReloadReply:
    _only(request)
    return doing.reload()


def _scope(request: Request) -> Scope:
    _only(request, "folder", "endpoint")
    folder = _text(request, "folder", "the path of a watched folder")
    endpoint = _text(request, "endpoint", "the name of an endpoint")
    if folder is not None and endpoint is not None:
        raise bad("body", "folder and endpoint", "one of them, or none for the whole agent")
    return Scope(folder, endpoint)


def _only(request: Request, *names: str) -> None:
    unknown = request.body.keys() - set(names)
    if unknown:
        raise bad("body", ", ".join(sorted(unknown)), ", ".join(names) or "nothing")


def _text(request: Request, name: str, allowed: str) -> str | None:
    value = request.body.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise bad(name, value, allowed)
    return value


@dataclass(frozen=True, slots=True)
class Change:
    """A row of the table, for who may change something."""

    method: str
    path: str
    run: Callable[[Doing, Request], Told]


CHANGES: tuple[Change, ...] = (
    Change("POST", "/v1/jobs", _add),
    Change("POST", "/v1/jobs/{verb}", _order),
    Change("POST", "/v1/jobs/{id}/{verb}", _order_one),
    Change("POST", "/v1/rescan", _rescan),
    Change("POST", "/v1/pause", _pause),
    Change("POST", "/v1/resume", _resume),
    Change("PUT", "/v1/limits", _limit),
    Change("POST", "/v1/reload", _reload),
)
