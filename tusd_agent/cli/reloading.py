"""``tusd-agent reload``: the running agent reads its configuration again."""

from pathlib import Path

import click

from ..control.replies import escaped
from ..control.replies_changes import ReloadReply
from .options import config_option, json_option, say, say_json, socket_option
from .views import tell
from .words import plural

PATIENCE_SECONDS = 600.0
"""To hold the million jobs of a folder that is removed takes minutes."""


@click.command("reload")
@json_option
@config_option
@socket_option
def reload_command(as_json: bool, config: Path | None, socket: Path | None) -> None:
    """Have the running agent read its configuration again.

    It checks the file first: a bad one changes nothing. What can change without a restart does, uploads whose settings
    stay go on undisturbed; what needs a restart is said. The agent reads the file that it was started with.

    Exit codes: 0 it holds; 3 the agent is not running; 78 bad configuration.

    Example: tusd-agent reload
    """
    reply: ReloadReply = tell(socket, config, "/v1/reload", {}, PATIENCE_SECONDS)
    if as_json:
        say_json(reply)
        return
    say(f"{escaped(reply['file'] or 'no file')}: {'reloaded' if reply['changed'] else 'nothing has changed'}")
    for line in reply["changed"]:
        say(f"  {line}")
    if reply["held"]:
        say(f"  {plural(reply['held'], 'job')} held: the folder or endpoint is no longer there")
    for title, lines in (("needs a restart", reply["needs_restart"]), ("warning", reply["warnings"])):
        for line in lines:
            say(f"{title}: {line}")
