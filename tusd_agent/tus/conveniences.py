"""What the public calls add to `send`: paths and file-like objects, the simple progress callback, names as metadata."""

import mimetypes
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO

from .arguments import check_file
from .metadata import MetadataValue
from .sources import FileSource, Source
from .streams import Readable, SeekableSource, StreamSource, check_given_size, of_stream

Metadata = Mapping[str, MetadataValue]
ProgressCallback = Callable[[int, int], None]
# A path, or a binary file-like object; one that can't seek needs no more than `read`.
File = str | os.PathLike[str] | BinaryIO | Readable

DEFAULT_FILETYPE = "application/octet-stream"


class Progress:
    """From (sent, acknowledged) to the public (current, total)."""

    def __init__(self, callback: ProgressCallback | None, source: Source | StreamSource) -> None:
        self._callback = callback
        self._source = source
        self._last = (0, 0)

    def __call__(self, sent: int, acknowledged: int) -> None:
        total = self._source.size
        if total is None:
            assert isinstance(self._source, StreamSource)
            total = self._source.seen_bytes
        call = min(max(sent, acknowledged), total), total
        if self._callback is not None and call[0] > 0 and call != self._last:
            self._last = call
            self._callback(*call)

    def finish(self) -> None:
        """The last call has (total, total)."""
        size = self._source.size or 0
        self(size, size)


@contextmanager
def opened(file: File, size: int | None) -> Iterator[tuple[FileSource | SeekableSource | StreamSource, str | None]]:
    """The source, and the name it goes by, None where it has none. A file-like object stays open."""
    check_file(file)
    if isinstance(file, str | os.PathLike):
        with FileSource(file) as source:
            check_given_size(source.size, size, source.path)
            yield source, os.path.basename(source.path)
        return
    name = getattr(file, "name", None)
    yield of_stream(file, size), os.path.basename(name) if isinstance(name, str) and name else None


def with_defaults(metadata: Metadata | None, filename: str | None) -> dict[str, MetadataValue]:
    guessed = (mimetypes.guess_type(filename)[0] if filename else None) or DEFAULT_FILETYPE
    named = {"filename": filename} if filename else {}
    return {**named, "filetype": guessed, **(metadata or {})}
