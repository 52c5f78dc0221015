"""Where the bytes come from: anything with a size that can be read at an absolute offset.

Nothing here keeps more than the block it is asked for: a file of any size costs one buffer.
"""

import io
import os
import stat
import threading
from types import TracebackType
from typing import Protocol, Self

from .errors import SourceChanged, SourceUnavailable


class Source(Protocol):
    """What `TUSClient.send` sends.

    `size`: bytes in all, constant. `readinto` reads at an absolute offset into `buffer` and returns the number of
    bytes read, 0 only at the end. What it raises ends the attempt and comes through unchanged.
    """

    @property
    def size(self) -> int: ...

    def readinto(self, offset: int, buffer: memoryview) -> int: ...


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(data).cast("B")
        self.size = self._view.nbytes

    def readinto(self, offset: int, buffer: memoryview) -> int:
        part = self._view[offset : offset + buffer.nbytes]
        buffer[: part.nbytes] = part
        return part.nbytes


class FileSource:
    """A regular file, opened at once and held by its descriptor: a rename during the upload does no harm.

    Size, mtime and inode are compared with those at opening after every read and by `check`, so that a block of a
    file that is being written is noticed before it leaves. Raises `SourceUnavailable` when it can't be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fsdecode(path)  # those of os.scandir(b"…") are bytes
        # O_NONBLOCK: opening a FIFO without a writer would otherwise hang.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._descriptor = os.open(self.path, flags | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError as error:
            raise SourceUnavailable(f"File not found: {self.path!r}; check the path") from error
        except ValueError as error:  # a NUL in the name
            raise SourceUnavailable(
                f"File not found: {self.path!r} is no name a file can have; check the path"
            ) from error
        except OSError as error:
            advice = "check its permissions" if isinstance(error, PermissionError) else "check the path"
            raise SourceUnavailable(f"{_shown(self.path)} can't be opened ({error.strerror}); {advice}") from error
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(self._descriptor)
            self._descriptor = -1
            raise SourceUnavailable(
                f"{self.path!r} is no regular file; give the path of one, or an open binary file-like object"
            )
        self.size = found.st_size
        self._identity = _identity(found)
        self._seek_lock = threading.Lock()

    @property
    def identity(self) -> tuple[str, int, int, int]:
        """Real path, size in bytes, mtime_ns and inode: the same for the same content in the same place."""
        size, mtime_ns, inode, _ = self._identity
        return os.path.realpath(self.path), size, mtime_ns, inode

    def readinto(self, offset: int, buffer: memoryview) -> int:
        """Raises `SourceChanged` when the file is no longer what was opened, OSError when the disk fails."""
        count = self._read_at(offset, buffer)
        self.check()
        return count

    def check(self) -> None:
        """Raises `SourceChanged` unless size, mtime_ns and inode are still those at opening."""
        now = _identity(os.fstat(self._descriptor))
        if now != self._identity:
            size = "" if now[0] == self.size else f" File size was {self.size} bytes and is now {now[0]}."
            raise SourceChanged(
                f"{self.path!r} changed while it was being uploaded.{size} "
                "Wait until nothing writes to it, then upload it anew."
            )

    def _read_at(self, offset: int, buffer: memoryview) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [buffer], offset)
        with self._seek_lock:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            data = os.read(self._descriptor, buffer.nbytes)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _shown(path: str) -> str:
    return repr(path) if len(path) <= 1000 else f"{path[:40]!r}… ({len(path)} characters)"


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev


def identity_of(stream: object) -> tuple[int, int, int, int] | None:
    """The same of an open file; None for objects that are none (others make one when they are asked for `fileno`)."""
    if not isinstance(stream, io.FileIO | io.BufferedReader | io.BufferedRandom):
        return None
    try:
        found = os.fstat(stream.fileno())
    except (OSError, AttributeError):  # a buffer over something else: io.UnsupportedOperation, tarfile has no fileno
        return None
    return _identity(found) if stat.S_ISREG(found.st_mode) else None
