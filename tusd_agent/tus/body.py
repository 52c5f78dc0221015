"""The body of one request: blocks of a source, and what its source and its callbacks raise."""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from .errors import SourceChanged
from .patience import Watch
from .sources import Source

BLOCK_BYTES = 256 * 1024
# With a throttle: small enough that a rate limit of some 100 KiB/s still gives a steady flow.
THROTTLED_BLOCK_BYTES = 64 * 1024


class CallerFailed(Exception):
    """Carries what a source or a callback raised past all that would judge it.

    urllib3 takes every OSError for the network's, and the retry loop would try again after an `UploadInterrupted`
    that a callback met elsewhere.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(type(cause).__name__)
        self.cause = cause


class _CallerSpeaks:
    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, CallerFailed):
            raise CallerFailed(error) from error


_CALLER_SPEAKS = _CallerSpeaks()


def caller_speaks() -> _CallerSpeaks:
    """Around calls into the caller's code: what it raises becomes `CallerFailed`. Twice a block: one without state."""
    return _CALLER_SPEAKS


class Body:
    """`length` bytes of `source` from `offset`, block after block from one buffer that is used again.

    Has a length, so that requests sends Content-Length and never chunks; every iteration starts anew, so that a
    redirect can be followed. `sent` counts the bytes the kernel has taken in the running iteration, `handed` also those
    of the block it was being given when the connection broke, of which the server may have a part.
    """

    def __init__(
        self,
        source: Source,
        offset: int,
        length: int,
        *,
        watch: Watch,
        on_sent: Callable[[int], None] | None = None,
        throttle: Callable[[int], None] | None = None,
    ) -> None:
        self.sent = 0
        self.handed = 0
        self._source = source
        self._offset = offset
        self._length = length
        self._watch = watch
        self._on_sent = on_sent
        self._throttle = throttle

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:  # memoryviews, though the stubs of requests want bytes
        self.sent = 0
        block = BLOCK_BYTES if self._throttle is None else THROTTLED_BLOCK_BYTES
        buffer = memoryview(bytearray(min(block, self._length)))
        while self.sent < self._length:
            self._watch.check()
            with caller_speaks():
                part = self._read(buffer[: self._length - self.sent])
            self.handed = max(self.handed, self.sent + part.nbytes)
            yield part
            self.sent += part.nbytes
            if self._on_sent is not None:
                self._on_sent(self.sent)

    def _read(self, buffer: memoryview) -> memoryview:
        at = self._offset + self.sent
        count = self._source.readinto(at, buffer)
        if count <= 0:
            raise SourceChanged(
                f"the source ended at byte {at}, {self._length - self.sent} bytes early. File size was expected to "
                "stay the same during the upload; upload it anew when nothing writes to it."
            )
        if self._throttle is not None:
            self._throttle(count)
        return buffer[:count]
