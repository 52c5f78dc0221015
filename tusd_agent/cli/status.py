"""``tusd-agent status``: how the agent is doing, on one screen."""

import threading
from collections.abc import Callable
from pathlib import Path

import click

from ..control.replies import Status
from .find import AgentPaths
from .options import EXIT_FAILED, config_option, fail, json_option, on_terminal, say, say_json, socket_option, warn
from .page import encodable, page_of_stdout
from .status_screen import OtherVersion, screen
from .views import StoppedStatus, Unseen, ask, find, look
from .words import wrapped

WATCH_SECONDS = 2.0


@click.command("status")
@click.option("--check", is_flag=True, help="Exit with 1 when jobs failed or the agent is degraded.")
@click.option(
    "--watch", "every_seconds", type=click.FloatRange(0.1, 3600), is_flag=False, flag_value=WATCH_SECONDS,
    metavar="[SECONDS]", help=f"Again and again, until Ctrl-C.  [{WATCH_SECONDS:g}]",
)  # fmt: skip
@json_option
@config_option
@socket_option
def status_command(
    check: bool, every_seconds: float | None, as_json: bool, config: Path | None, socket: Path | None
) -> None:
    """Show how the agent is doing: folders, endpoints, uploads in flight.

    Exit codes: 0 it runs; 3 it is not running; 4 it does not answer. What is shown then comes from its database.

    Example: tusd-agent status --check || mail -s "uploads need you" ops
    """
    if every_seconds is not None:
        if check:
            raise click.UsageError("give either --check or --watch: what is watched has no exit code")
        _watch(find(socket, config), every_seconds, as_json)
        return
    status, exit_code = ask(socket, config, lambda view: view.status())
    if as_json:
        say_json(status)
    else:
        try:
            say(screen(encodable(status), page_of_stdout()))
        except OtherVersion as other:
            fail(str(other), other.hint, EXIT_FAILED)
    if check and exit_code == 0 and (status["state"] == "degraded" or status["jobs"].get("failed")):
        exit_code = EXIT_FAILED
    raise SystemExit(exit_code)


def _watch(paths: AgentPaths, every_seconds: float, as_json: bool) -> None:
    """Shows it again and again until Ctrl-C, whatever becomes of the agent meanwhile."""
    say_it = _draw_json if as_json else _draw_on_terminal if on_terminal() else _draw_below
    try:
        while True:
            lines: list[str] = []
            try:
                status, _ = look(paths, lambda view: view.status(), lines.append)
            except Unseen as unseen:
                say_it(None, [*lines, f"tusd-agent: {unseen}", *([f"hint: {unseen.hint}"] if unseen.hint else [])])
            else:
                try:
                    say_it(status, lines)
                except OtherVersion as other:
                    say_it(None, [f"tusd-agent: {other}", f"hint: {other.hint}"])
            threading.Event().wait(every_seconds)
    except KeyboardInterrupt:
        raise SystemExit(0) from None


Draw = Callable[[Status | StoppedStatus | None, list[str]], None]


def _draw_json(status: Status | StoppedStatus | None, lines: list[str]) -> None:
    if status is None:
        for line in lines:
            warn(line)
    else:
        say_json(status, indent=None)


def _draw_below(status: Status | StoppedStatus | None, lines: list[str]) -> None:
    for line in lines:
        warn(line)
    if status is not None:
        say(screen(encodable(status), page_of_stdout()) + "\n")


def _draw_on_terminal(status: Status | StoppedStatus | None, lines: list[str]) -> None:
    """Over what was there, and no more than there is room for."""
    page = page_of_stdout()
    shown = [] if status is None else screen(encodable(status), page).split("\n")
    shown[:0] = [part for line in encodable(lines) for part in wrapped(line, page.width)]
    room = (page.height or len(shown) + 1) - 1
    if len(shown) > room:
        left_out = len(shown) - room + 1
        shown = [*shown[: room - 1], f"{page.ellipsis} {left_out} more lines: make the terminal higher"]
    # Erased line by line as it is written, and below the last: erasing all first would flicker.
    click.echo("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J", nl=False)
