"""``tusd-agent jobs``: the list of jobs, newest first."""

import time
from pathlib import Path
from typing import Any, Literal

import click

from ..control.replies import JobReply
from .options import config_option, in_colour, json_option, on_terminal, say, say_json, socket_option, warn
from .page import encodable
from .selecting import hint_for_none, selecting, selection
from .views import MAX_PAGE, View, ask
from .words import aligned, distance, percent, size

DEFAULT_LIMIT = 50
HEADINGS = ("ID", "STATE", "SIZE", "SENT", "SINCE", "PATH")
# What the columns but the path take, so that pages printed one after the other are of one piece.
_WIDEST = ("9999999", "superseded", "1023 KiB", "100 %", "in 23 h 59 min")
_NUMBERS = (0, 2, 3)
_BELOW = len(_WIDEST[0]) + 2
_COLOURS = {"failed": "red", "held": "yellow", "uploading": "cyan", "disposing": "cyan", "done": "green"}


@click.command("jobs")
@selecting
@click.option(
    "--limit", type=click.IntRange(1, MAX_PAGE), help=f"How many, 1 to {MAX_PAGE}.  [default: {DEFAULT_LIMIT}]"
)
@click.option("--all", "every", is_flag=True, help="All of them, page by page.")
@json_option
@config_option
@socket_option
def jobs_command(
    limit: int | None, every: bool, as_json: bool, config: Path | None, socket: Path | None, **given: Any
) -> None:
    """List jobs, newest first; with --json one object a line.

    Without arguments and options all are listed. PATH is that of a file, or of a folder for all below it.

    Example: tusd-agent jobs --state failed --error 403
    """
    members = selection(given)
    if members == {"all": True}:
        members = {}
    if every and limit is not None:
        raise click.UsageError("give either --limit or --all")
    draw = _draw_json if as_json else _draw_table if on_terminal() else _draw_plain
    cursor: int | None = None
    drawn = 0

    def question(view: View) -> int | None:
        """Draws page after page; asked again, it goes on with the page that is next."""
        nonlocal cursor, drawn
        while True:
            page = view.page(members, MAX_PAGE if every else limit or DEFAULT_LIMIT, cursor)
            if page["jobs"]:
                draw(page["jobs"], drawn == 0)
            drawn += len(page["jobs"])
            cursor = page["next_cursor"]
            if cursor is None or not every:
                return cursor

    more, exit_code = ask(socket, config, question)
    if not drawn and not as_json:
        warn("No jobs.")
        if hint := hint_for_none(members):
            warn(f"hint: {hint}")
    if more is not None and not as_json:
        warn("There are more: --all shows them.")
    raise SystemExit(exit_code)


def _draw_json(jobs: list[JobReply], first: bool) -> None:
    for job in jobs:
        say_json(job, indent=None)


def _draw_plain(jobs: list[JobReply], first: bool) -> None:
    now = time.time()
    rows = [[*_WIDEST, ""], list(HEADINGS), *(_cells(job, now) for job in jobs)]
    for line in aligned(rows, right=_NUMBERS)[1 if first else 2 :]:
        say(line)


def _draw_table(jobs: list[JobReply], first: bool) -> None:
    # Drawing is the only thing rich is needed for, and it takes longer to import than all else here.
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    def new_table(show_header: bool) -> Table:
        table = Table(box=None, show_header=show_header, pad_edge=False, padding=(0, 2, 0, 0))
        for number, widest in enumerate(_WIDEST):
            justify: Literal["left", "right"] = "right" if number in _NUMBERS else "left"
            table.add_column(HEADINGS[number], justify=justify, min_width=len(widest), no_wrap=True)
        table.add_column(HEADINGS[-1], overflow="fold")
        return table

    console = Console(no_color=not in_colour(), highlight=False)
    now, table, last = time.time(), new_table(first), None
    for job in encodable(jobs):
        cells = [Text(cell) for cell in (*_numbers(job, now), job["path"])]
        cells[1].stylize(_COLOURS.get(job["state"], ""))
        table.add_row(*cells)
        why = _why(job)
        if why is not None:
            # Below its row, where there is room: beside the path there may be less than for a word.
            text = Text("as above" if why == last else why)
            console.print(table, Padding(text, (0, 0, 0, _BELOW), expand=False))
            table = new_table(False)
        last = why
    if table.row_count:
        console.print(table)


def _cells(job: JobReply, now: float) -> list[str]:
    why = _why(job)
    return [*_numbers(job, now), f"{job['path']}  ({why})" if why else job["path"]]


def _numbers(job: JobReply, now: float) -> list[str]:
    sent = percent(job["offset_bytes"], job["size_bytes"])
    return [str(job["id"]), job["state"], size(job["size_bytes"]), sent, distance(_since(job), now)]


def _why(job: JobReply) -> str | None:
    """Why it is where it is; of a failed job the reason says only of what kind the error is."""
    if job["state"] == "done":
        return None
    if job["state"] == "failed" and job["reason"] and job["last_error"]:
        return f"{job['reason']}: {job['last_error']}"
    return job["reason"] or job["last_error"]


def _since(job: JobReply) -> float:
    """When the job came to where it is, as far as it is known."""
    return max(at for at in (job["created_at"], job["claimed_at"], job["delivered_at"], job["finished_at"]) if at)
