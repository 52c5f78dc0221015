"""``tusd-agent show``: all there is to know of a job, or of the jobs of a file."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import click

from ..control.replies import JobReply
from ..control.troubles import FailedAttempt, JobDetail
from ..jobs.model import shown
from .completing import files
from .options import EXIT_FAILED, config_option, fail, json_option, say, say_json, socket_option
from .page import encodable, page_of_stdout
from .pausing import pause_words
from .views import View, ask
from .words import distance, instant, percent, size, wrapped

_WIDTH = 14
_WAITING = ("pending", "delivered")
_IN_TROUBLE = (*_WAITING, "failed", "held")


@click.command("show")
@click.argument("job", metavar="ID|PATH", shell_complete=files)
@json_option
@config_option
@socket_option
def show_command(job: str, as_json: bool, config: Path | None, socket: Path | None) -> None:
    """Show all there is to know of a job.

    ID is a number as `tusd-agent jobs` lists them; for a file whose name is a number write ./NAME. A PATH may have
    several jobs, one for each content it had: the newest is shown, --json prints them all, one a line.

    Example: tusd-agent show /srv/outgoing/run-7.dat
    """
    if job.isascii() and job.isdecimal():
        number = int(job)
        (found, obstacle), exit_code = ask(socket, config, lambda view: _kept_back(view, _numbered(view, number)))
        missing, hint = f"there is no job {number}", "tusd-agent jobs lists them"
    else:
        path = os.path.abspath(os.fsencode(job))
        (found, obstacle), exit_code = ask(socket, config, lambda view: _kept_back(view, _at(view, path)))
        missing = f"there is no job for {shown(path)}"
        hint = "tusd-agent explain says whether the file is taken, by which rule, and what it waits for"
    if not found:
        fail(missing, hint, exit_code or EXIT_FAILED)
    if as_json:
        for one in found:
            say_json(one, indent=None)
    else:
        width = page_of_stdout().width
        for line in _lines(encodable(found), encodable(obstacle), time.time()):
            for part in wrapped(line, width, "", " " * 4 if line.startswith(" " * 4) else " " * (2 + _WIDTH)):
                say(part)
    raise SystemExit(exit_code)


def _numbered(view: View, number: int) -> list[JobDetail]:
    found = view.job(number) if number < 2**63 else None
    return [found] if found is not None else []


def _at(view: View, path: bytes) -> list[JobDetail]:
    """The jobs of the path as it was given, else as it is without the links its folders go through."""
    resolved = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    found = view.at(path) or (view.at(resolved) if resolved != path else [])
    return [detail for job in found if (detail := view.job(job["id"])) is not None]


def _kept_back(view: View, found: list[JobDetail]) -> tuple[list[JobDetail], str | None]:
    """The jobs, and what keeps the newest from being sent beside its own time, if anything does."""
    if not found or found[0]["state"] not in _WAITING:
        return found, None
    job, status = found[0], view.status()
    for pause in status["paused"]:
        if pause["folder"] in (None, job["folder"]) and pause["endpoint"] in (None, job["endpoint"]):
            return found, f"a resume: {pause_words(pause, status['now'])}"
    for endpoint in status["endpoints"]:
        if endpoint["name"] == job["endpoint"] and endpoint["breaker"] == "open":
            kind = (endpoint["reason"] or "").partition(": ")[0]  # the whole sentence is the last error of some job
            return found, f"endpoint {endpoint['name']}, whose jobs wait{f' ({kind})' if kind else ''}"
    return found, None


def _lines(jobs: list[JobDetail], obstacle: str | None, now: float) -> Iterator[str]:
    newest, *earlier = jobs
    yield from _job_lines(newest, obstacle, now)
    yield from _failures(newest.get("failures", []), now)  # an agent that was not restarted yet may not tell
    if earlier:
        yield ""
        yield "earlier contents of this path:"
    for job in earlier:
        yield f"  job {job['id']}: {job['state']}, {size(job['size_bytes'])}, made {instant(job['created_at'], now)}"


def _job_lines(job: JobDetail, obstacle: str | None, now: float) -> Iterator[str]:
    yield f"job {job['id']}: {_state(job, now)}"
    yield _line("file", job["path"])
    yield _line("size", f"{size(job['size_bytes'])} ({job['size_bytes']} bytes)")
    sent = f"{size(job['offset_bytes'])}, {percent(job['offset_bytes'], job['size_bytes'])}"
    yield _line("sent", sent if job["delivered_at"] is None else "all of it")
    yield _line("endpoint", job["endpoint"])
    again = f", {job['restarts']} anew because the server had lost it" if job["restarts"] else ""
    yield _line("attempts", f"{job['attempts']}{again}")
    instants = (
        ("found", job["created_at"]),
        ("next try", job["not_before"] if job["state"] in _WAITING and (job["not_before"] or 0) > now else None),
        ("last claimed", job["claimed_at"]),
        ("delivered", job["delivered_at"]),
        ("finished", job["finished_at"]),
    )
    for title, at in instants:
        if at is not None:
            yield _line(title, instant(at, now))
    texts = (
        ("waits for", obstacle),
        ("last error", job["last_error"]),
        ("reason", job["reason"]),
        ("what to do", job.get("hint") if job["state"] in _IN_TROUBLE else None),
        ("sha-256", job["digest_sha256"]),
        ("upload", job["upload_url"]),
        ("uuid", job["uuid"]),
    )
    for title, text in texts:
        if text:
            yield _line(title, text)


def _failures(failures: list[FailedAttempt], now: float) -> Iterator[str]:
    if failures:
        yield "failed attempts, the latest last:"
    last = None
    for failure in failures:
        again = failure["error"] == last
        yield f"  {instant(failure['at'], now)}  {failure['cause']}{', as before' if again else ''}"
        if not again:
            yield f"    {failure['error']}"
        last = failure["error"]


def _state(job: JobReply, now: float) -> str:
    at = job["not_before"]
    later = at is not None and at > now and job["state"] in _WAITING
    return f"{job['state']}, tried again {distance(at, now)}" if later and at is not None else job["state"]


def _line(title: str, value: str) -> str:
    return f"  {title:<{_WIDTH}}{value}"
