"""What the next request carries: how many bytes, their body, their checksum."""

from collections.abc import Callable
from typing import Any

from . import checksum
from .body import Body, caller_speaks
from .discovery import Discovery
from .order import Learnt, Order
from .patience import Watch
from .streams import STREAM_CHUNK_BYTES, StreamSource


class Chunks:
    """The source of one upload, cut into request bodies. `size` in bytes, None while a stream has not ended."""

    def __init__(self, order: Order, learnt: Learnt, watch: Watch) -> None:
        self._source = order.source
        self._wanted_bytes = order.chunk_size
        self._checksum = order.checksum
        self._algorithm: str | None = None
        self._throttle = order.throttle
        self._learnt = learnt
        self._watch = watch

    @property
    def size(self) -> int | None:
        return self._source.size

    def agree(self, discovery: Discovery, endpoint: str) -> None:
        """Settles whether chunks have checksums; raises `UploadRefused` when the server has not the one asked for."""
        if self._checksum is not None and self._algorithm is None:
            self._algorithm = checksum.choose(self._checksum, discovery.ask(self._watch, needed=True), endpoint)

    def expect(self, size: int) -> None:
        """The server says how long the upload is: a stream must become just as long."""
        if isinstance(self._source, StreamSource):
            with caller_speaks():
                self._source.expect(size)

    def measure(self, start: int) -> int:
        """How many bytes go next from `start`; a stream is read so far. 0 only at the end."""
        if isinstance(self._source, StreamSource):
            wanted = self._learnt.apply(self._wanted_bytes or STREAM_CHUNK_BYTES)
            with caller_speaks():
                return self._source.fetch(start, wanted)
        left = self._source.size - start
        wanted = self._wanted_bytes or (left if self._algorithm is None else checksum.CHECKED_CHUNK_BYTES)
        return self._learnt.apply(min(left, wanted))

    def headers(self, start: int, length: int) -> dict[str, str]:
        if self._algorithm is None or not length:
            return {}
        return {"Upload-Checksum": checksum.header(self._algorithm, self._source, start, length, self._watch)}

    def body(self, start: int, length: int, on_sent: Callable[[int], None]) -> Body:
        """The bytes that `measure` counted; `on_sent` gets how many of them left."""
        source: Any = self._source  # a stream's size may be unknown; a body does not ask for it
        return Body(source, start, length, watch=self._watch, on_sent=on_sent, throttle=self._throttle)
