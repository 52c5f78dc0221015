"""The commands of the control socket: one literal table, and what each of them does. Nothing here knows of sockets."""

import os
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import parse_qs, unquote, urlsplit

from ..jobs.database import DatabaseUnusable
from ..jobs.model import Job, Place
from ..jobs.reader import Page, Reader
from ..jobs.states import State
from .replies import Error, Explanation, InFlight, JobReply, JobsReply, Status, escaped, job_reply, jobs_reply

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_JOB_ID = 2**63 - 1
MAX_PARAMETERS = 64
SHOWN_OF_VALUE = 80

Reply = Status | JobReply | JobsReply | Explanation | Error


class Refused(Exception):
    """A request that can't be answered as asked: `status` is that of HTTP, `error` the body of the answer."""

    def __init__(self, status: int, error: Error, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error["message"])
        self.status = status
        self.error = error
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: the variable parts of the path, and the query, both decoded."""

    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: the status of HTTP, the body, headers of its own."""

    status: int
    body: Reply
    headers: Mapping[str, str] = field(default_factory=dict)


class Commands:
    """Answers requests. `status` gives the reply to ``GET /v1/status``, `in_flight` the jobs in workers' hands,
    `explain` the reply for a path, `None` where no watched folder has it.

    All are called by several threads.
    """

    def __init__(
        self,
        reader: Reader,
        status: Callable[[], Status],
        in_flight: Callable[[], list[InFlight]] = list,
        explain: Callable[[bytes], Explanation | None] = lambda path: None,
    ) -> None:
        self.reader = reader
        self.status = status
        self.explain = explain
        self._in_flight = in_flight

    def live(self, reply: JobsReply) -> JobsReply:
        """The reply with the workers' own offsets: those in the rows are a second old."""
        flights = {flight["id"]: flight for flight in self._in_flight()}
        for job in reply["jobs"]:
            if job["id"] in flights and job["state"] == State.UPLOADING:
                job["offset_bytes"] = flights[job["id"]]["offset_bytes"]
        return reply

    def answer(self, method: str, target: str) -> Answer:
        """The answer to a request; `target` is that of the request line (RFC 9112, section 3.2).

        Raises only what `status` and the reader raise beyond `DatabaseUnusable`.
        """
        try:
            command, request = _find(method, target)
            return Answer(200, command.run(self, request))
        except Refused as refused:
            return Answer(refused.status, refused.error, refused.headers)
        except DatabaseUnusable as error:
            return Answer(503, Error(code="database_unusable", message=str(error), hint="the agent's log says more"))


def _status(commands: Commands, request: Request) -> Status:
    _known(request, ())
    return commands.status()


def _jobs(commands: Commands, request: Request) -> JobsReply:
    _known(request, ("state", "limit", "cursor", "path_b64"))
    states = tuple(_state(value) for value in request.query.get("state", ()))
    limit = _whole(request, "limit", 1, MAX_LIMIT) or DEFAULT_LIMIT
    cursor = _whole(request, "cursor", 1, MAX_JOB_ID)
    encoded = _single(request, "path_b64")
    if encoded is None:
        return commands.live(jobs_reply(commands.reader.page(states=states, limit=limit, cursor=cursor)))
    jobs = [
        job
        for job in jobs_of_path(commands.reader, _path(encoded))
        if (not states or job.state in states) and (cursor is None or job.id < cursor)
    ]
    more = len(jobs) > limit
    return commands.live(jobs_reply(Page(tuple(jobs[:limit]), jobs[limit - 1].id if more else None)))


def _job(commands: Commands, request: Request) -> JobReply:
    _known(request, ())
    text = request.path["id"]
    if not re.fullmatch("[0-9]{1,19}", text) or int(text) > MAX_JOB_ID:
        raise _bad("id", text, "the number of a job")
    job = commands.reader.job(int(text))
    if job is None:
        raise Refused(404, Error(code="no_such_job", message=f"there is no job {text}", hint="GET /v1/jobs lists them"))
    (reply,) = commands.live(JobsReply(jobs=[job_reply(job)], next_cursor=None))["jobs"]
    return reply


def _explain(commands: Commands, request: Request) -> Explanation:
    _known(request, ("path", "path_b64"))
    encoded, plain = _single(request, "path_b64"), _single(request, "path")
    if (encoded is None) == (plain is None):
        missing = "give one of path and path_b64"
        raise Refused(400, Error(code="bad_request", message="which path is meant?", hint=missing))
    path = _path(encoded) if encoded is not None else os.fsencode(plain or "")
    if not path.startswith(b"/"):
        raise _bad("path", plain or "", "an absolute path")
    if b"\0" in path:
        raise _bad("path", escaped(os.fsdecode(path)), "a path without NUL bytes, which no path has")
    explanation = commands.explain(os.path.normpath(b"/" + path.lstrip(b"/")))
    if explanation is None:
        # Also for what is there, and whoever asks may not see: the socket is no way to look elsewhere.
        message = f"{escaped(os.fsdecode(path))} lies in no watched folder"
        raise Refused(
            404,
            Error(
                code="not_watched",
                message=message,
                hint="GET /v1/status, or tusd-agent status, lists the watched folders",
            ),
        )
    return explanation


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the table. ``{name}`` in the path stands for one segment. `changes`: it is more than looking."""

    method: str
    path: str
    run: Callable[[Commands, Request], Reply]
    changes: bool = False


TABLE: tuple[Command, ...] = (
    Command("GET", "/v1/status", _status),
    Command("GET", "/v1/jobs", _jobs),
    Command("GET", "/v1/jobs/{id}", _job),
    Command("GET", "/v1/explain", _explain),
)

_PATTERNS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {command.path: re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", command.path)) for command in TABLE}
)


def jobs_of_path(reader: Reader, path: bytes) -> list[Job]:
    """The jobs of an absolute path, newest first, in whatever folder known to the database it lies."""
    found = []
    for folder in sorted({count.folder for count in reader.counts()}):
        prefix = os.fsencode(folder).rstrip(b"/") + b"/"
        if path.startswith(prefix) and path != prefix:
            found += reader.at(Place.below(folder, path[len(prefix) :]))
    return sorted(found, key=lambda job: job.id, reverse=True)


def _find(method: str, target: str) -> tuple[Command, Request]:
    """The row that a request asks for. Raises `Refused`: 400, 404 or 405."""
    try:
        parts = urlsplit(target)
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
                message=f"there is no {_brief(parts.path)}",
                hint="the paths there are: " + ", ".join(f"{command.method} {command.path}" for command in TABLE),
                paths=[command.path for command in TABLE],
            ),
        )
    for command, match in rows:
        if command.method == method:
            path = {name: unquote(text, errors="backslashreplace") for name, text in match.groupdict().items()}
            return command, Request(path, query)
    allowed = ", ".join(command.method for command, _ in rows)
    not_allowed = Error(
        code="method_not_allowed",
        message=f"{_brief(method)} is not possible on {_brief(parts.path)}",
        hint=f"possible: {allowed}",
    )
    raise Refused(405, not_allowed, {"Allow": allowed})


def _bad(name: str, found: str, allowed: str) -> Refused:
    return Refused(
        400, Error(code="bad_request", message=f"{name} = {_brief(found)} is not allowed", hint=f"allowed: {allowed}")
    )


def _brief(text: str) -> str:
    """A text of the request, for a sentence of the answer."""
    safe = escaped(text)
    return safe if len(safe) <= SHOWN_OF_VALUE else f"{safe[:SHOWN_OF_VALUE]}…"


def _known(request: Request, names: tuple[str, ...]) -> None:
    for name in request.query:
        if name not in names:
            known = ", ".join(names) if names else "none"
            message = f"unknown parameter {_brief(name)}"
            raise Refused(400, Error(code="bad_request", message=message, hint=f"parameters here: {known}"))


def _single(request: Request, name: str) -> str | None:
    values = request.query.get(name, [])
    if len(values) > 1:
        raise Refused(
            400, Error(code="bad_request", message=f"{name} is given {len(values)} times", hint=f"give {name} once")
        )
    return values[0] if values else None


def _whole(request: Request, name: str, least: int, most: int) -> int | None:
    text = _single(request, name)
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,19}", text) or not least <= int(text) <= most:
        raise _bad(name, text, f"a whole number from {least} to {most}")
    return int(text)


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        raise _bad("state", text, f"one of {', '.join(State)}") from None


def _path(encoded: str) -> bytes:
    """The path; both alphabets of RFC 4648 are taken, and the blank that an unescaped "+" becomes in a query."""
    plain = encoded.replace(" ", "+").replace("-", "+").replace("_", "/")
    try:
        path = b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        path = b""
    if not path.startswith(b"/"):
        raise _bad("path_b64", encoded, "the base64 of an absolute path")
    return path
