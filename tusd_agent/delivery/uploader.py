"""One claim's upload: from the open file to the server's word that it has everything."""

import logging
import mimetypes
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from .. import beneath
from ..jobs.claims import Claims
from ..jobs.model import Fingerprint, Found, Job, Sent
from ..jobs.moves import StaleClaim
from ..jobs.story import about
from ..tus.errors import SourceChanged, TUSUploadError
from .bandwidth import ThrottledSource
from .flight import Flight
from .rules import EndpointRules, FolderRules, MetadataValue
from .source import JobSource

log = logging.getLogger("tusd_agent.delivery")

PROGRESS_SECONDS = 1.0
"""How often the offset is noted in the row: a hint, so that more often would be wasted."""


class FileChanged(Exception):
    """The path holds other content than the job is about; `found` is that content."""

    def __init__(self, found: Found, why: str) -> None:
        super().__init__(why)
        self.found = found


class FileInUse(Exception):
    """Somebody has the file open for writing: what lies there now is not whole."""


class FileVanished(Exception):
    """There is no such file (any more), though its watched folder is there."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The server has it all. `changed`: the file here has moved on since its last byte was read."""

    job: Job
    sent: Sent
    changed: bool


class Uploader:
    """Uploads what workers claimed. One for all workers; keeps nothing between calls."""

    def __init__(
        self,
        claims: Claims,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._claims = claims
        self._clock = clock
        self._monotonic = monotonic

    def upload(self, flight: Flight, endpoint: EndpointRules, rules: FolderRules) -> Uploaded:
        """Sends the flight's job, from where the server stands.

        Raises `FileVanished`, `FileChanged`, `FileInUse`, `StaleClaim` (the job was taken away; an upload just made is
        queued for termination), `TUSUploadError` and its tree, `OSError`.
        """
        job = flight.job
        descriptor = open_file(job)
        try:
            source = JobSource(
                descriptor,
                digest=endpoint.digest,
                stop=flight.stop,
                expected=(job.digest_bytes, job.digest) if job.digest is not None and job.upload_url else None,
                known_ctime_ns=job.fingerprint.ctime_ns if job.upload_url else None,
                on_whole=lambda digest: self._note_whole(flight, digest),
            )
            if not source.fingerprint.same_identity(job.fingerprint):
                raise FileChanged(Found(job.place, source.fingerprint, job.endpoint), "it changed before it was sent")
            # A job that was queued anew for what a worker found at its path never went by the intake's own look.
            if beneath.at_rest(descriptor) is False:
                raise FileInUse("it is open for writing; it is sent once it is closed")
            flight.job = job = self._check_url(job, endpoint, source)
            try:
                needs_digest = bool(endpoint.digest_metadata) and job.upload_url is None
                flight.phase = "reading"
                ahead = source.read_ahead() if source.is_small or needs_digest else None
                self._send(flight, endpoint, rules, source, ahead)
                digest = source.whole_digest()
            except SourceChanged as error:
                raise FileChanged(self._present(job, descriptor), str(error)) from error
            sent = Sent(source.fingerprint, digest)
            now = self._present(job, descriptor).fingerprint
            return Uploaded(flight.job, sent, changed=not now.same_identity(sent.fingerprint))
        finally:
            os.close(descriptor)

    def _check_url(self, job: Job, endpoint: EndpointRules, source: JobSource) -> Job:
        """Drops an upload URL that the endpoint no longer owns, or that may be of another content.

        Where only ctime moved since an earlier attempt, the digest of that attempt's bytes decides while they are read
        again; without one nothing can, and the upload begins anew.
        """
        if job.upload_url is None:
            return job
        has_digest = job.digest is not None and endpoint.digest
        in_doubt = source.fingerprint.ctime_ns != job.fingerprint.ctime_ns and not has_digest
        if endpoint.owns(job.upload_url) and not in_doubt:
            return job
        return self._claims.forget_url(job, self._clock())

    def _send(
        self,
        flight: Flight,
        endpoint: EndpointRules,
        rules: FolderRules,
        source: JobSource,
        digest: bytes | None,
    ) -> None:
        """`digest`: of the whole content, where it is known before anything is sent."""
        job = flight.job
        noted_at = self._monotonic()
        flight.phase = "uploading"

        def created(upload_url: str) -> None:
            flight.tell(lambda job: self._created(job, upload_url, digest))

        def answered_last_byte(answer: str | None) -> None:
            flight.tell(lambda job: self._claims.answered_last_byte(job, answer))

        def progress(sent_bytes: int, acknowledged_bytes: int) -> None:
            nonlocal noted_at
            if flight.began_at_bytes is None and 0 < acknowledged_bytes < job.size_bytes:
                about(log, job).info("goes on at %d of %d bytes", acknowledged_bytes, job.size_bytes)
            flight.acknowledged(acknowledged_bytes)
            flight.at(sent_bytes)
            now = self._monotonic()
            if now - noted_at >= PROGRESS_SECONDS:
                noted_at = now
                self._note(flight, source, acknowledged_bytes)

        try:
            sent = endpoint.client.send(
                ThrottledSource(source, endpoint.throttle, flight.stop),
                metadata=metadata_of(job, rules, endpoint.digest_metadata, digest),
                upload_url=job.upload_url,
                small_file_bytes=endpoint.fast_path_bytes,
                idempotency_key=_idempotency_key(job),
                on_created=created,
                on_progress=progress,
                cancel=flight.stop,
                max_restarts=0,
                final_answer=job.final_answer,
                on_final_answer=answered_last_byte,
            )
        except (TUSUploadError, OSError) as error:
            if not isinstance(error, SourceChanged) and flight.job.upload_url is not None:
                self._note(flight, source, error.offset if isinstance(error, TUSUploadError) else None)
            raise
        if flight.job.upload_url is None:  # it went with its creation, whole: one commit will note all of it
            flight.job = flight.job._replace(upload_url=sent.url)

    def _created(self, job: Job, upload_url: str, digest: bytes | None) -> Job:
        try:
            return self._claims.created(job, upload_url, digest)
        except StaleClaim:
            self._claims.leftovers.add(job.endpoint, upload_url, self._clock())
            raise

    def _note(self, flight: Flight, source: JobSource, acknowledged_bytes: int | None) -> None:
        """Keeps how far it has come, and the digest of what was read for it."""
        covered, digest = source.prefix_digest()
        offset = flight.job.offset_bytes if acknowledged_bytes is None else acknowledged_bytes
        if offset or covered:
            with suppress(sqlite3.Error):  # only a hint: an upload that runs must not end for it
                flight.job = self._claims.progress(flight.job, offset, digest, covered)

    def _note_whole(self, flight: Flight, digest: bytes) -> None:
        """The last bytes are about to leave: should we be killed after that, this tells that it all was of this file.

        What has no row of its upload yet is noted with it.
        """
        if flight.job.upload_url is not None and flight.job.whole_digest != digest:
            with suppress(sqlite3.Error):  # a disk that is full is no reason to end what is as good as done
                flight.job = self._claims.read_whole(flight.job, digest)

    def _present(self, job: Job, descriptor: int) -> Found:
        """What the path holds now; the open file's own state where it was renamed or removed meanwhile."""
        try:
            found = beneath.status(job.place.folder, job.place.directory, job.place.name)
        except OSError:
            found = os.fstat(descriptor)
        return Found(job.place, Fingerprint.of(found), job.endpoint)


def open_file(job: Job) -> int:
    """Opens the job's file below its folder; the descriptor is the caller's.

    Raises `FileVanished` when it (or a directory on the way) is gone while the watched folder itself is there, and
    when something that is no regular file took its place; `OSError` for all else.
    """
    place = job.place
    try:
        return beneath.open_regular(place.folder, place.directory, place.name)
    except beneath.NotRegular as error:
        raise FileVanished("what lies at its path now is no regular file") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        with beneath.directory(place.folder, b""):
            pass  # raises the folder's own error where the whole folder is out of reach: then nothing vanished
        raise FileVanished("the file is gone") from error


def _idempotency_key(job: Job) -> str:
    """The same for each creation that is asked for again because its answer was lost, by whichever run of the agent.

    A server that keeps such keys then answers with the upload that it has made already. Once it has lost that upload
    the next one has another key, and so has newer content: a job of which nothing is known to be sent takes that over.
    """
    content = f"{job.uuid}-{job.size_bytes:x}-{job.fingerprint.mtime_ns:x}"
    return f"{content}-{job.restarts}" if job.restarts else content


def metadata_of(
    job: Job, rules: FolderRules, digest_name: str = "", digest: bytes | None = None
) -> dict[str, MetadataValue]:
    """What the server is told of a file, by the names that tusd's and Uppy's users know.

    The folder's own metadata goes over it, all but `job` and the digest, which is sent as `digest_name` where that is
    set. Names are the exact bytes of the file system.
    """
    name = job.place.name
    guessed, _ = mimetypes.guess_type(os.fsdecode(name), strict=False)
    modified = datetime.fromtimestamp(job.fingerprint.mtime_ns / 1e9, UTC)
    return {
        "filename": name,
        "filetype": guessed or "application/octet-stream",
        "relativePath": job.place.relative,
        "mtime": modified.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        **rules.metadata,
        **({digest_name: digest.hex()} if digest_name and digest is not None else {}),
        "job": str(job.uuid),
    }
