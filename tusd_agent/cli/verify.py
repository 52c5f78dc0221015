"""``tusd-agent verify``: are the files that are still here, and the server's copies, what was sent?"""

import hashlib
import os
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from ..config import ConfigError, load
from ..control.replies import JobReply
from .options import EXIT_BAD_CONFIG, EXIT_FAILED, config_option, fail, json_option, say, say_json, socket_option, warn
from .selecting import hint_for_none, selecting, selection
from .servers import certificate_of, headers_of, trust_of
from .views import MAX_PAGE, View, ask, tell_of
from .words import plural

BLOCK_BYTES = 1 << 20
SERVER_SECONDS = 60.0

SAME, CHANGED, GONE, DIFFERS, UNKNOWN, UNREADABLE = "same", "changed", "gone", "DIFFERS", "unknown", "unreadable"
WORDS = {
    SAME: "as sent",
    CHANGED: "changed since it was sent",
    GONE: "no longer there",
    DIFFERS: "NOT WHAT WAS SENT",
    UNKNOWN: "can't be told: no digest was kept",
    UNREADABLE: "can't be read",
}


class Verified(NamedTuple):
    """What was found of one job: of its file here, and of the server's copy (None: not asked for)."""

    job: JobReply
    here: str
    there: str | None
    words: str


@click.command("verify")
@selecting
@click.option("--server", is_flag=True, help="Download the server's copies too (where it lets them be).")
@json_option
@config_option
@socket_option
def verify_command(server: bool, as_json: bool, config: Path | None, socket: Path | None, **given: Any) -> None:
    """Compare files that arrived with what was sent.

    Reads each file of a job that is done, as far as it is still there, and compares its SHA-256 with the one taken as
    it was sent; with --server also what the server gives back. Exit 1 when something differs, or what was named is not
    done.

    Example: tusd-agent verify --folder /srv/outgoing --server
    """
    members = selection(given)
    members = {} if members == {"all": True} else members
    if members.setdefault("states", ["done"]) != ["done"]:
        raise click.UsageError("only jobs that are done can be verified: leave --state out")
    copies = _copies(config, socket) if server else None
    found: Counter[str] = Counter()
    unread = 0
    cursor: int | None = None

    def question(view: View) -> None:
        nonlocal cursor, unread
        while True:
            page = view.page(members, MAX_PAGE, cursor)
            for job in page["jobs"]:
                verified = verify(job, copies)
                found[DIFFERS if DIFFERS in (verified.here, verified.there) else verified.here] += 1
                unread += verified.there == UNREADABLE
                _show(verified, as_json)
            cursor = page["next_cursor"]
            if cursor is None:
                return

    _, exit_code = ask(socket, config, question)
    if not as_json:
        say(_summary(found, unread))
        if not found and (hint := hint_for_none(members)):
            warn(f"hint: {hint}")
    named = "ids" in members or "paths_b64" in members
    raise SystemExit(EXIT_FAILED if found[DIFFERS] or (named and not found) else exit_code)


def verify(job: JobReply, copy_of: Callable[[JobReply], Iterator[bytes]] | None) -> Verified:
    """Compares one job's file, and the server's copy where `copy_of` gives it."""
    here, words = _here(job)
    if copy_of is None:
        return Verified(job, here, None, words)
    try:
        there = _compared(job, copy_of(job))
        told = WORDS[there]
    except OSError as error:  # those of requests are of this kind too
        from ..tus.errors import masked  # what requests says may hold the whole upload URL

        there, told = UNREADABLE, f"can't be read ({masked(str(error))})"
    return Verified(job, here, there, f"{words}; on the server: {told}")


def _here(job: JobReply) -> tuple[str, str]:
    path = b64decode(job["path_b64"])
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return GONE, WORDS[GONE]
    except OSError as error:
        return UNREADABLE, f"can't be read ({error.strerror})"
    with open(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if (found.st_size, found.st_mtime_ns) != (job["size_bytes"], job["mtime_ns"]):
            return CHANGED, WORDS[CHANGED]
        try:
            verdict = _compared(job, iter(lambda: file.read(BLOCK_BYTES), b""))
        except OSError as error:
            return UNREADABLE, f"can't be read ({error.strerror})"
    return verdict, WORDS[verdict]


def _compared(job: JobReply, content: Iterator[bytes]) -> str:
    if job["digest_sha256"] is None:
        return UNKNOWN
    digest = hashlib.sha256()
    for block in content:
        digest.update(block)
    return SAME if digest.hexdigest() == job["digest_sha256"] else DIFFERS


def _copies(config: Path | None, socket: Path | None) -> Callable[[JobReply], Iterator[bytes]]:
    """How to download what the server has of a job; the settings tell how to speak to it."""
    import requests  # only who asks the server pays for it

    try:
        settings = load(config, os.environ)
    except ConfigError as error:
        fail(str(error), "", EXIT_BAD_CONFIG)
    session = requests.Session()

    def copy_of(job: JobReply) -> Iterator[bytes]:
        endpoint = settings.endpoint.get(job["endpoint"])
        if endpoint is None:
            raise OSError(f"there is no [endpoint.{job['endpoint']}] in the configuration any more")
        url = tell_of(socket, config, f"/v1/jobs/{job['id']}", {"url": "whole"})["upload_url"]
        if url is None:
            raise OSError("its upload is not known")
        response = session.get(
            url, headers=headers_of(endpoint, settings), stream=True, timeout=SERVER_SECONDS, allow_redirects=False,
            verify=trust_of(endpoint), cert=certificate_of(endpoint),
        )  # fmt: skip
        with response:
            if response.status_code != requests.codes.ok:
                raise OSError(f"the server answers {response.status_code} to a download")
            yield from response.iter_content(BLOCK_BYTES)

    return copy_of


def _show(verified: Verified, as_json: bool) -> None:
    if as_json:
        job = verified.job
        document = {"id": job["id"], "path": job["path"], "path_b64": job["path_b64"], "here": verified.here.lower()}
        say_json({**document, "server": verified.there and verified.there.lower()}, indent=None)
    elif DIFFERS in (verified.here, verified.there) or UNREADABLE in (verified.here, verified.there):
        say(f"#{verified.job['id']} {verified.job['path']}: {verified.words}")


def _summary(found: Counter[str], unread: int) -> str:
    total = plural(sum(found.values()), "job")
    parts = [f"{count} {WORDS[kind]}" for kind, count in found.items()]
    if unread:
        parts[-1] += f"; {'1 copy' if unread == 1 else f'{unread} copies'} on the server can't be read"
    return f"{total}: {', '.join(parts)}." if parts else "No job is done that could be verified."
