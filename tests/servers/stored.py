"""What a server has on its disk: the uploads, read from its own files while it may be writing them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Stored:
    """An upload as it lies on the server's disk; `size` is None while its length is deferred.

    `offset` counts the bytes in the file: all three servers take that, or must take that, for the truth.
    `partial` is one part of a concatenation. What a server made of metadata that is no UTF-8 is its own affair.
    """

    id: str
    size: int | None
    offset: int
    metadata: dict[str, bytes]
    path: Path
    partial: bool = False

    @property
    def complete(self) -> bool:
        return self.offset == self.size

    def sha256(self) -> str:
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def infos(folder: Path, suffix: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each description with the file it describes; one that is being written or removed just now is left out."""
    for path in sorted(folder.glob(f"*{suffix}")):
        try:
            info = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            continue
        yield path.with_name(path.name.removesuffix(suffix)), info


def stored(
    path: Path, size: int | None, metadata: dict[str, str | None] | None, partial: bool = False
) -> Stored | None:
    """The upload in `path`; None when it was removed meanwhile."""
    try:
        offset = path.stat().st_size
    except FileNotFoundError:
        return None
    values = {name: (value or "").encode() for name, value in (metadata or {}).items()}
    return Stored(path.name, size, offset, values, path, partial)
