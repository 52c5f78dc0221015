"""``tusd-agent errors``: what is wrong with jobs, by cause, and what to do."""

import time
from collections.abc import Iterator
from pathlib import Path

import click

from ..control.replies import JobReply
from ..control.troubles import ErrorGroup, ErrorsReply
from .options import config_option, json_option, say, say_json, socket_option, warn
from .page import Page, encodable, page_of_stdout
from .views import ask
from .words import aligned, cut, distance, width, wrapped

NARROWEST_CAUSE = 12
_HEADINGS = ("CAUSE", "FAILED", "WAITING", "HELD")


@click.command("errors")
@json_option
@config_option
@socket_option
def errors_command(as_json: bool, config: Path | None, socket: Path | None) -> None:
    """Show what is wrong, grouped by cause: failed jobs, held ones, and those that wait after a failed attempt.

    Each cause with the newest of its jobs and what to do. Its words select them, as in the example.

    Example: tusd-agent errors; tusd-agent retry --error "refused 422"
    """
    reply, exit_code = ask(socket, config, lambda view: view.errors())
    if as_json:
        say_json(reply)
    elif not reply["groups"]:
        warn("No job is in trouble.")
    else:
        for line in _lines(encodable(reply), page_of_stdout(), time.time()):
            say(line)
    raise SystemExit(exit_code)


def _lines(reply: ErrorsReply, page: Page, now: float) -> Iterator[str]:
    most = reply["counted_up_to"]
    numbers = aligned([_HEADINGS[1:], *(_counts(group, most) for group in reply["groups"])], right=range(3))
    room = None if page.width is None else max(page.width - 2 - max(map(len, numbers)), NARROWEST_CAUSE)
    causes = ["CAUSE", *(cut(group["cause"], room, page.ellipsis) for group in reply["groups"])]
    widest = max(map(width, causes))
    table = [f"{cause}{' ' * (widest - width(cause))}  {line}" for cause, line in zip(causes, numbers, strict=True)]
    yield table[0]
    for group, line in zip(reply["groups"], table[1:], strict=True):
        yield page.paint(line, "red") if group["jobs"].get("failed") else line
        yield from wrapped(_example(group["example"], now), page.width, "  ", "    ")
        yield from wrapped(f"do: {group['hint']}", page.width, "  ", "      ")
    if not reply["complete"]:
        yield from wrapped(f"Not all is counted: {most} jobs of a cause at most.", page.width)


def _counts(group: ErrorGroup, most: int) -> list[str]:
    jobs = group["jobs"]
    counts = (jobs.get("failed", 0), jobs.get("pending", 0) + jobs.get("delivered", 0), jobs.get("held", 0))
    return [f"{count}+" if count >= most else str(count) for count in counts]


def _example(job: JobReply, now: float) -> str:
    at = job["finished_at"] or job["claimed_at"] or job["created_at"]
    why = (job["reason"] if job["state"] == "held" else job["last_error"]) or job["reason"] or "no words"
    return f"#{job['id']} {job['path']}, {distance(at, now)}: {why}"
