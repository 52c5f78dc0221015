"""``tusd-agent pause`` and ``resume``: of the agent, a folder or an endpoint."""

import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..control.replies import Pause
from ..control.replies_changes import PauseReply
from .completing import endpoints, folders
from .options import config_option, json_option, say, say_json, socket_option
from .views import tell
from .words import instant


def pause_words(pause: Pause, now: float) -> str:
    """What is paused, since when, and how it goes on."""
    option = ""
    if pause["folder"] is not None:
        option = f" --folder {shlex.quote(pause['folder'])}"
    elif pause["endpoint"] is not None:
        option = f" --endpoint {pause['endpoint']}"
    since = instant(pause["since"], now)
    return f"{_name(pause['folder'], pause['endpoint'])} is paused since {since}: tusd-agent resume{option}"


def _name(folder: str | None, endpoint: str | None) -> str:
    if folder is not None:
        return f"folder {folder}"
    return "the agent" if endpoint is None else f"endpoint {endpoint}"


def _command(verb: str, told: Callable[[str, bool], str], help_text: str) -> click.Command:
    def run(folder: str | None, endpoint: str | None, as_json: bool, config: Path | None, socket: Path | None) -> None:
        if folder is not None and endpoint is not None:
            raise click.UsageError("give --folder or --endpoint, or neither for the whole agent")
        folder = None if folder is None else os.path.abspath(folder)
        members: dict[str, Any] = {"folder": folder, "endpoint": endpoint}
        reply: PauseReply = tell(socket, config, f"/v1/{verb}", members)
        if as_json:
            say_json(reply)
            return
        say(told(_name(folder, endpoint), reply["changed"]))
        for pause in reply["paused"]:
            if verb == "resume" or (pause["folder"], pause["endpoint"]) != (folder, endpoint):
                say(f"  {pause_words(pause, time.time())}")

    run.__doc__ = help_text
    for decorate in (
        socket_option,
        config_option,
        json_option,
        click.option(
            "--endpoint", metavar="NAME", shell_complete=endpoints, help="What goes to this endpoint, and nothing else."
        ),
        click.option("--folder", metavar="PATH", shell_complete=folders, help="This watched folder, and nothing else."),
    ):
        run = decorate(run)
    return click.command(verb)(run)


def _told_pause(what: str, changed: bool) -> str:
    if not changed:
        return f"{what} was paused already."
    return f"{what} is paused. What was being sent is put back, and goes on from there after a resume."


pause_command = _command(
    "pause",
    _told_pause,
    """Let nothing be sent for a while: of the whole agent, a folder or an endpoint.

    Uploads in flight are put back within a second, and files that have arrived are not deleted, moved or given to a
    command. New files are still noted. It lasts until `tusd-agent resume`, also after a restart.

    Example: tusd-agent pause --folder /srv/outgoing
    """,
)

resume_command = _command(
    "resume",
    lambda what, changed: f"{what} goes on." if changed else f"{what} was not paused.",
    """Let what was paused go on, from where it stood.

    A pause is ended by the same options that began it; what else is paused stays so, and is listed.

    Example: tusd-agent resume --folder /srv/outgoing
    """,
)
