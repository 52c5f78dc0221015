"""File-like objects as sources: seekable ones are read at any offset, others once, through a bounded window."""

import io
import os
import threading
from typing import BinaryIO, Protocol

from .errors import SourceChanged, SourceUnavailable
from .sources import identity_of

# What is kept of an unseekable stream when no chunk size is given, so that it can be sent a second time.
STREAM_CHUNK_BYTES = 8 << 20


class Readable(Protocol):
    """What an unseekable source must do: `read(n)` gives at most n bytes, b"" only at the end."""

    def read(self, size: int, /) -> bytes: ...


class SeekableSource:
    """A seekable binary file-like object, from where it stands to its end.

    Reads seek under a lock; when the upload is over the object stands behind the last byte that was read. Whoever else
    moves it meanwhile does no harm between reads. Raises `SourceUnavailable` when it can't seek after all.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        try:
            self._start = stream.tell()
            self.size = max(0, stream.seek(0, os.SEEK_END) - self._start)
            stream.seek(self._start)
            self._identity = identity_of(stream)
        except (OSError, ValueError) as error:
            raise SourceUnavailable(f"{name_of(stream)!r} can't be read ({error}); open it anew") from error

    def readinto(self, offset: int, buffer: memoryview) -> int:
        with self._lock:
            self._stream.seek(self._start + offset)
            data = _read(self._stream, buffer.nbytes)
            if self._identity is not None and identity_of(self._stream) != self._identity:
                raise SourceChanged(
                    f"{name_of(self._stream)!r} changed while it was being uploaded. File size and time must stay as "
                    "they were; wait until nothing writes to it, then upload it anew."
                )
        buffer[: len(data)] = data
        return len(data)


class StreamSource:
    """An object that can only be read on, such as a pipe, a socket or a request's body.

    `size` is None until its end was seen, unless it was given. At most `window_bytes` and one byte more are kept: what
    was fetched last can be sent again, and nothing before that.
    """

    def __init__(self, stream: Readable, size: int | None = None) -> None:
        self.size = size
        self.seen_bytes = 0
        self._stream = stream
        self._given = size is not None
        self._window = bytearray()
        self._start = 0
        self._ended = False

    def expect(self, size: int) -> None:
        """From now on the stream must be of `size` bytes: somebody, such as the server, says so."""
        self.size = size
        self._given = True
        self._check_size()

    def fetch(self, offset: int, wanted_bytes: int) -> int:
        """Makes up to `wanted_bytes` from `offset` ready to be read; how many those are, fewer only at the end.

        What lies before `offset` is dropped. Raises `SourceUnavailable` when `offset` was dropped already,
        `SourceChanged` when the stream is shorter or longer than it was said to be, and what the stream raises.
        """
        if offset < self._start:
            raise SourceUnavailable(
                f"the stream {name_of(self._stream)!r} can't go back to byte {offset}, where the server stands: "
                f"bytes before {self._start} were sent and are not kept. Upload a file or a seekable object instead."
            )
        # One byte more tells whether this is the end, so that the last chunk can say how long the upload is.
        while not self._ended and self._start + len(self._window) < offset + wanted_bytes + 1:
            self._drop(offset)
            data = _read(self._stream, min(1 << 16, offset + wanted_bytes + 1 - self._start - len(self._window)))
            self._ended = not data
            self._window += data
            self.seen_bytes = self._start + len(self._window)
            self._check_size()
        self._drop(offset)
        return min(wanted_bytes, len(self._window))

    def readinto(self, offset: int, buffer: memoryview) -> int:
        """Reads what `fetch` made ready."""
        at = offset - self._start
        part = self._window[at : at + buffer.nbytes]
        buffer[: len(part)] = part
        return len(part)

    def _drop(self, offset: int) -> None:
        count = min(offset - self._start, len(self._window))
        if count > 0:
            del self._window[:count]
            self._start += count

    def _check_size(self) -> None:
        if self._ended and self.size is None:
            self.size = self.seen_bytes
        if self._given and (self.seen_bytes > (self.size or 0) or (self._ended and self.seen_bytes != self.size)):
            what = "ended after" if self._ended else "has more than"
            raise SourceChanged(
                f"the stream {name_of(self._stream)!r} {what} {min(self.seen_bytes, self.size or 0)} bytes. File size "
                f"was given as {self.size} bytes; give the right one, or none where the server can do without."
            )


def of_stream(stream: BinaryIO | Readable, size: int | None = None) -> SeekableSource | StreamSource:
    """The source for a binary file-like object. Raises `SourceUnavailable` for text streams and closed ones."""
    if getattr(stream, "closed", False):
        raise SourceUnavailable(f"{name_of(stream)!r} is closed; open it anew")
    if isinstance(stream, io.TextIOBase):
        raise SourceUnavailable(f"{name_of(stream)!r} is open as text; open it in binary mode ('rb')")
    seekable = getattr(stream, "seekable", None)
    if seekable is not None and seekable():
        source = SeekableSource(stream)  # type: ignore[arg-type]  # whoever says it is seekable has tell and seek
        check_given_size(source.size, size, name_of(stream))
        return source
    return StreamSource(stream, size)


def check_given_size(found: int, given: int | None, name: str) -> None:
    """Raises `SourceChanged` where the caller expects another size than there is."""
    if given is not None and given != found:
        raise SourceChanged(f"File size of {name!r} is {found} bytes, but was given as {given}; leave `size` out")


def name_of(stream: object) -> str:
    """The last part of the file's name where the object has one, else the name of its type."""
    name = getattr(stream, "name", None)
    return os.path.basename(name) if isinstance(name, str) and name else type(stream).__name__


def _read(stream: Readable, size: int) -> bytes:
    data = stream.read(size)
    if data is None:
        raise SourceUnavailable(f"{name_of(stream)!r} is non-blocking and has nothing to read; make it blocking")
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise SourceUnavailable(
            f"{name_of(stream)!r} gives {type(data).__name__} instead of bytes; open it in binary mode"
        )
    return bytes(data)
