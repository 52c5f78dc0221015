"""The one loop that brings a source to the server: create, ask, send, and again until the server has it all.

Every attempt but the first of a new upload begins with HEAD, and what the server says is where it goes on. Nothing is
resumed from memory. The URL is told (`on_created`) before the first byte of the body leaves, unless the body goes with
the creation (`small_file_bytes`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from . import checksum, core
from .beginning import Beginning
from .body import CallerFailed, caller_speaks
from .chunks import Chunks
from .core import Expiry, UploadState
from .discovery import Discovery
from .errors import (
    FinishedWithServerError,
    ProtocolViolation,
    SourceChanged,
    SourceUnavailable,
    TUSUploadError,
    UploadGone,
    UploadInterrupted,
    UploadMismatch,
    redact,
)
from .order import Learnt, Order, UploadResult
from .patience import Watch
from .retry import (
    CHECKSUM_MISMATCH,
    BodyTooLarge,
    OffsetConflict,
    RetryBudget,
    answers_the_last_byte,
    failure,
    smaller_chunk,
)
from .transport import Answer, Credentials, Transport

if TYPE_CHECKING:
    from datetime import datetime

# A server whose HEAD and PATCH disagree again and again would keep the loop turning without a penalty.
MAX_FREE_CONFLICTS = 3
# An expiry that moves with every answer is told again only when it moved by so much.
_EXPIRY_STEP_SECONDS = 60.0


class Upload:
    """One upload under way. `run` once; `url`, `offset` (acknowledged), `size`, `expires` may be read by any thread."""

    def __init__(
        self,
        order: Order,
        transport: Transport,
        discovery: Discovery,
        learnt: Learnt,
        budget: RetryBudget,
        watch: Watch,
        min_delay_seconds: float,
        claim: Callable[["Upload", str], None] = lambda upload, url: None,
    ) -> None:
        self.metadata = dict(order.metadata or {})
        self.url = order.upload_url
        self.offset = 0
        self.expires: datetime | None = None
        self._order = order
        self._transport = transport
        self._discovery = discovery
        self._learnt = learnt
        self._budget = budget
        self._watch = watch
        self._min_delay_seconds = min_delay_seconds
        self._claim = claim
        self._must_ask = order.upload_url is not None
        # Whether the server knows how long the upload is to become.
        self._declared = True
        # What the server can possibly have: more would be somebody else's bytes. None until it was asked once.
        self._possible: int | None = None
        self._best = 0
        self._conflicts = self._mismatches = 0
        self._restarts = 0
        self._resumed_from: int | None = None
        self._bytes_sent = 0
        self._said_complete = False
        # Offset and bytes of a body that got no answer.
        self._cut: tuple[int, int] | None = None
        self._final_error: TUSUploadError | None = None
        self._final_answer = order.final_answer
        self._beginning = Beginning(order, transport, discovery, learnt, watch)
        self._chunks = Chunks(order, learnt, watch)
        self._credentials = self._call_credentials()

    @property
    def size(self) -> int | None:
        """Bytes in all; None while the end of a stream was not seen."""
        return self._chunks.size

    def run(self) -> UploadResult:
        """Raises the errors of this package, and unchanged what the source and the callbacks raise."""
        if self.url is not None:
            self._claim(self, self.url)
        while True:
            try:
                url = self._run_attempts()
                break
            except UploadGone as error:
                if self._restarts >= self._order.max_restarts:
                    raise self._placed(error) from error.__cause__
                self._start_over()
            except TUSUploadError as error:
                raise self._placed(error) from error.__cause__
            except CallerFailed as failed:
                if isinstance(failed.cause, SourceChanged | SourceUnavailable) and failed.cause.url is None:
                    self._placed(failed.cause)
                raise failed.cause from failed.cause.__cause__
        resumed_from, attempts = self._resumed_from or 0, self._budget.attempts
        return UploadResult(url, self.offset, resumed_from, self._bytes_sent, attempts, self.expires)

    def _call_credentials(self) -> Credentials | None:
        if not self._order.request_headers:
            return None
        # An URL from the store (there is `on_located`) is the server's word, not the caller's: not trusted more now.
        given = self._order.upload_url if self._order.on_located is None else None
        return Credentials(self._order.request_headers, given or self._transport.endpoint)

    def _placed(self, error: TUSUploadError) -> TUSUploadError:
        """The error with what a caller needs to go on: the upload's URL and the bytes the server has."""
        error.url = self.url or error.url
        if error.offset is None and self.url is not None:
            error.offset = self.offset
        return error

    def _start_over(self) -> None:
        self._restarts += 1
        self._beginning.again()
        self.url = self.expires = None
        self.offset = self._best = self._conflicts = self._mismatches = 0
        self._possible = None
        self._resumed_from = 0
        self._must_ask = self._said_complete = False
        self._final_error = None
        self._note_final_answer(None)

    def _run_attempts(self) -> str:
        try:
            return self._budget.run(self._attempt)
        except TUSUploadError as error:
            if error is not self._final_error or self.url is None:
                raise
            # No further attempt will ask, and whoever comes later would find a complete upload and call it fine.
            self._watch.pause(self._min_delay_seconds)
            try:
                self._ask(self.url)
            except (UploadGone, UploadInterrupted):
                # A hook that refuses may remove the upload too: what it said is the news, not that nothing is left.
                if error.retryable:
                    raise
            raise error from None

    def _attempt(self) -> str:
        self._chunks.agree(self._discovery, self._transport.endpoint)
        if self.url is None:
            self.url = self._create()
        elif self._must_ask:
            self._ask(self.url)
        while self.offset != self.size or not self._declared:
            self._send_chunk(self.url)
        return self.url

    def _create(self) -> str:
        # A stream that ends within its first chunk has a length after all; a wrong one is noticed before any request.
        self._chunks.measure(0)
        self._declared = self.size is not None
        body = None
        if self.size is not None and self._beginning.takes_body(self.size):
            body = self._chunks.body(0, self._chunks.measure(0), lambda sent: self._report(sent, 0))
            if len(body) < self.size:
                body = None
        try:
            created = self._beginning.create(self.size, body)
        finally:
            handed = body.handed if body is not None else 0
            self._bytes_sent += handed
        self.url = created.url
        self._possible = handed
        self._claim(self, created.url)
        self._located(created.url, created.expiry, new=True)
        whole = body is not None and created.offset == self.size
        if self._order.on_created is not None and not whole:
            with caller_speaks():
                self._order.on_created(created.url)
        if body is not None:
            self._learn(created.url, created.offset or 0)
        return created.url

    def _located(self, url: str, expiry: Expiry | None, new: bool = False) -> None:
        before, self.expires = self.expires, expiry.at if expiry is not None else self.expires
        if not new and self.expires is not None and before is not None:
            new = abs((self.expires - before).total_seconds()) >= _EXPIRY_STEP_SECONDS
        elif self.expires != before:
            new = True
        if self._order.on_located is not None and new:
            with caller_speaks():
                self._order.on_located(url, expiry.left_seconds if expiry is not None else None)

    def _ask(self, url: str) -> None:
        """HEAD. Raises `FinishedWithServerError` when an error was the answer to the last byte, and it arrived."""
        try:
            state = core.head(self._transport, url, watch=self._watch, extra=self._credentials)
        except UploadGone:
            if not self._said_complete or self.size is None:
                raise
            # The server said it had all of it: it has taken the upload away, as some do with finished ones.
            self.offset = self.size
            self._report(self.size, self.size)
        else:
            self._agree_on_length(url, state)
            self._located(url, state.expiry)
            self._learn(url, state.offset)
            if self._cut is not None and self._cut[0] == self.offset:
                self._learnt.swallowed(self._cut[1])
        self._must_ask = False
        self._cut = None
        if self.offset == self.size and self._declared and self._final_answer is not None:
            error = self._final_error
            raise FinishedWithServerError(
                f"The server has all {self.size} bytes of {redact(url)}, but answered the last request "
                f"{self._final_answer}. Look there whether it made use of them; it is not sent again by itself.",
                status=error.status if error is not None else None,
                server_text=error.server_text if error is not None else None,
                url=url,
                offset=self.offset,
            )
        self._final_error = None
        self._note_final_answer(None)

    def _note_final_answer(self, text: str | None) -> None:
        if text == self._final_answer:
            return
        self._final_answer = text
        if self._order.on_final_answer is not None:
            with caller_speaks():
                self._order.on_final_answer(text)

    def _agree_on_length(self, url: str, state: UploadState) -> None:
        self._declared = not state.deferred
        if state.length is None:
            return
        if self.size is None:
            self._chunks.expect(state.length)
        if state.length != self.size:
            raise UploadMismatch(
                f"{redact(url)} is an upload of {state.length} bytes. File size is {self.size} bytes: not what "
                "the server expects. The file changed, or this is another file's upload; create a new one.",
                url=url,
                offset=state.offset,
            )

    def _learn(self, url: str, offset: int) -> None:
        """The server's offset becomes ours."""
        if self._possible is None:
            self._possible = self._best = offset
            self._resumed_from = offset if self._resumed_from is None else self._resumed_from
        if offset > self._possible or (self.size is not None and offset > self.size):
            raise ProtocolViolation(
                f"{redact(url)}: the server claims to have {offset} bytes, {self._possible} of {self.size} were sent. "
                "Does something else write to this upload? Create a new one.",
                url=url,
                offset=self.offset,
            )
        if offset > self._best:
            self._best = offset
            self._conflicts = self._mismatches = 0
            self._budget.progress()
        self.offset = offset
        self._said_complete = self._said_complete or (offset == self.size and self._declared)
        self._report(offset, offset)

    def _report(self, sent: int, acknowledged: int) -> None:
        if self._order.on_progress is not None:
            with caller_speaks():
                self._order.on_progress(sent, acknowledged)

    def _send_chunk(self, url: str) -> None:
        start = self.offset
        length = self._chunks.measure(start)
        more = self._chunks.headers(start, length)
        if not self._declared and self.size is not None:
            more["Upload-Length"] = str(self.size)
        body = self._chunks.body(start, length, lambda sent: self._report(start + sent, start)) if length else None
        self._must_ask = True
        self._cut = None
        try:
            answer = core.patch(
                self._transport, url, start, body, watch=self._watch, extra=self._credentials, more=more
            )
        except UploadInterrupted:
            self._cut = start, body.handed if body is not None else 0
            raise
        finally:
            if body is not None:
                self._possible = max(self._possible or 0, start + body.handed)
                self._bytes_sent += body.handed
        if answer.is_success:
            self._declared = self._declared or "Upload-Length" in more
            self._located(url, core.expiry_of(answer))
            self._accepted(url, answer, start, length)
        else:
            self._rejected(url, answer, start, length)

    def _accepted(self, url: str, answer: Answer, start: int, length: int) -> None:
        offset = core.offset_of(answer)
        if offset is not None and start <= offset <= start + length:
            self._learn(url, offset)
            self._must_ask = False
        else:
            self._ask(url)
        if self.offset <= start and length:
            self._must_ask = True
            raise UploadInterrupted(
                f"PATCH {redact(url)} was answered {answer.status}, but the server kept none of {length} bytes; "
                "its storage may be full, or a proxy dropped them. It can be tried again.",
                status=answer.status,
            )

    def _rejected(self, url: str, answer: Answer, start: int, length: int) -> None:
        error = failure(answer)
        if answer.headers.get("Upload-Offset", "").strip() == str(self.size):
            self._said_complete = True
        if isinstance(error, OffsetConflict):
            self._ask(url)
            self._conflicts += 1
            if self.offset == start or self._conflicts > MAX_FREE_CONFLICTS:
                self._must_ask = True
                raise error
        elif isinstance(error, BodyTooLarge):
            smaller = smaller_chunk(length)
            if smaller is None:
                raise error
            self._learnt.lower(smaller)
            self._ask(url)
        elif answer.status == CHECKSUM_MISMATCH and self._mismatches >= checksum.MAX_RESENDS:
            raise ProtocolViolation(
                f"PATCH {redact(url)}: the checksum of the bytes from {start} did not match {self._mismatches + 1} "
                "times in a row. Something on the way changes bytes, or the disk does not read the same twice: "
                "check both, then upload anew.",
                status=answer.status,
                server_text=answer.text or None,
            )
        else:
            self._mismatches += answer.status == CHECKSUM_MISMATCH
            if start + length == self.size and answers_the_last_byte(error):
                self._final_error = error
                self._note_final_answer(f"{error.status}: {error.server_text or 'without a text'}")
            raise error
