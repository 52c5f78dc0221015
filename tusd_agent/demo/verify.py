"""Whether what lies in the watched folder and what the server has stored are the same, file by file.

Looks at both disks and believes nobody: neither the agent nor the server is asked.
"""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """An upload on the server's disk: where it lies, what its client called it, how much of it is there."""

    file: Path
    relative_path: str
    size_bytes: int
    offset_bytes: int

    @property
    def complete(self) -> bool:
        """Whether all of it is there."""
        return self.offset_bytes == self.size_bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one file. `digest` is the file's own SHA-256, hexadecimal; `fault` says what is wrong, or ""."""

    path: str
    size_bytes: int
    digest: str
    fault: str

    @property
    def equal(self) -> bool:
        """Whether it arrived once and whole."""
        return not self.fault


def stored(folder: Path, known: Collection[Path] = ()) -> list[Stored]:
    """The uploads in the folder of tuspyserver: ``ID`` holds the bytes, ``ID.info`` tells about them.

    Left out are those whose file is `known`, partial ones, and one that is being written down or taken away at this
    moment.
    """
    found = []
    for info_path in sorted(folder.glob("*.info")):
        if info_path.with_suffix("") in known:
            continue
        with suppress(FileNotFoundError, json.JSONDecodeError):
            info = json.loads(info_path.read_bytes())
            file = info_path.with_suffix("")
            metadata: Mapping[str, str] = info["metadata"] or {}
            if info["size"] is not None and not info["is_partial"]:
                found.append(Stored(file, metadata.get("relativePath", ""), info["size"], file.stat().st_size))
    return found


def compare(paths: Iterable[str], watched: Path, uploads: Iterable[Stored], check: Callable[[], None]) -> list[Verdict]:
    """A verdict for each of `paths` below `watched`, in their order.

    `check` is called before each block that is read: what it raises ends the comparison. Raises OSError when a file
    in the watched folder can't be read.
    """
    by_path: dict[str, list[Stored]] = {}
    for upload in uploads:
        by_path.setdefault(upload.relative_path, []).append(upload)
    return [_verdict(path, watched / path, by_path.get(path, []), check) for path in paths]


def _verdict(path: str, file: Path, uploads: list[Stored], check: Callable[[], None]) -> Verdict:
    digest, size_bytes = sha256(file, check)
    return Verdict(path, size_bytes, digest, _fault(digest, size_bytes, uploads, check))


def _fault(digest: str, size_bytes: int, uploads: list[Stored], check: Callable[[], None]) -> str:
    if not uploads:
        return "not on the server"
    if len(uploads) > 1:
        return f"{len(uploads)} uploads on the server"
    (upload,) = uploads
    if not upload.complete:
        return f"only {upload.offset_bytes} of {upload.size_bytes} bytes on the server"
    arrived, arrived_bytes = sha256(upload.file, check)
    if arrived_bytes != size_bytes:
        return f"{arrived_bytes} bytes on the server"
    return "" if arrived == digest else f"other content on the server: {arrived[:12]}"


def sha256(file: Path, check: Callable[[], None]) -> tuple[str, int]:
    """The file's SHA-256 as hexadecimal digits, and how many bytes it has."""
    digest, size_bytes = hashlib.sha256(), 0
    with open(file, "rb", buffering=0) as source:
        while True:
            check()
            block = os.read(source.fileno(), BLOCK_BYTES)
            if not block:
                return digest.hexdigest(), size_bytes
            digest.update(block)
            size_bytes += len(block)
