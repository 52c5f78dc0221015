"""What a failure means, and when to try again.

`failure` is the one table from status (and tusd's ERR_ code) to error; `RetryBudget` is how often and how soon.
Only attempts that brought nothing use the budget up: an upload that moves may take as many as it needs.
"""

import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from .body import caller_speaks
from .errors import (
    AuthRequired,
    DeadlineExceeded,
    NotATusServer,
    ServerBusy,
    TUSUploadError,
    UntrustedServer,
    UploadGone,
    UploadInterrupted,
    UploadRefused,
    UploadTooLarge,
    printable,
    redact,
)
from .order import OnRetry
from .patience import Watch
from .transport import Answer

if TYPE_CHECKING:
    import tenacity

T = TypeVar("T")

MAX_RETRY_AFTER_SECONDS = 3600.0
# 413s of proxies: nginx' default is 1 MiB, Cloudflare's 100 MB; below 1 MiB it is no limit but a refusal.
CHUNK_LADDER_BYTES = tuple(mebibytes << 20 for mebibytes in (64, 32, 16, 8, 4, 1))

# tusd answers these with 400 although only the connection, not the request, was at fault; @tus/server says it in words.
_TRANSIENT_400 = re.compile(
    r"^(ERR_UPLOAD_INTERRUPTED|ERR_UNEXPECTED_EOF)\b|Request aborted due to lock acquired", re.IGNORECASE
)
# tus 1.0, Checksum: the body did not arrive as it was digested, and was thrown away.
CHECKSUM_MISMATCH = 460
_TRANSIENT = {408, 423, 425, 429, CHECKSUM_MISMATCH}
_HINTS = {
    405: "the server does not allow this method here; is this a tus server's address, and does a proxy filter methods?",
    412: "this client speaks tus 1.0.0, the server another version of tus",
    414: "the address is too long for the server; give a shorter one",
    415: "the server does not take application/offset+octet-stream; does a proxy change Content-Type?",
    431: "the headers, metadata included, are too big for the server: send less metadata",
    501: "the server does not implement this; is this a tus server's address?",
}
_PASSING_HINTS = {
    423: "the upload is locked by another request, that may pass",
    507: "the server's storage is full; it can be tried again when there is room",
}


class OffsetConflict(UploadInterrupted):
    """409: the server is at another offset, or holds a lock. HEAD tells which."""


class BodyTooLarge(UploadTooLarge):
    """413 that no tus server said: a proxy's limit on one request, to be met by smaller chunks."""


def failure(answer: Answer, known_upload: bool = True) -> TUSUploadError:
    """The error that an answer without success stands for.

    `known_upload`: whether the request was for an upload that once was there (then 404/410 is `UploadGone`).
    """
    status = answer.status
    kind, hint = _judge(answer, known_upload)
    pause = retry_after_seconds(answer.headers)
    if kind is UploadInterrupted and status in (429, 503) and pause is not None:
        kind = ServerBusy
    said = f"{' It says' if hint.endswith('?') else ''}: {printable(answer.text)}" if answer.text else ""
    if status == 412 and "Tus-Version" in answer.headers:
        hint += f" ({printable(answer.headers['Tus-Version'])})"
    return kind(
        f"{answer.where} was answered {status}; {hint}{said}",
        status=status,
        server_text=answer.text or None,
        url=answer.url,
        retry_after_seconds=pause,
    )


def _judge(answer: Answer, known_upload: bool) -> tuple[type[TUSUploadError], str]:
    status, text = answer.status, answer.text
    if status == 407:
        setting = "the proxy setting" if answer.proxy is None else answer.proxy.setting
        return AuthRequired, f"the proxy wants a user and a password; put them in {setting}"
    if status in (401, 403):
        kept = "; the upload is kept and goes on with new ones" if known_upload else ", then try again"
        return AuthRequired, f"check the credentials{kept}"
    if status in (404, 410) and known_upload:
        return UploadGone, "the upload is no longer there, a new one is needed"
    if status == 409:
        return OffsetConflict, "the server is at another offset, or the upload is locked; does something else send it?"
    if status == 413 and not answer.from_tus:
        return BodyTooLarge, "File size or chunk size over the limit of a proxy before the server; send smaller chunks"
    if status == 413:
        return UploadTooLarge, "File size is more than the server takes; send a smaller file, or have its limit raised"
    if is_transient(status, text):
        return UploadInterrupted, _PASSING_HINTS.get(status, "that may pass, the same request can be tried again")
    if 300 <= status < 400:
        target = redact(answer.headers.get("Location", ""))
        return NotATusServer, f"it redirects to {target!r} in a way uploads can't follow; give that address instead"
    if status < 300:
        return NotATusServer, "that is not what a tus server answers here; check the endpoint"
    reason = "what it says is the reason" if text else "it does not say why, its log may"
    return UploadRefused, _HINTS.get(status, f"the server refused, and would again; {reason}")


def is_transient(status: int, text: str) -> bool:
    """Whether the request may go well when it is repeated: 5xx but 501 and 505, locks, timeouts, cut bodies."""
    if status >= 500:
        return status not in (501, 505)
    return status in _TRANSIENT or (status == 400 and _TRANSIENT_400.search(text) is not None)


def answers_the_last_byte(error: TUSUploadError) -> bool:
    """Whether an error given to the PATCH with the last byte may be about the finished upload.

    Not so for what is decided before a body is read (credentials, locks, offsets, limits) or because it was cut.
    """
    if error.status is None or isinstance(error, OffsetConflict | AuthRequired | UploadGone | UploadTooLarge):
        return False
    if error.status in _HINTS or isinstance(error, NotATusServer):
        return False
    return error.status >= 500 or not isinstance(error, UploadInterrupted)


def retry_after_seconds(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """`Retry-After`, seconds or date (RFC 9110, 10.2.3), as seconds from now, 0 to an hour; None when not given."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        seconds = float(value)
    else:
        from email.utils import parsedate_to_datetime  # dear to load, and seldom needed

        try:
            # By the server's own clock where it gives one: ours may be off by more than the pause.
            base = parsedate_to_datetime(headers["Date"]).timestamp() if "Date" in headers else now()
            seconds = parsedate_to_datetime(value).timestamp() - base
        except (TypeError, ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def smaller_chunk(sent_bytes: int) -> int | None:
    """The next chunk size to try after a body of `sent_bytes` was too large; None when it can't be made smaller."""
    return next((size for size in CHUNK_LADDER_BYTES if size < sent_bytes), None)


def _uniform(low: float, high: float) -> float:
    import random  # most uploads need no second attempt

    return random.uniform(low, high)


class RetryBudget:
    """`max_retries` further attempts after one without progress; exponential pauses with full jitter between them.

    One budget per call. `run` repeats a step until it succeeds or the budget is used up; the step calls `progress`
    whenever the server took bytes.
    """

    def __init__(
        self,
        max_retries: int,
        delay_seconds: float,
        max_delay_seconds: float,
        min_delay_seconds: float,
        watch: Watch,
        jitter: Callable[[float, float], float] | None = None,
        on_retry: OnRetry | None = None,
        max_retry_after_seconds: float = MAX_RETRY_AFTER_SECONDS,
    ) -> None:
        self.attempts = 0
        self._max_retries = max_retries
        self._delay_seconds = delay_seconds
        self._max_delay_seconds = max_delay_seconds
        self._min_delay_seconds = min_delay_seconds
        self._watch = watch
        self._jitter = jitter or _uniform
        self._on_retry = on_retry
        self._max_retry_after_seconds = max_retry_after_seconds
        self._fruitless = 0
        self._failed_with: BaseException | None = None

    def progress(self) -> None:
        """The server has more than it ever had: the budget is whole again."""
        self._fruitless = 0

    def run(self, step: Callable[[], T]) -> T:
        """`step()`, repeated after `UploadInterrupted`; raises its last error, or what stops the pause between."""
        try:
            return self._attempt(step)
        except UploadInterrupted as error:
            if not self._may_retry(error):
                raise
            try:
                retrying, pause = self._retrying(), self._pause_seconds(error)
            except (ImportError, OSError):
                # Without a file descriptor left there is no loading: what went wrong first counts.
                raise error from error.__cause__
        self._pause(pause)
        result: T = retrying(self._attempt, step)
        return result

    def _retrying(self) -> "tenacity.Retrying":
        # What goes well at once, as most uploads do, needs none of this: importing it takes longer than a small upload.
        import tenacity

        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._may_retry),
            wait=lambda state: self._pause_seconds(state.outcome.exception() if state.outcome else None),
            sleep=self._pause,
            reraise=True,
        )

    def _attempt(self, step: Callable[[], T]) -> T:
        self.attempts += 1
        self._fruitless += 1
        return step()

    def _pause(self, seconds: float) -> None:
        if self._on_retry is not None and isinstance(self._failed_with, UploadInterrupted):
            with caller_speaks():
                self._on_retry(self._failed_with, self._fruitless, seconds)
        try:
            self._watch.pause(seconds)
        except DeadlineExceeded as stop:
            if self._failed_with is not None:
                stop.args = (f"{stop}. What failed: {self._failed_with}",)
            raise stop from self._failed_with

    def _may_retry(self, error: BaseException) -> bool:
        self._failed_with = error
        if not isinstance(error, UploadInterrupted) or isinstance(error, UntrustedServer):
            return False
        if (error.retry_after_seconds or 0.0) > self._max_retry_after_seconds:
            return False
        return self._fruitless <= self._max_retries

    def _pause_seconds(self, error: BaseException | None) -> float:
        """At least `min_delay_seconds`: a server needs that long to notice a cut and to release its lock."""
        doubled = self._delay_seconds * 2.0 ** min(max(self._fruitless - 1, 0), 30)
        pause = self._jitter(0.0, min(doubled, self._max_delay_seconds))
        asked = error.retry_after_seconds if isinstance(error, TUSUploadError) else None
        return max(pause, self._min_delay_seconds, asked or 0.0)
