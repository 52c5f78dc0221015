"""``tusd-agent add``: files that the agent is to look at now."""

import os
from pathlib import Path
from typing import cast

import click

from ..control.client import ControlClient, ControlError
from ..control.replies import path_b64
from ..control.replies_changes import AddReply
from .completing import files
from .options import EXIT_FAILED, config_option, json_option, say, say_json, socket_option, warn
from .views import of_agent

_NOT_SENT = frozenset({"failed", "held", "cancelled"})


@click.command("add")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", shell_complete=files)
@json_option
@config_option
@socket_option
def add_command(paths: tuple[str, ...], as_json: bool, config: Path | None, socket: Path | None) -> None:
    """Have files looked at now, as if the kernel had just told of them; of a folder all below it.

    They must lie in a watched folder, and its rules decide as ever: a file that they leave out is refused, one that is
    written to is waited for. Exits with 1 when one of them is not going to be sent.

    Example: tusd-agent add /srv/outgoing/run-7.dat && tusd-agent wait --path /srv/outgoing/run-7.dat
    """
    failed = of_agent(socket, config, lambda client: [not _add(client, path, as_json) for path in paths])
    if any(failed):
        raise SystemExit(EXIT_FAILED)


def _add(client: ControlClient, path: str, as_json: bool) -> bool:
    """Adds one and says so; returns whether it is, or will be, on its way."""
    try:
        reply = _ask(client, os.path.abspath(os.fsencode(path)))
    except ControlError as error:
        if error.status >= 500 or error.code in ("not_allowed", "method_not_allowed"):
            raise
        warn(f"tusd-agent: {error.message}")
        if error.hint:
            warn(f"hint: {error.hint}")
        return False
    job = reply["job"]
    if as_json:
        say_json(reply, None)
    elif reply["added"]:
        say(f"{reply['path']}: waits for {reply['waits_for'] or 'its turn to be taken, in a moment'}")
    elif job is not None:
        say(f"{reply['path']}: is job {job['id']} already, {job['state']}")
        say(f"  {reply['hint']}")
    return job is None or job["state"] not in _NOT_SENT


def _ask(client: ControlClient, path: bytes) -> AddReply:
    try:
        return cast(AddReply, client.post("/v1/jobs", {"path_b64": path_b64(path)}))
    except ControlError as error:
        # As it is without the links that its folders go through, it may lie in a watched folder after all.
        resolved = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if error.code != "not_watched" or resolved == path:
            raise
        return cast(AddReply, client.post("/v1/jobs", {"path_b64": path_b64(resolved)}))
