"""Two views of one queue: what the running agent says, and what the database of one that does not answer says."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

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
    path_b64,
)
from .find import AgentPaths, ConfigUnreadable, find_agent
from .options import EXIT_BAD_CONFIG, EXIT_FAILED, EXIT_NO_ANSWER, EXIT_NOT_RUNNING, fail, warn

if TYPE_CHECKING:  # who asks a running agent does not pay for what reads the database
    from ..control.troubles import ErrorsReply, JobDetail

ANSWER_SECONDS = 5.0
MAX_PAGE = 1000
START_HINT = "start it with `systemctl start tusd-agent` or `tusd-agent run`; if it runs, name its --socket"

T = TypeVar("T")


class StoppedStatus(Counts):
    """What can be said of an agent that does not answer: the same names as in `Status`, as far as they are known."""

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

    def job(self, job_id: int) -> "JobDetail | None":
        """The job of this id, with its failed attempts."""

    def errors(self) -> "ErrorsReply":
        """The jobs in trouble, grouped by cause."""

    def at(self, path: bytes) -> list[JobReply]:
        """The jobs of an absolute path, newest first."""


class AgentView:
    """The running agent. Every call raises what `ControlClient.get` raises."""

    def __init__(self, client: ControlClient) -> None:
        self.client = client

    def status(self) -> Status:
        return cast(Status, self.client.get("/v1/status"))

    def page(self, members: Mapping[str, Any], limit: int, cursor: int | None) -> JobsReply:
        from ..control.selecting import QUERY_NAMES

        params: dict[str, Any] = {name: members[member] for name, member in QUERY_NAMES.items() if member in members}
        params["limit"] = limit
        if cursor is not None:
            params["cursor"] = cursor
        return cast(JobsReply, self.client.get("/v1/jobs", params))

    def job(self, job_id: int) -> "JobDetail | None":
        try:
            return cast("JobDetail", self.client.get(f"/v1/jobs/{job_id}"))
        except ControlError as error:
            if error.code == "no_such_job":
                return None
            raise

    def errors(self) -> "ErrorsReply":
        return cast("ErrorsReply", self.client.get("/v1/errors"))

    def explain(self, path: bytes) -> Explanation:
        """What becomes of an absolute path."""
        return cast(Explanation, self.client.get("/v1/explain", {"path_b64": path_b64(path)}))

    def at(self, path: bytes) -> list[JobReply]:
        return of_exactly(path, self.page({"paths_b64": [path_b64(path)]}, MAX_PAGE, None))


def of_exactly(path: bytes, page: JobsReply) -> list[JobReply]:
    """Without the jobs that lie below a path which is a folder's."""
    return [job for job in page["jobs"] if job["path_b64"] == path_b64(path)]


class Unseen(Exception):
    """Nothing can be seen, neither of the agent nor in its database; `exit_code` is what follows."""

    def __init__(self, message: str, hint: str, exit_code: int) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = exit_code


def ask(socket: Path | None, config: Path | None, question: Callable[[View], T]) -> tuple[T, int]:
    """Asks the agent, or its database if it is not running or does not answer, which is said on stderr.

    Returns the answer and the exit code that follows: 0, 3 or 4. A question of many parts may be asked a second time
    when the agent ends in the middle: it goes on where it was. Where there is no answer the command ends here.
    """
    try:
        return look(find(socket, config), question, warn)
    except Unseen as unseen:
        fail(str(unseen), unseen.hint, unseen.exit_code)


def look(paths: AgentPaths, question: Callable[[View], T], tell: Callable[[str], None]) -> tuple[T, int]:
    """The same of an agent that was found, for one who may look again: `tell` is given a line to say at a time.

    Raises `Unseen` where there is no answer.
    """
    try:
        return question(AgentView(ControlClient(paths.socket, ANSWER_SECONDS))), 0
    except NotRunning as error:
        why, hint, state, exit_code = str(error), START_HINT, "not running", EXIT_NOT_RUNNING
    except NoAnswer as error:
        why, hint, state, exit_code = str(error), error.hint, "not answering", EXIT_NO_ANSWER
    except NotAllowed as error:
        raise Unseen(str(error), error.hint, EXIT_FAILED) from error
    except ControlError as error:
        raise Unseen(error.message, error.hint, EXIT_FAILED) from error
    if paths.database is None:
        raise Unseen(why, hint, exit_code)
    from ..jobs.database import DatabaseUnusable
    from .stored import NotReadable, StoredView

    tell(f"tusd-agent: {why}")
    tell(f"hint: {hint}")
    if os.path.exists(paths.database):
        tell(f"what its database {paths.database} says:")
    try:
        return question(StoredView(paths.database, state)), exit_code
    except DatabaseUnusable as error:
        raise Unseen(str(error), "", exit_code) from error
    except NotReadable as error:
        hint = "run this as root or as the agent's user to see what it says"
        raise Unseen(str(error), hint, exit_code) from error


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

    answer = _ask_agent(find(socket, config), question)
    if answer is None:
        raise SystemExit(EXIT_NOT_RUNNING)
    return answer[0]


def tell(
    socket: Path | None,
    config: Path | None,
    path: str,
    members: Mapping[str, Any],
    patience_seconds: float = ANSWER_SECONDS,
) -> Any:
    """The running agent's reply to an order. Where there is none the command ends here."""
    answer = _ask_agent(find(socket, config), lambda view: view.client.post(path, members), patience_seconds)
    if answer is None:
        raise SystemExit(EXIT_NOT_RUNNING)
    return answer[0]


def of_agent(socket: Path | None, config: Path | None, question: Callable[[ControlClient], T]) -> T:
    """What the question finds out from the running agent. Where there is no answer the command ends here."""
    answer = _ask_agent(find(socket, config), lambda view: question(view.client))
    if answer is None:
        raise SystemExit(EXIT_NOT_RUNNING)
    return answer[0]


def set_to(socket: Path | None, config: Path | None, path: str, members: Mapping[str, Any]) -> Any:
    """The running agent's reply to what is set with PUT. Where there is none the command ends here."""
    answer = _ask_agent(find(socket, config), lambda view: view.client.put(path, members))
    if answer is None:
        raise SystemExit(EXIT_NOT_RUNNING)
    return answer[0]


def tell_of(socket: Path | None, config: Path | None, path: str, params: Mapping[str, str]) -> Any:
    """The running agent's reply to a question that only it can answer. Where there is none the command ends here."""
    answer = _ask_agent(find(socket, config), lambda view: view.client.get(path, params))
    if answer is None:
        raise SystemExit(EXIT_NOT_RUNNING)
    return answer[0]


def tell_text(socket: Path | None, config: Path | None, path: str) -> str:
    """The same where the reply is a text."""
    answer = _ask_agent(find(socket, config), lambda view: view.client.text(path))
    if answer is None:
        raise SystemExit(EXIT_NOT_RUNNING)
    return answer[0]


def find(socket: Path | None, config: Path | None) -> AgentPaths:
    """The agent that is meant. Where that can't be told the command ends here."""
    try:
        return find_agent(socket, config, os.environ)
    except ConfigUnreadable as error:
        hint = "tusd-agent check-config says more; --socket PATH alone asks an agent that runs all the same"
        fail(str(error), hint, EXIT_BAD_CONFIG)
    except places.HomeUnknownError as error:
        fail(f"the agent can't be found: {error}", "name its control socket with --socket", EXIT_FAILED)


def _ask_agent(
    paths: AgentPaths, question: Callable[[AgentView], T], patience_seconds: float = ANSWER_SECONDS
) -> tuple[T] | None:
    """The running agent's answer; None, after saying so, when none is running."""
    try:
        return (question(AgentView(ControlClient(paths.socket, patience_seconds))),)
    except NotRunning as error:
        warn(f"tusd-agent: {error}")
        warn(f"hint: {START_HINT}")
        return None
    except NoAnswer as error:
        fail(str(error), error.hint, EXIT_NO_ANSWER)
    except NotAllowed as error:
        fail(str(error), error.hint, EXIT_FAILED)
    except ControlError as error:
        for problem in error.problems:
            warn(problem)
        fail(error.message, error.hint, EXIT_BAD_CONFIG if error.code == "bad_configuration" else EXIT_FAILED)
