"""One source in several streams: each a partial upload with a thread of its own, concatenated at the end.

Of use where one connection does not fill the line (long distances, limits per flow). On a local network one stream is
faster, and the server copies everything once more at the end.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from . import concatenation
from .errors import TUSUploadError, UploadCancelled, UploadInterrupted
from .order import Order, UploadResult
from .patience import Cancel, Watch
from .retry import RetryBudget
from .sources import Source
from .store import StoredPart
from .transport import Credentials, Transport

if TYPE_CHECKING:
    from datetime import datetime

# Parts smaller than this cost more requests than they save time.
MIN_PART_BYTES = 256 * 1024


class PartSource:
    """`length` bytes of another source from `start`."""

    def __init__(self, source: Source, start: int, length: int) -> None:
        self.size = length
        self._source = source
        self._start = start

    def readinto(self, offset: int, buffer: memoryview) -> int:
        return self._source.readinto(self._start + offset, buffer)


def divide(size: int, streams: int) -> tuple[StoredPart, ...]:
    """`size` bytes in at most `streams` parts of nearly the same length, each without an URL yet."""
    count = max(1, min(streams, size // MIN_PART_BYTES))
    edges = [size * index // count for index in range(count + 1)]
    return tuple(StoredPart("", start, end - start) for start, end in pairwise(edges))


class AnyOf:
    """Set when one of several is."""

    def __init__(self, *cancels: Cancel | None) -> None:
        self._cancels = [cancel for cancel in cancels if cancel is not None]

    def is_set(self) -> bool:
        return any(cancel.is_set() for cancel in self._cancels)


class ParallelUpload:
    """`parts` of the order's source, each sent by `send(order)` in a thread of its own.

    `stop` is set when one part fails for good: the others end, and what the server has of them is kept. `on_parts`
    gets the parts whenever one of them has an URL, and the seconds until the first of them expires.
    """

    def __init__(
        self,
        order: Order,
        source: Source,
        parts: Sequence[StoredPart],
        send: Callable[[Order], UploadResult],
        stop: threading.Event,
        on_parts: Callable[[tuple[StoredPart, ...], float | None], None],
    ) -> None:
        self.size = source.size
        self._order = order
        self._source = source
        self._parts = list(parts)
        self._send_part = send
        self._stop = stop
        self._on_parts = on_parts
        self._lock = threading.RLock()
        self._moved = [(0, 0)] * len(parts)
        self._expiries: list[float | None] = [None] * len(parts)
        self._results: list[UploadResult | None] = [None] * len(parts)
        self._failure: BaseException | None = None

    def run(self, transport: Transport, watch: Watch, budget: RetryBudget) -> UploadResult:
        """Raises what the first part to fail raises, and what the concatenation does."""
        threads = [threading.Thread(target=self._send, args=(index,), daemon=True) for index in range(len(self._parts))]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:  # Ctrl-C: the source will be closed, no thread of ours may go on reading it
            self._stop.set()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            raise
        if self._failure is not None:
            raise self._placed(self._failure)
        results = [result for result in self._results if result is not None]
        headers = {"Idempotency-Key": f"{self._order.idempotency_key}-final", **(self._order.request_headers or {})}
        url = budget.run(
            lambda: concatenation.concatenate(
                transport,
                [result.url for result in results],
                self.size,
                self._order.metadata,
                watch=watch,
                extra=Credentials(headers, transport.endpoint),
                allow_other_origin=self._order.allow_other_origin,
            )
        )
        return UploadResult(
            url,
            self.size,
            sum(result.offset_resumed_from for result in results),
            sum(result.bytes_sent for result in results),
            max(budget.attempts, *(result.attempts for result in results)),
            _earliest(results),
        )

    def _placed(self, error: BaseException) -> BaseException:
        """One part's URL is nothing to go on with; what goes on is the same call with the same store."""
        if isinstance(error, TUSUploadError):
            error.url = error.offset = None
        return error

    def _send(self, index: int) -> None:
        part = self._parts[index]
        try:
            self._results[index] = self._send_part(
                self._order._replace(
                    source=PartSource(self._source, part.start, part.length),
                    metadata=None,
                    upload_url=part.url or None,
                    idempotency_key=f"{self._order.idempotency_key}-part-{index}",
                    small_file_bytes=0,
                    creation_headers=concatenation.PARTIAL,
                    on_created=None,
                    on_located=lambda url, left: self._located(index, url, left),
                    on_progress=lambda sent, acknowledged: self._progress(index, sent, acknowledged),
                    on_retry=self._retry,
                )
            )
        except BaseException as error:
            with self._lock:
                stopped_by_us = isinstance(error, UploadCancelled) and self._stop.is_set()
                if self._failure is None and not stopped_by_us:
                    self._failure = error
                self._stop.set()

    def _located(self, index: int, url: str, left_seconds: float | None) -> None:
        with self._lock:
            self._parts[index] = replace(self._parts[index], url=url)
            self._expiries[index] = left_seconds
            known = [left for left in self._expiries if left is not None]
            self._on_parts(tuple(self._parts), min(known, default=None))

    def _retry(self, error: UploadInterrupted, fruitless: int, seconds: float) -> None:
        with self._lock:
            if self._order.on_retry is not None:
                self._order.on_retry(error, fruitless, seconds)

    def _progress(self, index: int, sent: int, acknowledged: int) -> None:
        with self._lock:  # the caller's function is called by one thread at a time
            self._moved[index] = (sent, acknowledged)
            if self._order.on_progress is None:
                return
            self._order.on_progress(sum(one for one, _ in self._moved), sum(one for _, one in self._moved))


def _earliest(results: Sequence[UploadResult]) -> "datetime | None":
    return min((result.expires for result in results if result.expires is not None), default=None)
