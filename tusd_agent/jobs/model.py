"""What a job is, as values: nothing here touches a disk or a database."""

import os
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from .showing import shown as shown
from .states import State

ASIDE_PREFIX = b".tusd-agent-"
"""How the name of a file begins that is renamed aside just before it is deleted or moved: never taken by intake."""

NAME_MAX_BYTES = 255
"""So long may a name be on the file systems of Linux (limits.h, NAME_MAX)."""


def aside_uuid(name: bytes) -> UUID | None:
    """The uuid of the job whose aside file has this name; `None` for a name that is no aside file's."""
    if not name.startswith(ASIDE_PREFIX):
        return None
    try:
        return UUID(name[len(ASIDE_PREFIX) :].decode("ascii"))
    except ValueError:
        return None


def _signed(number: int) -> int:
    """`number` as SQLite keeps integers, 64 bits with a sign: inodes use all 64, mtimes may lie beyond 2262."""
    return (number + 2**63) % 2**64 - 2**63


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The identity of a file's content, as far as ``stat(2)`` tells it.

    `size_bytes`, `mtime_ns` and `inode` (0 where the file system keeps none) say which content it is; `ctime_ns`
    moves with every write too, but also with chmod, link and rename: when it alone moved, a digest decides.
    The device is left out on purpose: mounts are renumbered at every boot.
    """

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Fingerprint":
        """The fingerprint that a stat result holds."""
        return cls(found.st_size, _signed(found.st_mtime_ns), _signed(found.st_ctime_ns), _signed(found.st_ino))

    def same_identity(self, other: "Fingerprint") -> bool:
        """Whether both are the same content, the ctime left aside."""
        return (
            self.size_bytes == other.size_bytes
            and self.mtime_ns == other.mtime_ns
            and (self.inode == other.inode or not self.inode or not other.inode)
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file lies: the watched folder, the directory below it (``b""``: the folder itself), the name.

    Directory and name are the exact bytes of the file system; the directory has no slash at either end.
    """

    folder: str
    directory: bytes
    name: bytes

    @property
    def relative(self) -> bytes:
        """The path below the watched folder, with slashes."""
        return self.directory + b"/" + self.name if self.directory else self.name

    @property
    def path(self) -> bytes:
        """The absolute path."""
        return os.path.join(os.fsencode(self.folder), self.relative)

    @classmethod
    def below(cls, folder: str, relative: bytes) -> "Place":
        """The place of a path relative to its watched folder."""
        directory, _, name = relative.rpartition(b"/")
        return cls(folder, directory, name)


class Entry(Enum):
    """How a new content enters the ledger."""

    QUEUE = "queue"
    """To be sent."""

    HOLD = "hold"
    """Kept back until the operator decides: the ledger is incomplete, it may have been sent already."""

    IGNORE = "ignore"
    """Known from now on, and not to be sent: it lay there before the folder was watched (``existing = "ignore"``)."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that the intake has judged complete: this content lies at this place and belongs to this endpoint."""

    place: Place
    fingerprint: Fingerprint
    endpoint: str
    entry: Entry = Entry.QUEUE


class Job(NamedTuple):
    """One row: a tuple, of which copies with a change are cheap, for there are four for each upload.

    Instants are seconds since the epoch, `None` where it has not happened yet.

    `digest` is the SHA-256 of the first `digest_bytes` bytes that were sent: of the whole content once those are
    `size_bytes`. `offset_bytes` is a hint; the truth is the server's. `final_answer`: the error that the server
    answered the request with the last byte with, while it is not known what became of that. `waiting_since`: since
    when it has waited to be sent, where that is not since `created_at`. `cause`: the short kind of its last failure, or
    of what it is held for.
    """

    id: int
    uuid: UUID
    place: Place
    endpoint: str
    state: State
    fingerprint: Fingerprint
    not_before: float
    created_at: float
    claimed_at: float | None
    delivered_at: float | None
    finished_at: float | None
    attempts: int
    restarts: int
    claim_id: int
    upload_url: str | None
    offset_bytes: int
    digest: bytes | None
    digest_bytes: int
    last_error: str | None
    reason: str | None
    final_answer: str | None = None
    waiting_since: float | None = None
    cause: str | None = None

    @property
    def size_bytes(self) -> int:
        """The size of the content."""
        return self.fingerprint.size_bytes

    @property
    def aside_name(self) -> bytes:
        """The name, in its own directory, under which the job's file waits for its deletion."""
        return ASIDE_PREFIX + str(self.uuid).encode("ascii")

    @property
    def whole_digest(self) -> bytes | None:
        """The SHA-256 of the whole content, if it was taken."""
        return self.digest if self.digest_bytes == self.size_bytes else None


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: the file's fingerprint when the last byte of it was read, and the SHA-256 if one was taken."""

    fingerprint: Fingerprint
    digest: bytes | None


@dataclass(frozen=True, slots=True)
class Lane:
    """Jobs that compete with each other: those of one folder for one endpoint."""

    folder: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class Leftover:
    """An upload on the server that nobody will finish, to be terminated there."""

    id: int
    endpoint: str
    upload_url: str
    attempts: int
