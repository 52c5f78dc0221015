"""Two views of one queue: what the running agent says, and what the database of one that does not run says."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from .. import places
from ..control.client import ControlClient, ControlError, NoAnswer, NotAllowed, NotRunning
from ..control.replies import (
    Counts,
    Endpoint,
    Explanation,
    FolderCounts,
    InFlight,
    JobReply,
    JobsReply,
    Pause,
    Status,
    bytes_by_state,
    job_reply,
    jobs_by_state,
    jobs_reply,
    path_b64,
    pause_replies,
)
from ..control.selecting import QUERY_NAMES, selection_of
from ..jobs.database import DatabaseUnusable
from ..jobs.reader import Reader
from ..jobs.selection import Selection
from ..jobs.states import WAITING
from .find import AgentPaths, ConfigUnreadable, find_agent
from .options import EXIT_BAD_CONFIG, EXIT_FAILED, EXIT_NO_ANSWER, EXIT_NOT_RUNNING, fail, warn

ANSWER_SECONDS = 5.0
MAX_PAGE = 1000

T = TypeVar("T")


class NotReadable(Exception):
    """This user may not look at the database."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"user {os.geteuid()} may not read the database {path}")


class StoppedStatus(Counts):
    """What can be said of an agent that is not running: the same names as in `Status`, as far as they are known."""

    state: str
    reasons: list[str]
    paused: list[Pause]
    folders: list[FolderCounts]
    endpoints: list[Endpoint]
    in_flight: list[InFlight]


class View(Protocol):
    """What the commands that only look ask."""

    def status(self) -> Status | StoppedStatus:
        """How it all stands."""

    def page(self, members: Mapping[str, Any], limit: int, cursor: int | None) -> JobsReply:
        """The jobs that these members of an order's body select (none: all), newest first, from below `cursor`."""

    def job(self, job_id: int) -> JobReply | None:
        """The job of this id."""

    def at(self, path: bytes) -> list[JobReply]:
        """The jobs of an absolute path, newest first."""


@dataclass(frozen=True, slots=True)
class AgentView:
    """The running agent. Every call raises what `ControlClient.get` raises."""

    client: ControlClient

    def status(self) -> Status:
        return cast(Status, self.client.get("/v1/status"))

    def page(self, members: Mapping[str, Any], limit: int, cursor: int | None) -> JobsReply:
        params: dict[str, Any] = {name: members[member] for name, member in QUERY_NAMES.items() if member in members}
        params["limit"] = limit
        if cursor is not None:
            params["cursor"] = cursor
        return cast(JobsReply, self.client.get("/v1/jobs", params))

    def job(self, job_id: int) -> JobReply | None:
        try:
            return cast(JobReply, self.client.get(f"/v1/jobs/{job_id}"))
        except ControlError as error:
            if error.code == "no_such_job":
                return None
            raise

    def explain(self, path: bytes) -> Explanation:
        """What becomes of an absolute path."""
        return cast(Explanation, self.client.get("/v1/explain", {"path_b64": path_b64(path)}))

    def at(self, path: bytes) -> list[JobReply]:
        return _of_exactly(path, self.page({"paths_b64": [path_b64(path)]}, MAX_PAGE, None))


@dataclass(frozen=True, slots=True)
class StoredView:
    """The database. Every call raises `DatabaseUnusable`, or `NotReadable` where this user may not look at it."""

    path: Path

    @property
    def _reader(self) -> Reader:
        try:
            os.stat(self.path)
        except FileNotFoundError:
            pass  # the reader has a better word for it
        except OSError as error:
            raise NotReadable(self.path) from error
        else:
            if not os.access(self.path, os.R_OK, effective_ids=True):
                raise NotReadable(self.path)
        return Reader(self.path)

    def status(self) -> StoppedStatus:
        counts = self._reader.counts()
        folders = []
        for path in sorted({count.folder for count in counts}):
            own = [count for count in counts if count.folder == path]
            waiting = sum(count.bytes for count in own if count.state in WAITING)
            folders.append(FolderCounts(path=path, jobs=jobs_by_state(own), waiting_bytes=waiting))
        return StoppedStatus(
            state="not running",
            reasons=[],
            paused=pause_replies(self._reader.pauses()),
            now=time.time(),
            database_bytes=sum(_size_bytes(f"{self.path}{suffix}") for suffix in ("", "-wal")),
            jobs=jobs_by_state(counts),
            bytes=bytes_by_state(counts),
            folders=folders,
            endpoints=[],
            in_flight=[],
        )

    def page(self, members: Mapping[str, Any], limit: int, cursor: int | None) -> JobsReply:
        selection = selection_of(members) if members else Selection()
        return jobs_reply(self._reader.page(selection, limit=limit, cursor=cursor))

    def job(self, job_id: int) -> JobReply | None:
        found = self._reader.job(job_id)
        return None if found is None else job_reply(found)

    def at(self, path: bytes) -> list[JobReply]:
        return _of_exactly(path, self.page({"paths_b64": [path_b64(path)]}, MAX_PAGE, None))


def _of_exactly(path: bytes, page: JobsReply) -> list[JobReply]:
    """Without the jobs that lie below a path which is a folder's."""
    return [job for job in page["jobs"] if job["path_b64"] == path_b64(path)]


def ask(socket: Path | None, config: Path | None, question: Callable[[View], T]) -> tuple[T, int]:
    """Asks the agent, or its database if it is not running, which is said on stderr.

    Returns the answer and the exit code that follows: 0 or 3. A question of many parts may be asked a second time when
    the agent ends in the middle: it goes on where it was. Where there is no answer the command ends here.
    """
    paths = _find(socket, config)
    answer = _ask_agent(paths, question)
    if answer is not None:
        return answer[0], 0
    if paths.database is None:
        raise SystemExit(EXIT_NOT_RUNNING)
    warn(f"what its database {paths.database} says:")
    try:
        return question(StoredView(paths.database)), EXIT_NOT_RUNNING
    except DatabaseUnusable as error:
        fail(str(error), "", EXIT_NOT_RUNNING)
    except NotReadable as error:
        fail(str(error), "run this as root or as the agent's user to see what it says", EXIT_NOT_RUNNING)


def explain(socket: Path | None, config: Path | None, path: bytes) -> Explanation:
    """What the running agent says of this absolute path. Where there is no answer the command ends here."""

    def question(view: AgentView) -> Explanation:
        try:
            return view.explain(path)
        except ControlError as error:
            # As it is without the links that its folders go through, it may lie in a watched folder after all.
            resolved = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
            if error.code != "not_watched" or resolved == path:
                raise
            return view.explain(resolved)

    answer = _ask_agent(_find(socket, config), question)
    if answer is None:
        raise SystemExit(EXIT_NOT_RUNNING)
    return answer[0]


def tell(socket: Path | None, config: Path | None, path: str, members: Mapping[str, Any]) -> Any:
    """The running agent's reply to an order. Where there is none the command ends here."""
    answer = _ask_agent(_find(socket, config), lambda view: view.client.post(path, members))
    if answer is None:
        raise SystemExit(EXIT_NOT_RUNNING)
    return answer[0]


def set_to(socket: Path | None, config: Path | None, path: str, members: Mapping[str, Any]) -> Any:
    """The running agent's reply to what is set with PUT. Where there is none the command ends here."""
    answer = _ask_agent(_find(socket, config), lambda view: view.client.put(path, members))
    if answer is None:
        raise SystemExit(EXIT_NOT_RUNNING)
    return answer[0]


def tell_of(socket: Path | None, config: Path | None, path: str, params: Mapping[str, str]) -> Any:
    """The running agent's reply to a question that only it can answer. Where there is none the command ends here."""
    answer = _ask_agent(_find(socket, config), lambda view: view.client.get(path, params))
    if answer is None:
        raise SystemExit(EXIT_NOT_RUNNING)
    return answer[0]


def tell_text(socket: Path | None, config: Path | None, path: str) -> str:
    """The same where the reply is a text."""
    answer = _ask_agent(_find(socket, config), lambda view: view.client.text(path))
    if answer is None:
        raise SystemExit(EXIT_NOT_RUNNING)
    return answer[0]


def _find(socket: Path | None, config: Path | None) -> AgentPaths:
    try:
        return find_agent(socket, config, os.environ)
    except ConfigUnreadable as error:
        fail(str(error), "tusd-agent check-config says more", EXIT_BAD_CONFIG)
    except places.HomeUnknownError as error:
        fail(f"the agent can't be found: {error}", "name its control socket with --socket", EXIT_FAILED)


def _ask_agent(paths: AgentPaths, question: Callable[[AgentView], T]) -> tuple[T] | None:
    """The running agent's answer; None, after saying so, when none is running."""
    try:
        return (question(AgentView(ControlClient(paths.socket, ANSWER_SECONDS))),)
    except NotRunning as error:
        warn(f"tusd-agent: {error}")
        warn("hint: start it with `systemctl start tusd-agent` or `tusd-agent run`; if it runs, name its --socket")
        return None
    except NoAnswer as error:
        fail(str(error), error.hint, EXIT_NO_ANSWER)
    except NotAllowed as error:
        fail(str(error), error.hint, EXIT_FAILED)
    except ControlError as error:
        fail(error.message, error.hint, EXIT_FAILED)


def _size_bytes(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
