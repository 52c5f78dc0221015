"""The file of a claimed job, as the client reads it: watched for changes, digested while it streams."""

import hashlib
import os
from collections.abc import Callable

from ..jobs.model import Fingerprint
from ..tus.errors import SourceChanged, UploadCancelled
from .ratelimit import Stoppable

READ_BYTES = 1 << 20
"""So much is read at a time; what is no larger than that is read once, and kept until it is sent."""


class JobSource:
    """An open file that must stay the content it was at the claim. Satisfies the client's `Source`.

    Every read is followed by an fstat: what was read belongs to this content, or `SourceChanged` is raised before it
    is sent. Where only ctime moved (chmod, rename, or a rewrite with the times put back) the digest decides, before
    the last byte is handed out.

    With `digest` the SHA-256 of all that lies before the end of the furthest read is kept: after a resume the part
    before the offset is read from disk again. `expected` is the digest that an earlier attempt took of the first
    bytes; other bytes there mean another content, which must not be spliced onto that upload. `on_whole(digest)` is
    called before the last bytes are handed out, with the digest of all of them: once they have left, only what was
    noted by then can tell that an upload which is complete is of this content.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        digest: bool,
        stop: Stoppable,
        expected: tuple[int, bytes] | None = None,
        known_ctime_ns: int | None = None,
        on_whole: Callable[[bytes], object] | None = None,
    ) -> None:
        self._descriptor = descriptor
        self._stop = stop
        self.fingerprint = Fingerprint.of(os.fstat(descriptor))
        self.size = self.fingerprint.size_bytes
        self._hash = hashlib.sha256() if digest else None
        self._hashed_bytes = 0
        self._expected = expected
        self._covered_bytes = expected[0] if expected is not None else 0
        self._in_doubt = digest and known_ctime_ns not in (None, self.fingerprint.ctime_ns)
        self._on_whole = on_whole
        self._kept: bytes | None = None

    @property
    def is_small(self) -> bool:
        """Whether all of it fits into one read."""
        return self.size <= READ_BYTES

    def read_ahead(self) -> bytes | None:
        """The digest of the whole content (`None` where none is taken), before anything of it is sent.

        What is small is not read again after that. Raises as `readinto` does.
        """
        if self._hash is None:
            return None
        if self.is_small:
            kept = os.pread(self._descriptor, self.size, 0)
            if len(kept) < self.size:
                raise SourceChanged(f"the file is shorter than it was: it ends at {len(kept)} of {self.size} bytes")
            self._feed(memoryview(kept))
            self._kept = kept
        self._catch_up(self.size)
        return self._hash.digest()

    def readinto(self, offset: int, buffer: memoryview) -> int:
        """Fills `buffer` with the bytes from `offset`; returns how many, 0 only at the end of the content.

        Raises `SourceChanged`, `UploadCancelled` (while the part before the offset is read again), `OSError`.
        """
        self._end_doubt(offset)
        self._catch_up(offset)
        count = self._read(offset, buffer[: max(0, self.size - offset)])
        if count == 0 and offset < self.size:
            raise SourceChanged(f"the file is shorter than it was: it ends at {offset} of {self.size} bytes")
        if self._hash is not None and offset + count > self._hashed_bytes:
            self._feed(buffer[self._hashed_bytes - offset : count])
        self._check()
        if offset + count == self.size:
            self._check_ctime()
            if self._on_whole is not None and self._hash is not None:
                self._on_whole(self._hash.digest())
        return count

    def prefix_digest(self) -> tuple[int, bytes | None]:
        """How many leading bytes were digested so far, and their SHA-256 (`None` where none is taken).

        Until they are known to be the bytes that an earlier attempt sent, it is that attempt's.
        """
        if self._hash is None:
            return 0, None
        if self._expected is not None:
            return self._expected
        return self._hashed_bytes, self._hash.copy().digest()

    def whole_digest(self) -> bytes | None:
        """The SHA-256 of the whole content; what no attempt has read yet is read now."""
        if self._hash is None:
            return None
        self._end_doubt(self.size)
        self._catch_up(self.size)
        self._check()
        return self._hash.digest()

    def _end_doubt(self, offset: int) -> None:
        """Where the ctime moved since an earlier attempt, its digest must cover all that the server has of it."""
        if self._in_doubt and offset > self._covered_bytes:
            raise SourceChanged("its ctime moved, and the server has more than an earlier attempt's digest covers")
        self._in_doubt = False

    def _read(self, offset: int, buffer: memoryview) -> int:
        if self._kept is None:
            return os.preadv(self._descriptor, [buffer], offset)
        count = len(buffer)
        buffer[:] = memoryview(self._kept)[offset : offset + count]
        return count

    def _catch_up(self, offset: int) -> None:
        if self._hash is None or self._hashed_bytes >= offset:
            return
        buffer = memoryview(bytearray(READ_BYTES))
        while self._hashed_bytes < offset:
            if self._stop.is_set():
                raise UploadCancelled("stopped while the part that the server has was read again", offset=offset)
            wanted = min(READ_BYTES, offset - self._hashed_bytes)
            count = os.preadv(self._descriptor, [buffer[:wanted]], self._hashed_bytes)
            if count == 0:
                raise SourceChanged(f"the file is shorter than it was: it ends at {self._hashed_bytes} bytes")
            self._feed(buffer[:count])
        self._check()

    def _feed(self, data: memoryview) -> None:
        """Takes the next bytes into the digest, stopping to compare where an earlier attempt had come to."""
        if self._hash is None:
            return
        if self._expected is not None:
            at, digest = self._expected
            head = at - self._hashed_bytes
            if head <= len(data):
                self._hash.update(data[:head])
                self._hashed_bytes += head
                data = data[head:]
                self._expected = None
                if self._hash.copy().digest() != digest:
                    raise SourceChanged(f"the first {at} bytes are not the ones that were sent before")
        self._hash.update(data)
        self._hashed_bytes += len(data)

    def _check(self) -> None:
        now = Fingerprint.of(os.fstat(self._descriptor))
        if not now.same_identity(self.fingerprint):
            raise SourceChanged("the file changed while it was sent")

    def _check_ctime(self) -> None:
        now = Fingerprint.of(os.fstat(self._descriptor))
        if now.ctime_ns == self.fingerprint.ctime_ns:
            return
        if self._hash is not None:
            self._catch_up(self.size)
            if digest_of(self._descriptor, self._stop) != self._hash.digest():
                raise SourceChanged("the file changed while it was sent, and its times were put back")
        self.fingerprint = now
        self._check()


def digest_of(descriptor: int, stop: Stoppable) -> bytes:
    """The SHA-256 of an open file from its beginning; raises `UploadCancelled` when `stop` is set meanwhile."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(READ_BYTES))
    offset = 0
    while count := os.preadv(descriptor, [buffer], offset):
        if stop.is_set():
            raise UploadCancelled("stopped while a file was compared", offset=0)
        digest.update(buffer[:count])
        offset += count
    return digest.digest()
