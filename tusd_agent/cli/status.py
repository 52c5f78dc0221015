"""``tusd-agent status``: how the agent is doing, on one screen."""

from pathlib import Path

import click

from .options import EXIT_FAILED, config_option, in_colour, json_option, say, say_json, socket_option
from .status_screen import screen
from .views import ask


@click.command("status")
@click.option("--check", is_flag=True, help="Exit with 1 when jobs failed or the agent is degraded.")
@json_option
@config_option
@socket_option
def status_command(check: bool, as_json: bool, config: Path | None, socket: Path | None) -> None:
    """Show how the agent is doing: folders, endpoints, uploads in flight.

    Exit codes: 0 it runs; 3 it is not running (what is shown then comes from its database); 4 it does not answer.

    Example: tusd-agent status --check || mail -s "uploads need you" ops
    """
    status, exit_code = ask(socket, config, lambda view: view.status())
    if as_json:
        say_json(status)
    else:
        coloured = in_colour()
        say(screen(status, lambda text, colour: click.style(text, fg=colour) if coloured else text))
    if check and exit_code == 0 and (status["state"] == "degraded" or status["jobs"].get("failed")):
        exit_code = EXIT_FAILED
    raise SystemExit(exit_code)
