"""``tusd-agent explain``: whether a file is taken, by which rule, and what it waits for."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import click

from ..control.replies import Explanation
from .completing import files
from .options import config_option, json_option, say, say_json, socket_option
from .page import encodable, page_of_stdout
from .views import explain
from .words import distance, plural, wrapped


@click.command("explain")
@click.argument("path", shell_complete=files)
@json_option
@config_option
@socket_option
def explain_command(path: str, as_json: bool, config: Path | None, socket: Path | None) -> None:
    """Say what becomes of a file, and why.

    Which rule takes or leaves it, and what it waits for. PATH need not exist, but must lie in a watched folder.

    Example: tusd-agent explain /srv/outgoing/run-7.dat
    """
    if not path:
        raise click.UsageError("which file? Give its path")
    explanation = explain(socket, config, os.path.abspath(os.fsencode(path)))
    if as_json:
        say_json(explanation)
        return
    width = page_of_stdout().width
    for line in _lines(encodable(explanation), time.time()):
        for part in wrapped(line, width, "", " " * 13):
            say(part)


def _verdict(found: Explanation) -> str:
    if not found["taken"]:
        return "not taken"
    # With a job, what is waited for is up to that, or belongs to newer content.
    return "will be taken" if found["job"] is None else "taken"


def _lines(found: Explanation, now: float) -> Iterator[str]:
    yield f"{found['path']}: {_verdict(found)}"
    yield f"  rule       {found['rule']}"
    if found["waits_for"] is not None:
        yield f"  waits for  {found['waits_for']}"
    job = found["job"]
    if job is None:
        yield "  job        none yet" if found["taken"] else "  job        none"
        return
    words = f"#{job['id']}, {job['state']}"
    if job["state"] in ("pending", "delivered") and (job["not_before"] or 0) > now:
        words += f", tried again {distance(job['not_before'] or now, now)}"
    if job["attempts"]:
        words += f", {plural(job['attempts'], 'attempt')}"
    yield f"  job        {words}"
    for title, text in (("reason", job["reason"]), ("last error", job["last_error"])):
        if text:
            yield f"  {title:<11}{text}"
