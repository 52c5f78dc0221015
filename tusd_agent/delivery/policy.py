"""What a failure means for the job: the one judge. `tus` knows the protocol, this file knows jobs."""

import errno
import os
import random
from dataclasses import dataclass
from enum import StrEnum

from ..jobs import causes
from ..jobs.model import shown
from ..jobs.states import FINISHED_WITH_SERVER_ERROR
from ..tus import errors

FIRST_BACKOFF_SECONDS = 5.0
LONGEST_BACKOFF_SECONDS = 3600.0
LONGEST_WAIT_SECONDS = 3600.0
"""Nothing is deferred for longer: neither by our own backoff nor by a Retry-After, of which an hour is believed."""

LONGEST_LOCAL_BACKOFF_SECONDS = 300.0
"""What is wrong with a file here (its permissions, say) is mended by a person nearby: look again soon."""


class Decision(StrEnum):
    """What to do with the job."""

    DEFER = "defer"
    RESTART = "restart"
    FAIL = "fail"
    INTERRUPT = "interrupt"


class Blame(StrEnum):
    """Whether the endpoint's breaker has to know."""

    NOBODY = "nobody"
    ENDPOINT = "endpoint"
    ENDPOINT_AT_ONCE = "endpoint at once"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The decision, who is to blame, the words for the row, and how long to wait.

    `asked_seconds` is what the server itself asked for (Retry-After): it holds for the whole endpoint.
    """

    decision: Decision
    blame: Blame
    words: str
    reason: str
    wait_seconds: float = 0.0
    asked_seconds: float = 0.0


def backoff_seconds(attempts: int, rng: random.Random, longest_seconds: float = LONGEST_BACKOFF_SECONDS) -> float:
    """How long the n-th attempt in a row without progress waits: full jitter over a doubling ceiling.

    At least a tenth of the ceiling, so that a failure never spins.
    """
    ceiling = min(longest_seconds, FIRST_BACKOFF_SECONDS * 2 ** min(max(attempts - 1, 0), 20))
    return rng.uniform(ceiling / 10, ceiling)


def judge(error: BaseException, attempts: int, rng: random.Random) -> Judgement:
    """What `error`, which ended the job's `attempts`-th attempt in a row without progress, means for it."""
    words = str(error) or type(error).__name__
    wait = backoff_seconds(attempts, rng)
    match error:
        case errors.UploadCancelled():
            return Judgement(Decision.INTERRUPT, Blame.NOBODY, words, "interrupted")
        case errors.AuthRequired(status=401 | 407 | None):  # None: the credentials could not be read here
            return Judgement(Decision.DEFER, Blame.ENDPOINT_AT_ONCE, words, causes.AUTH, wait)
        case errors.AuthRequired():
            return Judgement(Decision.DEFER, Blame.ENDPOINT, words, causes.FORBIDDEN, wait)
        case errors.NotATusServer():
            return Judgement(Decision.DEFER, Blame.ENDPOINT_AT_ONCE, words, causes.NO_TUS_SERVER, wait)
        case errors.FinishedWithServerError():
            return Judgement(Decision.FAIL, Blame.NOBODY, words, FINISHED_WITH_SERVER_ERROR)
        case errors.UploadGone():
            return Judgement(Decision.RESTART, Blame.NOBODY, words, causes.UPLOAD_LOST, wait)
        case errors.UploadRefused() | errors.InvalidMetadata():
            return Judgement(Decision.FAIL, Blame.NOBODY, words, causes.REFUSED)
        case errors.ServerBusy():
            asked = error.retry_after_seconds or 0.0
            return Judgement(Decision.DEFER, Blame.ENDPOINT, words, causes.BUSY, max(asked, wait), asked)
        case errors.UploadInterrupted():
            asked = error.retry_after_seconds or 0.0
            return Judgement(Decision.DEFER, Blame.ENDPOINT, words, causes.OUT_OF_REACH, max(asked, wait))
        case errors.TUSUploadError():
            return Judgement(Decision.DEFER, Blame.NOBODY, words, causes.PROTOCOL, wait)
        case OSError():
            local = backoff_seconds(attempts, rng, LONGEST_LOCAL_BACKOFF_SECONDS)
            return Judgement(Decision.DEFER, Blame.NOBODY, local_words(error, "read it"), causes.FILE, local)
        case _:
            return Judgement(Decision.DEFER, Blame.NOBODY, f"internal error: {words}", causes.INTERNAL, wait)


def cause_of(error: BaseException, judgement: Judgement) -> str:
    """What jobs that end by `error` are counted by: the judgement's reason, and what makes a difference within it."""
    match error:
        case errors.UploadTooLarge():
            return causes.TOO_LARGE
        case errors.UntrustedServer():
            return causes.CERTIFICATE
        case errors.TUSUploadError(status=int(status)) if judgement.reason == causes.REFUSED:
            return f"{causes.REFUSED} {status}"
        case OSError() if not isinstance(error, errors.TUSUploadError):
            return f"{causes.FILE}: {os.strerror(error.errno)}" if error.errno else causes.FILE
        case _:
            return judgement.reason


def local_words(error: OSError, wanted: str) -> str:
    """What the system says of a file here, and what to do; `wanted` is what the agent has no right to."""
    hints = {
        errno.EACCES: f"give the agent's user the right to {wanted}",
        errno.EPERM: f"give the agent's user the right to {wanted}",
        errno.ENOSPC: "make room on that file system",
        errno.EROFS: "that file system is read-only, or the service's sandbox does not name it: install-service does",
        errno.EIO: "look at that disk",
    }
    hint = hints.get(error.errno or 0)
    what = error.strerror or str(error)
    where = f" ({shown(error.filename)})" if isinstance(error.filename, bytes | str) else ""
    return f"{what}{where}" + (f": {hint}" if hint else "")
