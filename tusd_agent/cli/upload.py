"""``tusd-agent upload``: files to a tus server, now and without the agent."""

import os
import re
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from .options import EXIT_FAILED, fail, json_option, on_terminal, warn
from .upload_drawing import Drawing, Json, Outcome, Plain, Retry, printable

if TYPE_CHECKING:
    from ..tus import FileStore, TUSClient, UploadInterrupted

DEFAULT_ENDPOINT = "http://localhost:1080/files/"
EXIT_INTERRUPTED = 130
"""128 and SIGINT, as shells say it."""
FORGET_SECONDS = 30 * 86400.0
"""Servers that expire unfinished uploads do so sooner."""

_LOOK_SECONDS = 0.2
_UNITS = {"": 1, "k": 1000, "ki": 1 << 10, "m": 1000**2, "mi": 1 << 20, "g": 1000**3, "gi": 1 << 30}
_SIZE = re.compile(r"(\d+)\s*(?:(k|ki|m|mi|g|gi)?b?)", re.IGNORECASE)
# A comma is part of a value unless a further key follows it.
_NEXT_PAIR = re.compile(r",(?=[^\s=,]+=)")


def parse_size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A number of bytes: ``8MiB``, ``500kB``, ``1048576``."""
    if value is None:
        return None
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise click.BadParameter(f"{value!r} is no size; give bytes, or a number with kB, KiB, MB, MiB, GB or GiB")
    return int(found[1]) * _UNITS[(found[2] or "").lower()]


def parse_metadata(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """``k=v``, any number of times, and ``a=b,c=d``."""
    metadata = {}
    for pair in (pair for value in values for pair in _NEXT_PAIR.split(value)):
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE")
        metadata[key] = text
    return metadata


def parse_headers(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """``Name: value``; what is wrong is said without the value, which may be a secret."""
    headers = {}
    for value in values:
        name, colon, text = value.partition(":")
        if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name.strip()):
            raise click.BadParameter("a header is given as 'Name: value'")
        headers[name.strip()] = text.strip()
    return headers


@click.command("upload")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=str))
@click.option("--endpoint", metavar="URL", help=f"[default: {DEFAULT_ENDPOINT}]")
@click.option("--metadata", multiple=True, callback=parse_metadata, metavar="K=V", help="Also a=b,c=d; repeatable.")
@click.option("--header", multiple=True, callback=parse_headers, metavar="'K: V'", help="Sent along; repeatable.")
@click.option("--chunk-size", callback=parse_size, metavar="SIZE", help="Bytes per request, such as 8MiB.")
@click.option("--concurrency", type=click.IntRange(1, 64), default=1, metavar="N",
              help="Files at once, or streams for a single file.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=60.0, metavar="S",
              help="Seconds without a byte moving.  [default: 60]")  # fmt: skip
@click.option(
    "--resume", "resume_url", metavar="URL", help="Finish the upload at this URL with FILE; no endpoint needed."
)
@json_option
def upload_command(
    files: tuple[str, ...],
    endpoint: str | None,
    metadata: dict[str, str],
    header: dict[str, str],
    chunk_size: int | None,
    concurrency: int,
    timeout: float,
    resume_url: str | None,
    as_json: bool,
) -> None:
    """Upload files now. What Ctrl-C, a kill or the network cut off goes on when the same command is given again.

    Exit codes: 0 all uploaded; 1 some failed; 130 interrupted.

    Example: tusd-agent upload --endpoint https://example.org/files/ *.h5
    """
    if urls := [name for name in files if name.startswith(("http://", "https://")) and not os.path.exists(name)]:
        raise click.UsageError(f"{urls[0]} is no file: name the server with --endpoint URL")
    if resume_url is not None:
        if len(files) != 1:
            raise click.UsageError("--resume goes with one file")
        for option, given in {"--metadata": bool(metadata), "--concurrency": concurrency > 1}.items():
            if given:
                warn(f"tusd-agent: {option} has no effect with --resume: that was settled when the upload was created")
    files = distinct(files)
    from ..tus import InvalidURL, TUSClient, redact

    # The address of an upload is where the headers are meant to go: it stands for the endpoint.
    address = resume_url or endpoint or DEFAULT_ENDPOINT
    try:
        client = TUSClient(address, chunk_size=chunk_size, timeout=timeout, headers=header, store=_store())
    except InvalidURL as error:
        raise click.BadParameter(str(error), param_hint="--resume" if resume_url else "--endpoint") from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    streams = concurrency if len(files) == 1 else 1
    with client, _drawing(files, redact(client.endpoint), as_json) as drawing:
        # As the client has it, without a password: it is shown at the end.
        uploads = Uploads(client, metadata, streams, client.endpoint if resume_url else None, drawing)
        exit_code = uploads.run(files, concurrency)
    if exit_code == EXIT_INTERRUPTED:
        fail("interrupted", "the same command goes on where this one stopped", exit_code)
    raise SystemExit(exit_code)


class Uploads:
    """The uploads of one command: threads, the signals that stop them, and what came of each."""

    def __init__(
        self, client: "TUSClient", metadata: dict[str, str], streams: int, resume_url: str | None, drawing: Drawing
    ) -> None:
        self._client = client
        self._metadata = metadata
        self._streams = streams
        self._resume_url = resume_url
        self._drawing = drawing
        self._cancel = threading.Event()

    def run(self, files: Sequence[str], at_once: int) -> int:
        """The exit code; the outcome of each file is drawn as soon as it is known."""
        signals: list[int] = []
        ended = failed = 0
        with _stopped_by(signals, self._drawing), ThreadPoolExecutor(min(at_once, len(files))) as pool:
            running: set[Future[Outcome]] = {pool.submit(self._upload, index, file) for index, file in enumerate(files)}
            while running:
                if signals and not self._cancel.is_set():
                    self._cancel.set()
                    for future in running:
                        future.cancel()
                done, running = wait(running, _LOOK_SECONDS, FIRST_COMPLETED)
                for future in done:
                    if not future.cancelled():
                        outcome = future.result()
                        ended += 1
                        failed += not outcome.ok
                        self._drawing.ended(outcome)
        self._drawing.summary(len(files), failed, len(files) - ended)
        return EXIT_INTERRUPTED if signals else EXIT_FAILED if failed else 0

    def _upload(self, index: int, file: str) -> Outcome:
        from ..tus import TUSUploadError

        began_at = time.monotonic()

        def retry(error: "UploadInterrupted", fruitless: int, seconds: float) -> None:
            self._drawing.retrying(Retry(index, file, error, fruitless + 1, self._client.max_retries + 1, seconds))

        def progress(current: int, total: int) -> None:
            self._drawing.moved(index, current, total)

        self._drawing.began(index)
        try:
            if self._resume_url is not None:
                result = self._client.resume_upload(
                    self._resume_url, file, progress, cancel=self._cancel, on_retry=retry
                )
            else:
                result = self._client.upload(
                    file, self._metadata, progress, cancel=self._cancel, concurrency=self._streams, on_retry=retry
                )
        except (TUSUploadError, OSError) as error:
            return Outcome(index, file, error=error, seconds=time.monotonic() - began_at)
        return Outcome(
            index, file, result.url, result.size, result.bytes_sent, result.offset_resumed_from,
            seconds=time.monotonic() - began_at,
        )  # fmt: skip


@contextmanager
def _stopped_by(signals: list[int], drawing: Drawing) -> Iterator[None]:
    """Within, SIGINT and SIGTERM are noted in `signals`; the second ends the process: the next run goes on."""

    def note(number: int, frame: FrameType | None) -> None:
        if signals:
            drawing.abandon()
            os._exit(EXIT_INTERRUPTED)
        signals.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def distinct(files: Sequence[str]) -> tuple[str, ...]:
    """`files` without those that are, by another name or the same, one before them; these are said on stderr."""
    first: dict[str, str] = {}
    for file in files:
        path = os.path.realpath(file)
        if path not in first:
            first[path] = file
            continue
        same = "was given twice" if first[path] == file else f"is the same file as {printable(first[path])}"
        warn(f"tusd-agent: {printable(file)} {same}; it is uploaded once")
    return tuple(first.values())


def _store() -> "FileStore | None":
    """Where unfinished uploads are remembered; None, which is said, where that is not possible."""
    from .. import places
    from ..tus import FileStore

    try:
        store = FileStore(places.uploads_dir(os.environ, os.geteuid()))
        store.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=store.folder):
            pass  # only trying tells: permissions do not know of read-only file systems and full disks
        store.prune(FORGET_SECONDS)
    except places.HomeUnknownError as error:
        warn(f"tusd-agent: {error}; an interrupted upload will have to begin anew")
        return None
    except OSError as error:
        warn(
            f"tusd-agent: {store.folder} can't be written to ({error.strerror}), so that an interrupted upload will "
            "have to begin anew; set XDG_STATE_HOME to a folder of yours"
        )
        return None
    return store


def _drawing(files: Sequence[str], where: str, as_json: bool) -> Drawing:
    if as_json:
        return Json()
    if not on_terminal():
        return Plain(where)
    from .upload_bars import Bars

    return Bars(files, where)
