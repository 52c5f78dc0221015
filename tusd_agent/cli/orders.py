"""``tusd-agent retry | hold | release | cancel | resend | adopt``, and ``rescan``: telling the agent what to do."""

import os
from pathlib import Path
from typing import Any

import click

from ..control.replies import OrderReply
from ..jobs.states import TABLE
from .completing import folders
from .options import EXIT_FAILED, config_option, fail, json_option, say, say_json, socket_option, warn
from .selecting import hint_for_none, parts, selecting, selection
from .views import tell
from .words import plural


def _command(verb: str, done: str, line: str, example: str) -> click.Command:
    def run(**given: Any) -> None:
        members = selection(given)
        if not members:
            raise click.UsageError("which jobs? Give numbers, paths, options such as --state failed, or `all`")
        _order(verb, done, members, given)

    run.__doc__ = f"""{line}

    Jobs are named by number, by the path of their file (of a folder: all below it), by options that must all hold, or
    by the word all.

    Example: tusd-agent {verb} {example}
    """
    for decorate in (socket_option, config_option, json_option):
        run = decorate(run)
    run = selecting(run)
    return click.command(verb)(run)


def _order(verb: str, done: str, members: dict[str, Any], given: dict[str, Any]) -> None:
    changed, ids, refused, examples = 0, list[int](), 0, list[str]()
    for part in parts(members):
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
    elif changed:
        say(f"{plural(changed, 'job')} {done}.")
    elif not refused:
        say("No job is selected: nothing was changed.")
        if hint := hint_for_none(members):
            warn(f"hint: {hint}")
    if refused and not given["as_json"]:
        say(f"{plural(refused, 'job')} can't {verb} as things are; that is for jobs that are {_states_for(verb)}:")
        for example in examples:
            say(f"  {example}")
    named = "ids" in members or "paths_b64" in members
    if (refused and not changed) or (named and not changed):
        raise SystemExit(EXIT_FAILED)


def _states_for(verb: str) -> str:
    *others, last = [str(state) for state, event in TABLE if event == verb and state is not None]
    return f"{', '.join(others)} or {last}" if others else last


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
@click.argument("folder", required=False, shell_complete=folders)
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
