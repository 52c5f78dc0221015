"""The commands of the control socket: one literal table, and what looking answers. Nothing here knows of sockets."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ..jobs.database import DatabaseUnusable
from ..jobs.reader import Reader
from ..jobs.selection import Selection
from ..jobs.states import State
from ..jobs.troubles import MAX_COUNTED
from .asking import Request, check_parameters, number_of, single, whole
from .changes import CHANGES, MAX_LIMIT, Doing, Told
from .events import Events, Listener
from .refusals import Refused, bad, brief, no_such_job, outside
from .replies import (
    Error,
    Explanation,
    InFlight,
    JobsReply,
    Status,
    TextReply,
    jobs_reply,
)
from .replies_changes import LimitsReply
from .selecting import MAX_JOB_ID, QUERY_NAMES, absolute_path, selection_of_query
from .troubles import ErrorsReply, JobDetail, errors_reply, job_detail

DEFAULT_LIMIT = 100
MAX_PARAMETERS = 64
JSON_TYPE = "application/json"
EVENTS_TYPE = "application/x-ndjson"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Reply = Status | JobDetail | JobsReply | ErrorsReply | Explanation | TextReply | Told | Error


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came: `target` is that of the request line (RFC 9112, 3.2), `body` empty where there was none.

    `may_change`: whether who asks is allowed more than to look.
    """

    method: str
    target: str
    body: bytes = b""
    may_change: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: the status of HTTP, the body, headers of its own; where it is no JSON, its ``text`` is sent.

    Where there is a `listener`, its lines are the body.
    """

    status: int
    body: Reply
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE
    listener: Listener | None = None


class Commands:
    """Answers requests. `status` gives the reply to ``GET /v1/status``, `in_flight` the jobs in workers' hands,
    `explain` the reply for a path, `None` where no watched folder has it; `doing` is what changes something; `metrics`
    gives the text of ``GET /metrics``, `events` tells listeners.

    All are called by several threads.
    """

    def __init__(
        self,
        reader: Reader,
        status: Callable[[], Status],
        in_flight: Callable[[], list[InFlight]] = list,
        explain: Callable[[bytes], Explanation | None] = lambda path: None,
        doing: Doing | None = None,
        metrics: Callable[[], str] = str,
        events: Events | None = None,
    ) -> None:
        self.reader = reader
        self._doing = doing
        self.status = status
        self.explain = explain
        self.metrics = metrics
        self.events = events or Events()
        self._in_flight = in_flight

    def live(self, reply: JobsReply) -> JobsReply:
        """The reply with the workers' own offsets: those in the rows are a second old."""
        flights = {flight["id"]: flight for flight in self._in_flight()}
        for job in reply["jobs"]:
            if job["id"] in flights and job["state"] == State.UPLOADING:
                job["offset_bytes"] = flights[job["id"]]["offset_bytes"]
        return reply

    @property
    def doing(self) -> Doing:
        """What changes something; raises `Refused` where nothing may be changed."""
        if self._doing is None:
            raise Refused(503, Error(code="read_only", message="nothing can be changed here", hint=""))
        return self._doing

    def answer(self, asked: Asked) -> Answer:
        """The answer to a request. Raises only what the given functions raise beyond `DatabaseUnusable`."""
        try:
            command, request = _find(asked)
            reply = command.run(self, request)
            if isinstance(reply, Listener):
                return Answer(200, TextReply(text=""), content_type=command.content_type, listener=reply)
            return Answer(200, reply, content_type=command.content_type)
        except Refused as refused:
            return Answer(refused.status, refused.error, refused.headers)
        except DatabaseUnusable as error:
            return Answer(503, Error(code="database_unusable", message=str(error), hint="the agent's log says more"))


def _status(commands: Commands, request: Request) -> Status:
    check_parameters(request)
    return commands.status()


def _metrics(commands: Commands, request: Request) -> TextReply:
    check_parameters(request)
    return TextReply(text=commands.metrics())


def _events(commands: Commands, request: Request) -> Listener:
    check_parameters(request)
    return commands.events.listen()


def _jobs(commands: Commands, request: Request) -> JobsReply:
    check_parameters(request, ("limit", "cursor", *QUERY_NAMES))
    limit = whole(request, "limit", 1, MAX_LIMIT) or DEFAULT_LIMIT
    cursor = whole(request, "cursor", 1, MAX_JOB_ID)
    selected = {name: values for name, values in request.query.items() if name in QUERY_NAMES}
    selection = selection_of_query(selected) if selected else Selection()
    return commands.live(jobs_reply(commands.reader.page(selection, limit=limit, cursor=cursor)))


def _job(commands: Commands, request: Request) -> JobDetail:
    check_parameters(request, ("url",))
    url = single(request, "url")
    if url not in (None, "whole"):
        raise bad("url", url, "whole")
    if url is not None and not request.may_change:
        raise Refused(403, _NOT_ALLOWED)
    number = number_of(request)
    job = commands.reader.job(number)
    if job is None:
        raise no_such_job(number)
    reply = job_detail(job, commands.reader.failures(number), whole_url=url is not None)
    commands.live(JobsReply(jobs=[reply], next_cursor=None))
    return reply


def _errors(commands: Commands, request: Request) -> ErrorsReply:
    check_parameters(request)
    return errors_reply(commands.reader.troubles(), MAX_COUNTED)


def _limits(commands: Commands, request: Request) -> LimitsReply:
    check_parameters(request)
    return commands.doing.limits()


def _explain(commands: Commands, request: Request) -> Explanation:
    check_parameters(request, ("path", "path_b64"))
    path = absolute_path(single(request, "path_b64"), single(request, "path"))
    explanation = commands.explain(path)
    if explanation is None:
        raise outside(path)
    return explanation


def _told(run: Callable[[Doing, Request], Told]) -> Callable[[Commands, Request], Reply]:
    def told(commands: Commands, request: Request) -> Reply:
        check_parameters(request)
        return run(commands.doing, request)

    return told


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the table. ``{name}`` in the path stands for one segment. `changes`: it is more than looking."""

    method: str
    path: str
    run: Callable[[Commands, Request], Reply | Listener]
    changes: bool = False
    content_type: str = JSON_TYPE


TABLE: tuple[Command, ...] = (
    Command("GET", "/v1/status", _status),
    Command("GET", "/v1/jobs", _jobs),
    Command("GET", "/v1/jobs/{id}", _job),
    Command("GET", "/v1/errors", _errors),
    Command("GET", "/v1/explain", _explain),
    Command("GET", "/v1/limits", _limits),
    Command("GET", "/v1/events", _events, content_type=EVENTS_TYPE),
    Command("GET", "/metrics", _metrics, content_type=METRICS_TYPE),
    *(Command(each.method, each.path, _told(each.run), changes=True) for each in CHANGES),
)

_PATTERNS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {command.path: re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", command.path)) for command in TABLE}
)


def _find(asked: Asked) -> tuple[Command, Request]:
    """The row that a request asks for. Raises `Refused`: 400, 403, 404 or 405."""
    method = asked.method
    try:
        parts = urlsplit(asked.target)
        query = parse_qs(parts.query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS, errors="backslashreplace")
    except ValueError as error:
        raise Refused(
            400, Error(code="bad_request", message=f"the request target can't be read: {error}", hint="")
        ) from None
    rows = [(command, match) for command in TABLE if (match := _PATTERNS[command.path].fullmatch(parts.path))]
    if not rows:
        raise Refused(
            404,
            Error(
                code="no_such_path",
                message=f"there is no {brief(parts.path)}",
                hint="the paths there are: " + ", ".join(f"{command.method} {command.path}" for command in TABLE),
                paths=[command.path for command in TABLE],
            ),
        )
    for command, match in rows:
        if command.method == method:
            if command.changes and not asked.may_change:
                raise Refused(403, _NOT_ALLOWED)
            path = {name: unquote(text, errors="backslashreplace") for name, text in match.groupdict().items()}
            members = _members(asked.body) if command.changes else {}
            return command, Request(path, query, members, asked.may_change)
    allowed = ", ".join(command.method for command, _ in rows)
    not_allowed = Error(
        code="method_not_allowed",
        message=f"{brief(method)} is not possible on {brief(parts.path)}",
        hint=f"possible: {allowed}",
    )
    raise Refused(405, not_allowed, {"Allow": allowed})


_NOT_ALLOWED = Error(
    code="not_allowed",
    message="you may look, but not change anything",
    hint="ask as root, as the agent's user or as a member of the socket's group (agent.socket_group)",
)


def _members(body: bytes) -> Mapping[str, Any]:
    if not body.strip():
        return {}
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        message = "the body is no JSON object"
        raise Refused(400, Error(code="bad_request", message=message, hint='send one, such as {"states": ["failed"]}'))
    return members
