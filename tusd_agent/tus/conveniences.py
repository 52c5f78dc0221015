"""What the public calls add to `send`: the simple progress callback, and metadata taken from the file's name."""

import mimetypes
from collections.abc import Callable, Mapping

from .metadata import MetadataValue

Metadata = Mapping[str, MetadataValue]
ProgressCallback = Callable[[int, int], None]

DEFAULT_FILETYPE = "application/octet-stream"


class Progress:
    """From (sent, acknowledged) to the public (current, total)."""

    def __init__(self, callback: ProgressCallback | None, total: int) -> None:
        self._callback = callback
        self._total = total
        self._last = 0

    def __call__(self, sent: int, acknowledged: int) -> None:
        current = min(max(sent, acknowledged), self._total)
        if self._callback is not None and current > 0 and current != self._last:
            self._last = current
            self._callback(current, self._total)

    def finish(self) -> None:
        if self._last != self._total:
            self(self._total, self._total)


def with_defaults(metadata: Metadata | None, filename: str) -> dict[str, MetadataValue]:
    guessed = mimetypes.guess_type(filename)[0] or DEFAULT_FILETYPE
    return {"filename": filename, "filetype": guessed, **(metadata or {})}
