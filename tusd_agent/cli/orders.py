"""``tusd-agent retry | hold | release | cancel | resend | adopt``, and ``rescan``: telling the agent what to do."""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from ..control.replies import OrderReply, path_b64
from ..control.selecting import MAX_MEMBERS
from ..jobs.states import State
from .options import EXIT_FAILED, config_option, fail, json_option, say, say_json, socket_option
from .views import tell
from .words import plural

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
    click.argument("jobs", nargs=-1, metavar="[ID|PATH|all]..."),
    click.option("--state", "states", multiple=True, type=_STATES, metavar="STATE", help="Jobs in this state."),
    click.option("--folder", metavar="PATH", help="Jobs of this watched folder."),
    click.option("--endpoint", metavar="NAME", help="Jobs for this endpoint."),
    click.option("--error", metavar="TEXT", help="Jobs whose last error or reason contains this."),
    click.option("--pattern", metavar="GLOB", help="Jobs of files whose path matches."),
    click.option(
        "--older", callback=_seconds, metavar="AGE", help="Jobs older than this, such as 90s, 15min, 12h, 3d."
    ),
    click.option("--newer", callback=_seconds, metavar="AGE", help="Jobs newer than this."),
    json_option,
    config_option,
    socket_option,
)


def selection(given: dict[str, Any]) -> dict[str, Any]:
    """What the options and arguments select, as a request says it. Raises `click.UsageError` for nothing."""
    words = given["jobs"]
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
    if not members:
        raise click.UsageError("which jobs? Give numbers, paths, options such as --state failed, or `all`")
    if "ids" in members and "paths_b64" in members:
        raise click.UsageError("give either numbers or paths; for a file whose name is a number write ./NAME")
    return members


def _parts(members: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same selection in requests that name no more jobs than one may."""
    name = next((name for name in ("ids", "paths_b64") if len(members.get(name, ())) > MAX_MEMBERS), None)
    if name is None:
        yield members
        return
    for start in range(0, len(members[name]), MAX_MEMBERS):
        yield {**members, name: members[name][start : start + MAX_MEMBERS]}


def _is_id(word: str) -> bool:
    return word.isascii() and word.isdecimal()


def _command(verb: str, done: str, line: str, example: str) -> click.Command:
    def run(**given: Any) -> None:
        _order(verb, done, selection(given), given)

    run.__doc__ = f"""{line}

    Jobs are named by number, by the path of their file (of a folder: all below it), by options that must all hold, or
    by the word all.

    Example: tusd-agent {verb} {example}
    """
    for decorate in reversed(_SELECTING):
        run = decorate(run)
    return click.command(verb)(run)


def _order(verb: str, done: str, members: dict[str, Any], given: dict[str, Any]) -> None:
    changed, ids, refused, examples = 0, list[int](), 0, list[str]()
    for part in _parts(members):
        cursor: int | None = 0
        while cursor is not None:
            body = {**part, "cursor": cursor} if cursor else part
            reply: OrderReply = tell(given["socket"], given["config"], f"/v1/jobs/{verb}", body)
            changed += reply["changed"]
            ids += reply["ids"]
            refused += reply["refused"]
            examples += reply["refused_examples"][: 5 - len(examples)]
            cursor = reply["next_cursor"]
    if given["as_json"]:
        say_json({"changed": changed, "ids": ids, "refused": refused, "refused_examples": examples})
    elif changed or not refused:
        say(f"{plural(changed, 'job')} {done}." if changed else "No job is selected: nothing was changed.")
    if refused and not given["as_json"]:
        say(f"{plural(refused, 'job')} can't {verb} as things are:")
        for example in examples:
            say(f"  {example}")
    named = "ids" in members or "paths_b64" in members
    if (refused and not changed) or (named and not changed):
        raise SystemExit(EXIT_FAILED)


retry_command = _command(
    "retry",
    "tried now",
    "Try jobs now: deferred ones at once, failed, held and cancelled ones again.",
    "--state failed",
)
hold_command = _command("hold", "held back", "Keep jobs back until they are released.", "--folder /srv/outgoing")
release_command = _command("release", "released", "Let held jobs go on.", '--error "ledger lost"')
cancel_command = _command("cancel", "cancelled", "Do not send jobs; files stay where they are.", "/srv/outgoing/run-7")
resend_command = _command("resend", "sent once more", "Send files once more whose jobs are done.", "4711")
adopt_command = _command(
    "adopt", "taken as done", "Take held jobs as done: their files were sent before.", '--error "ledger lost"'
)


@click.command("rescan")
@click.argument("folder", required=False)
@json_option
@config_option
@socket_option
def rescan_command(folder: str | None, as_json: bool, config: Path | None, socket: Path | None) -> None:
    """Have watched folders read as a whole now.

    FOLDER is the path of one; without it all are read. Nothing has to wait for it: `tusd-agent status` shows how far
    it is.

    Example: tusd-agent rescan /srv/outgoing
    """
    body = {} if folder is None else {"folder": os.path.abspath(folder)}
    reply = tell(socket, config, "/v1/rescan", body)
    if as_json:
        say_json(reply)
        return
    if not reply["folders"]:
        fail("no folder is watched", "add a [[watch]] table to the configuration", EXIT_FAILED)
    for path in reply["folders"]:
        say(f"being scanned: {path}")
