"""What a worker does with one claimed job, from the claim to the row's next state."""

import errno
import logging
import random
import sqlite3
import time
from collections.abc import Callable
from typing import Protocol

from ..jobs import causes
from ..jobs.claims import Claims
from ..jobs.database import DatabaseUnusable
from ..jobs.leftovers import Leftovers
from ..jobs.model import Job, Leftover
from ..jobs.moves import StaleClaim
from ..jobs.states import State
from ..jobs.story import Story, about
from ..tus.errors import TUSUploadError, UploadCancelled, masked
from .command import CommandFailed, CommandRefused
from .disposal import Disposed, NotAtRest, NotProven, PutBack, dispose, prove
from .flight import Flight
from .policy import Blame, Decision, Judgement, backoff_seconds, cause_of, judge, local_words
from .ratelimit import Stoppable
from .rules import EndpointRules, FolderRules
from .tally import Tally
from .uploader import FileChanged, FileInUse, FileVanished, Uploader

log = logging.getLogger("tusd_agent.delivery")

LONGEST_DISPOSAL_BACKOFF_SECONDS = 300.0


class Endpoints(Protocol):
    """What the worker tells of the endpoint it spoke to; the pool listens."""

    def answered(self, endpoint: str) -> None:
        """The endpoint did as it should."""

    def blame(self, endpoint: str, job: Job, judgement: Judgement) -> bool:
        """The endpoint is to blame; returns whether the job is not: its attempt does not count."""

    def gives_way(self, endpoint: str, job: Job) -> None:
        """The job has asked the endpoint what it had to: nobody waits for what it does then."""

    def is_in_trouble(self, endpoint: str) -> bool:
        """Whether the log has said so: what single jobs meet there says nothing new."""


class Worker:
    """Carries out claimed jobs. One for all threads of the pool; what belongs to a job is in its `Flight`.

    `note(path)` tells the intake of a path whose content has to be looked at (again); `is_present(folder)` says whether
    a watched folder is there and the one it was: of one that is not, no file can be said to be gone.
    """

    def __init__(
        self,
        claims: Claims,
        uploader: Uploader,
        note: Callable[[bytes], object],
        is_present: Callable[[str], bool],
        endpoints: Endpoints,
        tally: Tally,
        *,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._claims = claims
        self._uploader = uploader
        self._note = note
        self._is_present = is_present
        self._endpoints = endpoints
        self._tally = tally
        self._clock = clock
        self._rng = rng or random.Random()

    def carry(self, flight: Flight, endpoint: EndpointRules, rules: FolderRules) -> None:
        """Uploads or disposes of the flight's job and moves its row. Raises only what the database raises."""
        try:
            try:
                if flight.job.state is State.DISPOSING:
                    self._dispose(flight, endpoint, rules)
                else:
                    self._upload(flight, endpoint, rules)
            except (StaleClaim, sqlite3.Error, DatabaseUnusable):
                raise
            except Exception as error:
                self._tally.erred(endpoint.name, "internal")
                about(log, flight.job).exception("an error of the program")
                wait = backoff_seconds(flight.job.attempts, self._rng)
                now = self._clock()
                words = f"internal error: {masked(repr(error))}"
                self._claims.defer(flight.job, now + wait, words, now=now, cause=causes.INTERNAL)
        except StaleClaim as stale:
            about(log, flight.job).info("dropped, %s", stale)

    def _upload(self, flight: Flight, endpoint: EndpointRules, rules: FolderRules) -> None:
        job = flight.job
        self._tally.begun(endpoint.name)
        try:
            uploaded = self._uploader.upload(flight, endpoint, rules)
        except FileVanished as gone:
            if not self._is_present(job.place.folder):
                self._judged(flight, endpoint, OSError(errno.ENXIO, "the watched folder is not there"))
                return
            self._tally.erred(endpoint.name, "vanished")
            ended = self._claims.vanish(flight.job, self._clock())
            about(log, job).info("%s: %s", gone, ended.state)
            return
        except FileChanged as changed:
            self._tally.erred(endpoint.name, "changed")
            now = self._clock()
            made = self._claims.replace(flight.job, changed.found, now, now + rules.settle_seconds)
            if made is None:
                self._note(job.place.path)
                about(log, job).info("%s; the file there had another name before", changed)
            else:
                about(log, job).info("%s; queued anew as job %d", changed, made)
                Story(log, made, job.place, job.endpoint).info("queued in place of job %d", job.id)
            return
        except FileInUse as in_use:
            self._tally.erred(endpoint.name, "in use")
            self._claims.interrupt(flight.job, not_before=self._clock() + rules.settle_seconds, error=str(in_use))
            about(log, job).debug("%s", in_use)
            return
        except (TUSUploadError, OSError) as error:
            self._judged(flight, endpoint, error)
            return
        self._endpoints.answered(endpoint.name)
        self._tally.arrived(endpoint.name, job.size_bytes, flight.seconds)
        about(log, job).info("arrived at %s, %d bytes", endpoint.name, job.size_bytes)
        if rules.after_upload == "keep":
            now = self._clock()
            flight.tell(lambda job: self._claims.finish(job, now, sent=uploaded.sent))
            if uploaded.changed:
                self._note(job.place.path)
        else:
            now = self._clock()
            flight.tell(lambda job: self._claims.deliver(job, now, uploaded.sent))
            self._dispose(flight, endpoint, rules)

    def _judged(self, flight: Flight, endpoint: EndpointRules, error: Exception) -> None:
        job = flight.job
        advanced = isinstance(error, TUSUploadError) and (error.offset or 0) > (flight.began_at_bytes or 0)
        judgement = judge(error, 1 if advanced else job.attempts, self._rng)
        if judgement.decision is not Decision.INTERRUPT:
            self._tally.erred(endpoint.name, judgement.reason)
        now = self._clock()
        cause = cause_of(error, judgement)
        blamed = judgement.blame is not Blame.NOBODY
        if blamed and self._endpoints.blame(endpoint.name, job, judgement):
            # While the breaker is open it decides when to try, and waiting for it burns no attempts.
            self._claims.interrupt(job, not_before=now, error=judgement.words, cause=cause)
            return
        match judgement.decision:
            case Decision.INTERRUPT:
                self._claims.interrupt(job)
                about(log, job).info("put back, to go on from there later")
            case Decision.FAIL:
                flight.tell(lambda job: self._claims.fail(job, judgement.words, now, judgement.reason, cause))
                about(log, job).error("failed: %s", judgement.words)
            case Decision.RESTART:
                self._claims.restart(job, now + judgement.wait_seconds, judgement.words, now=now)
                about(log, job).warning("begins anew: %s", judgement.words)
            case Decision.DEFER:
                not_before = now + judgement.wait_seconds
                self._claims.defer(job, not_before, judgement.words, now=now, cause=cause, advanced=advanced)
                is_said = blamed and self._endpoints.is_in_trouble(endpoint.name)
                about(log, job).log(
                    logging.DEBUG if is_said or _is_repeated(job, judgement.words) else logging.WARNING,
                    "deferred for %.0f s (attempt %d): %s",
                    judgement.wait_seconds, job.attempts, judgement.words,
                )  # fmt: skip

    def _dispose(self, flight: Flight, endpoint: EndpointRules, rules: FolderRules) -> None:
        job = flight.job
        if rules.after_upload == "keep":  # the settings no longer ask for more
            self._claims.finish(job, self._clock(), "kept: the folder's after_upload is keep now")
            return
        flight.phase = "disposing"
        try:
            if job.upload_url is not None and not endpoint.owns(job.upload_url):
                raise NotProven("its upload URL belongs to another server than the endpoint's url")
            prove(endpoint.client, job, endpoint.delete_proof, flight.stop)
            if endpoint.delete_proof == "head":
                self._endpoints.answered(endpoint.name)
            self._endpoints.gives_way(endpoint.name, job)
            disposed = self._disposed(flight, rules)
        except UploadCancelled:
            self._claims.interrupt(job)
            return
        except (NotProven, NotAtRest, CommandRefused, CommandFailed, TUSUploadError, OSError) as error:
            wait = backoff_seconds(job.attempts, self._rng, LONGEST_DISPOSAL_BACKOFF_SECONDS)
            self._tally.disposal_erred(job.place.folder, _cause(error))
            said = local_words(error, "write to its folder") if isinstance(error, OSError) else str(error)
            words = f"it has arrived, but can't be disposed of: {said}"
            if isinstance(error, TUSUploadError):
                judgement = judge(error, job.attempts, self._rng)
                if judgement.blame is not Blame.NOBODY and self._endpoints.blame(endpoint.name, job, judgement):
                    cause = cause_of(error, judgement)
                    self._claims.interrupt(job, not_before=self._clock(), error=words, cause=cause)
                    return
            now = self._clock()
            self._claims.defer(job, now + wait, words, now=now, cause=causes.DISPOSAL)
            level = logging.DEBUG if _is_repeated(job, words) else logging.WARNING
            about(log, job).log(level, "%s; tried again in %.0f s", words, wait)
            return
        now = self._clock()
        flight.tell(lambda job: self._claims.finish(job, now, disposed.words))
        self._tally.disposed(job.place.folder)
        about(log, job).info("%s", disposed.words)
        if disposed.newer_content:
            self._note(job.place.path)
        if disposed.gone and rules.empty_folders is not None:
            rules.empty_folders.note(job.place.folder, job.place.directory, rules.settle_seconds)

    def _disposed(self, flight: Flight, rules: FolderRules) -> Disposed:
        try:
            return dispose(flight.job, rules, flight.stop)
        except PutBack as back:
            flight.job = self._claims.put_back(flight.job, back.fingerprint)
            raise (back.__cause__ or back) from None


def _is_repeated(job: Job, words: str) -> bool:
    """Whether the log has said this of the job and need not again: it does at the 1st, 2nd, 4th, 8th… attempt."""
    return job.last_error == words and job.attempts & (job.attempts - 1) != 0


def _cause(error: Exception) -> str:
    """Why a disposal was put off, in the few words of a label."""
    match error:
        case NotProven():
            return "not proven"
        case NotAtRest():
            return "in use"
        case CommandRefused() | CommandFailed():
            return "command"
        case TUSUploadError():
            return "server"
        case _:
            return "file"


def terminate(
    leftovers: Leftovers, leftover: Leftover, endpoint: EndpointRules, now: float, rng: random.Random, stop: Stoppable
) -> None:
    """Terminates an upload that has lost its job, on its server, which is `endpoint`.

    Best effort: what the server does not offer, or refuses, is left to the server's own expiry.
    """
    retry_at: float | None = None
    if endpoint.owns(leftover.upload_url):
        try:
            # What arrived whole is never taken away: it may be the only copy that is left.
            if not endpoint.client.get_upload_info(leftover.upload_url, cancel=stop).complete:
                endpoint.client.delete_upload(leftover.upload_url, cancel=stop)
        except UploadCancelled:
            return
        except (TUSUploadError, OSError) as error:
            if getattr(error, "retryable", True) and leftover.attempts < 10:
                retry_at = now + backoff_seconds(leftover.attempts + 1, rng)
            fields = {"endpoint": endpoint.name}
            words = "endpoint %s: an unfinished upload could not be terminated: %s"
            log.debug(words, endpoint.name, error, extra=fields)
    leftovers.settle(leftover, retry_at)
