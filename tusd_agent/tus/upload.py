"""The one loop that brings a source to the server: create, ask, send, and again until the server has it all.

Every attempt but the first of a new upload begins with HEAD, and what the server says is where it goes on. Nothing is
resumed from memory. The URL is told (`on_created`) before the first byte of the body leaves.
"""

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from . import core, creation
from .discovery import Discovery
from .errors import (
    FinishedWithServerError,
    ProtocolViolation,
    SourceChanged,
    TUSUploadError,
    UploadGone,
    UploadInterrupted,
    UploadMismatch,
    redact,
)
from .metadata import MetadataValue
from .patience import Watch
from .retry import (
    BodyTooLarge,
    OffsetConflict,
    RetryBudget,
    answers_the_last_byte,
    failure,
    smaller_chunk,
)
from .sources import Source
from .transport import Answer, Credentials, Headers, Transport
from .wire import Body, CallerFailed, caller_speaks

# A server whose HEAD and PATCH disagree again and again would keep the loop turning without a penalty.
MAX_FREE_CONFLICTS = 3


@dataclass(frozen=True)
class UploadResult:
    """A finished upload. Sizes in bytes.

    `offset_resumed_from`: what the server already had when the call began (0 for a new upload); `bytes_sent`: body
    bytes handed to the network, those sent twice counted twice; `attempts`: 1 when nothing went wrong.
    """

    url: str
    size: int
    offset_resumed_from: int = 0
    bytes_sent: int = 0
    attempts: int = 1


class ChunkLimit:
    """The largest body that proxies on the way let through, learnt from their 413s; one per client. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._size_bytes: int | None = None

    def lower(self, size_bytes: int) -> None:
        with self._lock:
            if self._size_bytes is None or size_bytes < self._size_bytes:
                self._size_bytes = size_bytes

    def apply(self, wanted_bytes: int) -> int:
        return wanted_bytes if self._size_bytes is None else min(wanted_bytes, self._size_bytes)


@dataclass(frozen=True)
class Order:
    """What one call asks for. `chunk_size` in bytes, None for all that is left in one PATCH."""

    source: Source
    metadata: Mapping[str, MetadataValue] | None = None
    upload_url: str | None = None
    chunk_size: int | None = None
    max_restarts: int = 0
    request_headers: Headers | None = None
    idempotency_key: str = field(default_factory=lambda: str(uuid.uuid4()))
    allow_other_origin: bool = False
    on_created: Callable[[str], None] | None = None
    on_progress: Callable[[int, int], None] | None = None
    throttle: Callable[[int], None] | None = None


class Upload:
    """One call of `TUSClient.send`: `run` once. `url`, `size`, `offset` and `metadata` may be read by other threads."""

    def __init__(
        self,
        order: Order,
        transport: Transport,
        discovery: Discovery,
        limit: ChunkLimit,
        budget: RetryBudget,
        watch: Watch,
        min_delay_seconds: float,
        claim: Callable[["Upload", str], None] = lambda upload, url: None,
    ) -> None:
        self.size = order.source.size
        self.metadata = dict(order.metadata or {})
        self.url = order.upload_url
        self.offset = 0
        self._order = order
        self._transport = transport
        self._discovery = discovery
        self._limit = limit
        self._budget = budget
        self._watch = watch
        self._min_delay_seconds = min_delay_seconds
        self._claim = claim
        self._must_ask = order.upload_url is not None
        # What the server can possibly have: more would be somebody else's bytes. None until it was asked once.
        self._possible: int | None = None
        self._best = 0
        self._conflicts = 0
        self._restarts = 0
        self._resumed_from: int | None = None
        self._bytes_sent = 0
        self._said_complete = False
        self._final_error: TUSUploadError | None = None
        self._credentials = self._call_credentials()

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
                if isinstance(failed.cause, SourceChanged) and failed.cause.url is None:
                    self._placed(failed.cause)
                raise failed.cause from failed.cause.__cause__
        return UploadResult(url, self.size, self._resumed_from or 0, self._bytes_sent, self._budget.attempts)

    def _call_credentials(self) -> Credentials | None:
        if not self._order.request_headers:
            return None
        return Credentials(self._order.request_headers, self._order.upload_url or self._transport.endpoint)

    def _placed(self, error: TUSUploadError) -> TUSUploadError:
        """The error with what a caller needs to go on: the upload's URL and the bytes the server has."""
        error.url = self.url or error.url
        if error.offset is None and self.url is not None:
            error.offset = self.offset
        return error

    def _start_over(self) -> None:
        self._restarts += 1
        self.url = None
        self.offset = self._best = self._conflicts = 0
        self._possible = None
        self._resumed_from = 0
        self._must_ask = self._said_complete = False
        self._final_error = None

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
        if self.url is None:
            self.url = self._create()
        elif self._must_ask:
            self._ask(self.url)
        while self.offset < self.size:
            self._send_chunk(self.url)
        return self.url

    def _create(self) -> str:
        key = self._order.idempotency_key
        headers = {"Idempotency-Key": f"{key}-{self._restarts}" if self._restarts else key}
        extra = Credentials({**headers, **(self._order.request_headers or {})}, self._transport.endpoint)
        url = creation.create(
            self._transport,
            self.size,
            self._order.metadata,
            watch=self._watch,
            extra=extra,
            max_size=self._discovery.remembered.max_size,
            allow_other_origin=self._order.allow_other_origin,
        )
        self._possible = 0
        self._claim(self, url)
        if self._order.on_created is not None:
            with caller_speaks():
                self._order.on_created(url)
        return url

    def _ask(self, url: str) -> None:
        """HEAD. Raises `FinishedWithServerError` when an error was the answer to the last byte, and it arrived."""
        try:
            state = core.head(self._transport, url, watch=self._watch, extra=self._credentials)
        except UploadGone:
            if not self._said_complete:
                raise
            # The server said it had all of it: it has taken the upload away, as some do with finished ones.
            self.offset = self.size
            self._report(self.size, self.size)
        else:
            if state.length is not None and state.length != self.size:
                raise UploadMismatch(
                    f"{redact(url)} is an upload of {state.length} bytes. File size is {self.size} bytes: not what "
                    "the server expects. The file changed, or this is another file's upload; create a new one.",
                    url=url,
                    offset=state.offset,
                )
            self._learn(url, state.offset)
        self._must_ask = False
        if self.offset == self.size and self._final_error is not None:
            error = self._final_error
            raise FinishedWithServerError(
                f"The server has all {self.size} bytes of {redact(url)}, but answered the last request {error.status}: "
                f"{error.server_text or 'without a text'}. Look there whether it made use of them; it is not sent "
                "again by itself.",
                status=error.status,
                server_text=error.server_text,
                url=url,
                offset=self.offset,
            )
        self._final_error = None

    def _learn(self, url: str, offset: int) -> None:
        """The server's offset becomes ours."""
        if self._possible is None:
            self._possible = offset
            self._resumed_from = offset if self._resumed_from is None else self._resumed_from
        if offset > min(self._possible, self.size):
            raise ProtocolViolation(
                f"{redact(url)}: the server claims to have {offset} bytes, {self._possible} of {self.size} were sent. "
                "Does something else write to this upload? Create a new one.",
                url=url,
                offset=self.offset,
            )
        if offset > self._best:
            self._best = offset
            self._conflicts = 0
            self._budget.progress()
        self.offset = offset
        self._said_complete = self._said_complete or offset == self.size
        self._report(offset, offset)

    def _report(self, sent: int, acknowledged: int) -> None:
        if self._order.on_progress is not None:
            with caller_speaks():
                self._order.on_progress(sent, acknowledged)

    def _send_chunk(self, url: str) -> None:
        start = self.offset
        length = min(self.size - start, self._order.chunk_size or self.size)
        length = self._limit.apply(length)
        body = Body(
            self._order.source,
            start,
            length,
            watch=self._watch,
            on_sent=lambda sent: self._report(start + sent, start),
            throttle=self._order.throttle,
        )
        self._must_ask = True
        try:
            answer = core.patch(self._transport, url, start, body, watch=self._watch, extra=self._credentials)
        finally:
            self._possible = max(self._possible or 0, start + body.handed)
            self._bytes_sent += body.handed
        if answer.is_success:
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
        if self.offset <= start:
            self._must_ask = True
            raise UploadInterrupted(
                f"PATCH {redact(url)} was answered {answer.status}, but the server kept none of {length} bytes",
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
            self._limit.lower(smaller)
            self._ask(url)
        else:
            if start + length == self.size and answers_the_last_byte(error):
                self._final_error = error
            raise error
