"""What one call asks for, what comes of it, and what a client learns on the way."""

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from .errors import UploadInterrupted
from .metadata import MetadataValue
from .patience import Cancel
from .records import Record
from .sources import Source
from .streams import StreamSource
from .transport import Headers

if TYPE_CHECKING:
    from datetime import datetime

# Of the failure, how many attempts in a row have brought nothing, and the seconds until the next.
OnRetry = Callable[[UploadInterrupted, int, float], None]

# Small enough not to lose much when a proxy has gathered it in vain, large enough to be fast.
GATHERED_BYTES = 32 << 20


class UploadResult(Record):
    """A finished upload. Sizes in bytes.

    `offset_resumed_from`: what the server already had when the call began (0 for a new upload); `bytes_sent`: body
    bytes handed to the network, those sent twice counted twice; `attempts`: 1 when nothing went wrong. `expires`:
    `Upload-Expires` of the last answer that had one, None when the server does not say.
    """

    url: str
    size: int
    offset_resumed_from: int = 0
    bytes_sent: int = 0
    attempts: int = 1
    expires: "datetime | None" = None


class CallOptions(TypedDict, total=False):
    """What every call that sends takes besides its own arguments.

    `chunk_size`: bytes per PATCH, for this call. `cancel`: obeyed within a second, name resolution apart, and what a
    session of the caller's own waits for. `deadline`: seconds for the whole call. `max_restarts`: how often an upload
    that the server lost (404, 410) is begun anew. `request_headers`: sent with this call's requests only.
    `on_created(url)`: called before the first byte of the body leaves. `on_retry(error, fruitless, seconds)`: before
    each pause; what failed, how many attempts in a row brought nothing (of `max_retries` + 1), and how long the pause
    is. `throttle(bytes)`: called before each block.
    `idempotency_key`: sent with the creation, by default a new one. `checksum`: `"sha1"` or another of `hashlib`'s
    names, or `"auto"`; each PATCH then has `Upload-Checksum`. `on_final_answer(text)`: called at once when the request
    with the last byte is answered with an error, and with None when the server turns out not to have it all; a call
    that goes on with such an upload gives that text as `final_answer`, and raises `FinishedWithServerError` where the
    server has it all.
    """

    chunk_size: int | None
    cancel: Cancel | None
    deadline: float | None
    max_restarts: int
    request_headers: Headers | None
    on_created: Callable[[str], None] | None
    on_retry: OnRetry | None
    throttle: Callable[[int], None] | None
    idempotency_key: str | None
    checksum: str | None
    final_answer: str | None
    on_final_answer: Callable[[str | None], None] | None


class Order(NamedTuple):
    """One upload as it is wanted. Sizes in bytes.

    `chunk_size`: None for all that is left in one PATCH. `small_file_bytes`: up to this size the body may go with the
    creation. `creation_headers`: what the creation says besides (`Upload-Concat`). `on_located(url, seconds)`: the
    upload's URL and the seconds until it expires (None: not said), when it is created and when that moves.
    """

    source: Source | StreamSource
    idempotency_key: str
    metadata: Mapping[str, MetadataValue] | None = None
    upload_url: str | None = None
    chunk_size: int | None = None
    max_restarts: int = 0
    request_headers: Headers | None = None
    allow_other_origin: bool = False
    small_file_bytes: int = 0
    checksum: str | None = None
    creation_headers: Mapping[str, str] | None = None
    on_located: Callable[[str, float | None], None] | None = None
    on_created: Callable[[str], None] | None = None
    on_progress: Callable[[int, int], None] | None = None
    on_retry: OnRetry | None = None
    throttle: Callable[[int], None] | None = None
    final_answer: str | None = None
    on_final_answer: Callable[[str | None], None] | None = None


class Learnt:
    """What a client finds out about the way to its endpoint, for all its uploads. Thread-safe.

    The largest body to send: proxies' 413s tell, and bodies of which nothing arrives when they are cut, because a
    proxy gathers all of a body before it passes it on. And whether the server, which says so, really takes a body with
    a creation.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limit_bytes: int | None = None
        self._swallowed = 0
        self.creation_takes_body = True

    def lower(self, size_bytes: int) -> None:
        with self._lock:
            if self._limit_bytes is None or size_bytes < self._limit_bytes:
                self._limit_bytes = size_bytes

    def swallowed(self, sent_bytes: int) -> None:
        """A body was cut after so many bytes, and the server has none of them."""
        if sent_bytes <= GATHERED_BYTES:
            return
        with self._lock:
            self._swallowed += 1
            often = self._swallowed >= 2
        if often:
            self.lower(GATHERED_BYTES)

    def apply(self, wanted_bytes: int) -> int:
        """The largest body to send where `wanted_bytes` are wanted."""
        return wanted_bytes if self._limit_bytes is None else min(wanted_bytes, self._limit_bytes)
