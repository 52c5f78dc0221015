"""What the control socket answers: the shape of each reply, and how a job becomes one.

Instants are seconds since the epoch, durations end in ``_seconds``, sizes in ``_bytes``. A path that is no UTF-8 is
there twice: `path` is fit to be shown, `path_b64` (base64 of the exact bytes, RFC 4648) to be worked with. Members
may be added to any reply later: a client ignores those it does not know.
"""

from base64 import b64encode
from collections.abc import Iterable
from typing import TYPE_CHECKING, NotRequired, TypedDict
from urllib.parse import urlsplit, urlunsplit

from ..jobs.showing import shown
from .figures import Periods

if TYPE_CHECKING:  # who only draws what the agent says does not pay for SQLite
    from ..jobs.model import Job
    from ..jobs.orders import Applied
    from ..jobs.reader import Count, Page
    from ..jobs.standing import Pauses

KEPT_OF_UPLOAD_ID = 4
MAX_EXAMPLES = 5


class Counts(TypedDict):
    """What the database alone can tell of the queue. Both tables have every state as a key."""

    now: float
    database_bytes: int
    jobs: dict[str, int]
    bytes: dict[str, int]
    totals: Periods


class FolderCounts(TypedDict):
    """The jobs of a folder by state (every state is a key); `waiting_bytes` are those of the jobs that wait.

    `oldest_waiting_at`: since when the one waits to be sent that does so longest, null where none does. What arrived
    and failed today is counted from midnight on, where the agent is.
    """

    path: str
    jobs: dict[str, int]
    waiting_bytes: int
    oldest_waiting_at: float | None
    arrived_today: int
    arrived_today_bytes: int
    failed_today: int


class Folder(FolderCounts):
    """A watched folder. `problem` is a sentence; a folder with a problem may still be `available`.

    `mode` is how its changes are learned of: inotify, or poll with the reason in parentheses. `settling` counts files
    that are not complete yet, `growing` those of them that do not come to rest, `growing_example` is the path of one.
    `scan_files_seen` counts the files of the scan that runs; the last scan is the last complete one, null before the
    first.
    """

    endpoint: str
    after_upload: str
    mode: str
    available: bool
    problem: str | None
    settling: int
    growing: int
    growing_example: str | None
    scanning: bool
    scan_files_seen: int
    last_scan_at: float | None
    last_scan_seconds: float | None
    files_seen: int


class Watcher(TypedDict):
    """How the watching of all folders is doing. `watches` counts directories; `overflows` (of the kernel's queue),
    `restarts` (of threads that had ended or gone deaf) and `gaps` (directories without a watch, mended) since the
    start. `canary_at` is when the last event of our own came back, null before the first."""

    alive: bool
    watches: int
    overflows: int
    restarts: int
    gaps: int
    canary_at: float | None


class Endpoint(TypedDict):
    """A server. `breaker` is closed (jobs go there), open (they wait, `reason` says why; one of them tries at
    `next_probe_at`) or returning (few at a time). The rate is that of all in flight; a rate limit of 0 is none."""

    name: str
    url: str
    breaker: str
    reason: str | None
    next_probe_at: float | None
    in_flight: int
    answered_at: float | None
    rate_bytes_per_second: float
    rate_limit_bytes_per_second: float


class InFlight(TypedDict):
    """A job in a worker's hands, with the worker's own figures. `eta_seconds` is null where nothing moves."""

    id: int
    path: str
    path_b64: str
    endpoint: str
    size_bytes: int
    offset_bytes: int
    rate_bytes_per_second: float
    eta_seconds: float | None
    phase: str
    started_at: float


class Pause(TypedDict):
    """What an operator has paused: a folder, an endpoint, or (both are null) the whole agent."""

    folder: str | None
    endpoint: str | None
    since: float


class LimitByHand(TypedDict):
    """A limit that an operator has set in the place of the configuration's; `endpoint` null: of the whole agent.

    A rate of 0 is none.
    """

    endpoint: str | None
    rate_bytes_per_second: float


class Status(Counts):
    """``GET /v1/status``. `state` is starting, ok, degraded (`reasons` says why, a sentence each) or stopping.

    `paused` is not empty where files wait because an operator said so.
    """

    state: str
    reasons: list[str]
    paused: list[Pause]
    limits_by_hand: list[LimitByHand]
    version: str
    pid: int
    uid: int
    started_at: float
    folders: list[Folder]
    watcher: Watcher
    endpoints: list[Endpoint]
    in_flight: list[InFlight]


class JobReply(TypedDict):
    """A job. Instants are null as long as it has not happened. `offset_bytes` is the worker's own while uploading.

    `mtime_ns` is that of the content, since the epoch. `digest_sha256` is in hexadecimal digits, null unless the whole
    content was digested. `upload_url` is cut short: who knows it whole may read or delete the upload. Who may change
    things gets it whole with ``?url=whole``, of a single job.
    """

    id: int
    uuid: str
    path: str
    path_b64: str
    folder: str
    relative_path: str
    endpoint: str
    state: str
    size_bytes: int
    mtime_ns: int
    offset_bytes: int
    attempts: int
    restarts: int
    created_at: float
    claimed_at: float | None
    delivered_at: float | None
    finished_at: float | None
    not_before: float | None
    last_error: str | None
    reason: str | None
    digest_sha256: str | None
    upload_url: str | None


class JobsReply(TypedDict):
    """``GET /v1/jobs``: newest first; `next_cursor` is the ``cursor`` of the next page, null on the last one."""

    jobs: list[JobReply]
    next_cursor: int | None


class Explanation(TypedDict):
    """``GET /v1/explain``: what becomes of a path below a watched folder, and why.

    `taken`: whether the rules take it; `rule` is the one that decided. `waits_for` is what has to happen before it is
    queued or sent, null where nothing has to. `job` is the newest job of the path. `seen` is what lies there: file,
    directory, closed_directory (the rules do not enter it), other (never sent), nothing, or no_folder (the watched
    folder is out of reach); `known`: `job` is about the very content that lies there.
    """

    path: str
    path_b64: str
    folder: str
    taken: bool
    rule: str
    waits_for: str | None
    job: JobReply | None
    seen: str
    known: bool


class OrderReply(TypedDict):
    """``POST /v1/jobs/{verb}``: how many jobs were changed, and how many were not, for their state does not allow it.

    `ids` are those of the changed ones, `refused_examples` says of some of the others why. `next_cursor` is the
    ``cursor`` with which to ask for the rest; null: that were all.
    """

    changed: int
    ids: list[int]
    refused: int
    refused_examples: list[str]
    next_cursor: int | None


class RescanReply(TypedDict):
    """``POST /v1/rescan``: the folders that are scanned."""

    folders: list[str]


class TextReply(TypedDict):
    """``GET /metrics``: not sent as JSON, but as the text alone, in the exposition format of Prometheus."""

    text: str


class Error(TypedDict):
    """Every answer with a status of 400 and above. `code` is for programs, `message` and `hint` are for people.

    `paths` lists what there is, where something was asked for that there is not; `problems` all that is wrong with a
    configuration, a text each.
    """

    code: str
    message: str
    hint: str
    paths: NotRequired[list[str]]
    problems: NotRequired[list[str]]


def path_b64(path: bytes) -> str:
    """The exact bytes of a path as ASCII."""
    return b64encode(path).decode("ascii")


def escaped(text: str) -> str:
    """A text from elsewhere in one line: control characters and half surrogates escaped."""
    return shown(text.encode("utf-8", "backslashreplace"))


def redacted(url: str) -> str:
    """An upload URL that nobody can use: no user, no query, of the last segment four characters at most."""
    try:
        parts = urlsplit(url)
        path, slash, upload_id = parts.path.rstrip("/").rpartition("/")
        kept = upload_id[: min(KEPT_OF_UPLOAD_ID, len(upload_id) // 2)]
        host = parts.netloc.rpartition("@")[2]
        return escaped(urlunsplit((parts.scheme, host, f"{path}{slash}{kept}…", "", "")))
    except ValueError:
        return "…"


def job_reply(job: "Job", *, whole_url: bool = False) -> JobReply:
    """The job as it is shown."""
    url = job.upload_url
    return JobReply(
        id=job.id,
        uuid=str(job.uuid),
        path=shown(job.place.path),
        path_b64=path_b64(job.place.path),
        folder=job.place.folder,
        relative_path=shown(job.place.relative),
        endpoint=job.endpoint,
        state=str(job.state),
        size_bytes=job.size_bytes,
        mtime_ns=job.fingerprint.mtime_ns,
        offset_bytes=job.offset_bytes,
        attempts=job.attempts,
        restarts=job.restarts,
        created_at=job.created_at,
        claimed_at=job.claimed_at,
        delivered_at=job.delivered_at,
        finished_at=job.finished_at,
        not_before=job.not_before,
        last_error=None if job.last_error is None else escaped(job.last_error),
        reason=None if job.reason is None else escaped(job.reason),
        digest_sha256=None if job.whole_digest is None else job.whole_digest.hex(),
        upload_url=url if url is None or whole_url else redacted(url),
    )


def jobs_reply(page: "Page") -> JobsReply:
    """A page of jobs as it is shown."""
    return JobsReply(jobs=[job_reply(job) for job in page.jobs], next_cursor=page.next_cursor)


def order_reply(applied: "Applied") -> OrderReply:
    """What an order has done, as it is shown."""
    return OrderReply(
        changed=len(applied.changed),
        ids=[job.id for job in applied.changed],
        refused=len(applied.refused),
        refused_examples=[
            f"job {job.id} is {job.state}: {shown(job.place.path)}" for job in applied.refused[:MAX_EXAMPLES]
        ],
        next_cursor=applied.next_cursor,
    )


def pause_replies(pauses: "Pauses") -> list[Pause]:
    """The pauses as they are shown."""
    return [
        Pause(folder=None if scope.folder is None else escaped(scope.folder), endpoint=scope.endpoint, since=since)
        for scope, since in pauses.since.items()
    ]


def jobs_by_state(counts: "Iterable[Count]") -> dict[str, int]:
    """How many jobs are in each state; every state is a key."""
    from ..jobs.states import State

    table = {str(state): 0 for state in State}
    for count in counts:
        table[count.state] += count.jobs
    return table


def bytes_by_state(counts: "Iterable[Count]") -> dict[str, int]:
    """How many bytes the jobs in each state have; every state is a key."""
    from ..jobs.states import State

    table = {str(state): 0 for state in State}
    for count in counts:
        table[count.state] += count.bytes
    return table
