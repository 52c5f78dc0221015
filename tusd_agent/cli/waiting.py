"""``tusd-agent wait``: for scripts that go on once files have arrived."""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import click

from ..control.client import ControlClient, ControlError, NoAnswer, NotRunning
from ..control.replies import Explanation, Folder, JobsReply, Status, path_b64
from ..control.selecting import MAX_MEMBERS
from .arrival import WAITING, Standing, of_directory, of_jobs, of_path, of_status, together
from .options import EXIT_FAILED, config_option, json_option, say_json, socket_option, warn
from .views import ANSWER_SECONDS, find, of_agent

PACE_SECONDS = 1.0
ABSENCE_SECONDS = 120.0
"""An agent that ends while it is waited for is waited for, too: it may only be restarted."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d|)")
_SECONDS = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}

Look = Callable[[ControlClient], Standing]


def _duration(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    found = _DURATION.fullmatch(value.strip())
    if found is None:
        raise click.BadParameter("give a duration, such as 90s, 15min, 12h or 3d")
    return float(found[1]) * _SECONDS[found[2]]


@click.command("wait")
@click.option("--idle", is_flag=True, help="Until nothing is left to be sent, and nothing settles.")
@click.option("--job", "jobs", multiple=True, type=click.IntRange(1), metavar="ID", help="Until this job is done.")
@click.option("--path", "paths", multiple=True, metavar="PATH", help="Until this file (all below it) has arrived.")
@click.option("--timeout", callback=_duration, metavar="TIME", help="For so long at most, such as 90s or 2h.")
@json_option
@config_option
@socket_option
def wait_command(
    idle: bool,
    jobs: tuple[int, ...],
    paths: tuple[str, ...],
    timeout: float | None,
    as_json: bool,
    config: Path | None,
    socket: Path | None,
) -> None:
    """Wait until files have arrived and were disposed of, for scripts.

    --job and --path may be given several times. A restart of the agent is waited for. Exit codes: 0 all is done; 1 not
    so, which is said: something failed, is held or cancelled, or the time is over; 3 the agent is not running.

    Example: tusd-agent wait --path /srv/outgoing/run-7 --timeout 2h && rm lock
    """
    if idle == bool(jobs or paths):
        raise click.UsageError("give --idle, or --job and --path, which may be given several times")
    look = _idle() if idle else _these(jobs, [os.path.abspath(os.fsencode(path)) for path in paths])
    standing, in_time = _wait(socket, config, look, timeout, looks=1 if jobs and not paths else 2)
    if as_json:
        outcome = "timeout" if not in_time else "failed" if standing.failed else "done"
        say_json({"outcome": outcome, "waiting": standing.waiting, "failed": standing.failed})
    elif not in_time:
        warn(f"tusd-agent: not within {timeout:g} s. Still waited for:")
    for words in (*standing.failed, *(() if in_time else standing.waiting)):
        if not as_json:
            warn(f"  {words}")
    if not in_time and not as_json:
        warn("hint: tusd-agent status and errors say what keeps them")
    if standing.failed or not in_time:
        raise SystemExit(EXIT_FAILED)


def _wait(
    socket: Path | None, config: Path | None, look: Look, timeout_seconds: float | None, *, looks: int
) -> tuple[Standing, bool]:
    """Looks until so many looks in a row say that all is decided; returns how it stands, and whether that was in time.

    More than one, because what the kernel has to tell of a file that was closed just now may still be on its way.
    """
    client = ControlClient(find(socket, config).socket, ANSWER_SECONDS)
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    standing = of_agent(socket, config, look)
    decided, seen_at = 0, time.monotonic()
    while True:
        decided = decided + 1 if standing.is_decided else 0
        if decided >= looks:
            return standing, True
        left = PACE_SECONDS if deadline is None else deadline - time.monotonic()
        if left <= 0:
            return standing, False
        time.sleep(min(PACE_SECONDS, left))
        try:
            standing = look(client)
            seen_at = time.monotonic()
        except (NotRunning, NoAnswer, ControlError) as error:
            passing = not isinstance(error, ControlError) or error.status == 503
            if passing and time.monotonic() - seen_at < ABSENCE_SECONDS:
                standing = Standing(waiting=(f"the agent itself: {error}",))
            else:
                standing = of_agent(socket, config, look)  # which says so, and ends the command


def _idle() -> Look:
    began_at = time.time()
    return lambda client: of_status(cast(Status, client.get("/v1/status")), began_at)


def _these(jobs: tuple[int, ...], paths: list[bytes]) -> Look:
    began_at = time.time()
    return lambda client: together([*_of_jobs(client, jobs), *(_of_path(client, path, began_at) for path in paths)])


def _of_jobs(client: ControlClient, jobs: tuple[int, ...]) -> Iterator[Standing]:
    for start in range(0, len(jobs), MAX_MEMBERS):
        asked = list(dict.fromkeys(jobs[start : start + MAX_MEMBERS]))
        page = cast(JobsReply, client.get("/v1/jobs", {"id": [str(job) for job in asked], "limit": MAX_MEMBERS}))
        yield of_jobs(asked, page["jobs"])


def _of_path(client: ControlClient, path: bytes, began_at: float) -> Standing:
    found = _explained(client, path)
    if found["seen"] != "directory":
        return of_path(found)
    status = cast(Status, client.get("/v1/status"))
    folder: Folder | None = next((one for one in status["folders"] if one["path"] == found["folder"]), None)
    below = {"path_b64": found["path_b64"]}
    unsent = cast(JobsReply, client.get("/v1/jobs", {**below, "state": WAITING, "limit": 1}))["jobs"]
    bad = cast(JobsReply, client.get("/v1/jobs", {**below, "state": ("failed", "held", "cancelled"), "limit": 10}))
    return of_directory(found["path"], folder, began_at, len(unsent), bad["jobs"])


def _explained(client: ControlClient, path: bytes) -> Explanation:
    try:
        return cast(Explanation, client.get("/v1/explain", {"path_b64": path_b64(path)}))
    except ControlError as error:
        # As it is without the links that its folders go through, it may lie in a watched folder after all.
        resolved = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if error.code != "not_watched" or resolved == path:
            raise
        return cast(Explanation, client.get("/v1/explain", {"path_b64": path_b64(resolved)}))
