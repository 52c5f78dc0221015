"""Which jobs a command is about: one grammar for looking and for telling."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import click

from ..control.replies import path_b64
from ..control.selecting import MAX_MEMBERS
from ..jobs.states import State
from .completing import endpoints, files, folders

F = TypeVar("F", bound=Callable[..., Any])

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    found = _DURATION.fullmatch(value.strip())
    if found is None:
        raise click.BadParameter("give a duration, such as 90s, 15min, 12h or 3d")
    return float(found[1]) * _SECONDS[found[2]]


_STATES = click.Choice([str(state) for state in State])
_SELECTING: tuple[Callable[[Any], Any], ...] = (
    click.argument("jobs", nargs=-1, metavar="[ID|PATH|all]...", shell_complete=files),
    click.option("--state", "states", multiple=True, type=_STATES, metavar="STATE", help="Jobs in this state."),
    click.option("--folder", metavar="PATH", shell_complete=folders, help="Jobs of this watched folder."),
    click.option("--endpoint", metavar="NAME", shell_complete=endpoints, help="Jobs for this endpoint."),
    click.option("--error", metavar="TEXT", help="Jobs whose last error or reason contains this."),
    click.option("--pattern", metavar="GLOB", help="Jobs of files whose path matches."),
    click.option(
        "--older", callback=_seconds, metavar="AGE", help="Jobs older than this, such as 90s, 15min, 12h, 3d."
    ),
    click.option("--newer", callback=_seconds, metavar="AGE", help="Jobs newer than this."),
)


def selecting(command: F) -> F:
    """The arguments and options that select jobs."""
    for decorate in reversed(_SELECTING):
        command = decorate(command)
    return command


def selection(given: dict[str, Any]) -> dict[str, Any]:
    """What the arguments and options select, as a request says it; empty where nothing is said.

    Raises `click.UsageError` for what can't be meant.
    """
    words = given["jobs"]
    if "" in words:  # a variable of a script that was not set; as a path it would be all below this folder
        raise click.UsageError("one of the paths is empty: give numbers, paths, options, or `all`")
    chosen: dict[str, Any] = {
        "ids": [int(word) for word in words if _is_id(word)],
        "paths_b64": [
            path_b64(os.path.abspath(os.fsencode(word))) for word in words if not _is_id(word) and word != "all"
        ],
        "states": list(given["states"]),
        "folder": given["folder"] and os.path.abspath(given["folder"]),
        "endpoint": given["endpoint"],
        "error": given["error"],
        "pattern": given["pattern"],
        "created_before": None if given["older"] is None else time.time() - given["older"],
        "created_after": None if given["newer"] is None else time.time() - given["newer"],
    }
    members = {name: value for name, value in chosen.items() if value not in (None, [], "")}
    if "all" in words:
        if len(words) > 1 or members:
            raise click.UsageError("`all` stands alone: leave it out to select by something else")
        return {"all": True}
    if "ids" in members and "paths_b64" in members:
        raise click.UsageError("give either numbers or paths; for a file whose name is a number write ./NAME")
    return members


def hint_for_none(members: Mapping[str, Any]) -> str:
    """What to do where this selects no job; empty where there is nothing to be said."""
    if "paths_b64" in members:
        return "tusd-agent explain PATH says whether a file is taken, and what it waits for"
    if "ids" in members:
        return "tusd-agent jobs lists jobs with their numbers"
    if "folder" in members or "endpoint" in members:
        return "tusd-agent status lists folders and endpoints; --folder wants the path as it stands there"
    if list(members) == ["pattern"]:
        return "--pattern is compared with the whole path: '*/run-7*', for example"
    if list(members) == ["error"]:
        return "tusd-agent errors lists the causes there are; their words select jobs"
    if len(members) > 1:
        return "all that is given must hold: leave something out, or see tusd-agent jobs"
    return ""


def parts(members: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same selection in requests that name no more jobs than one may."""
    name = next((name for name in ("ids", "paths_b64") if len(members.get(name, ())) > MAX_MEMBERS), None)
    if name is None:
        yield members
        return
    for start in range(0, len(members[name]), MAX_MEMBERS):
        yield {**members, name: members[name][start : start + MAX_MEMBERS]}


def _is_id(word: str) -> bool:
    return word.isascii() and word.isdecimal()
