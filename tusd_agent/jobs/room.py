"""Whether the file system of the state folder takes writing, and what to do where it does not."""

import errno
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

ENOUGH_BYTES = 1 << 20
"""So much must there be for the agent to go on after the disk was full: with less it would stop again at once."""

MAY_PASS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""What a file system says that takes no writing now, and may again without anything else being changed."""

_HINTS = {
    errno.ENOSPC: "the disk of {folder} is full: make room there",
    errno.EDQUOT: "the disk quota for {folder} is used up: make room there, or have it raised",
    errno.EROFS: (
        "{folder} lies on a read-only file system: mount it read-write (if an error of the disk made it so, check that "
        "disk first; under systemd's ProtectSystem= name the folder in ReadWritePaths=)"
    ),
    errno.EIO: "the disk of {folder} fails: look at that disk",
}


def shortage(folder: Path) -> str | None:
    """What keeps `ENOUGH_BYTES` from being written to `folder`, with what to do; `None` when nothing does.

    Found out by asking for that room (posix_fallocate(3)): counts of free blocks know nothing of quotas, of what is
    reserved for root, nor of a file system that an error has made read-only.
    """
    trial = folder / "room.trial"
    try:
        descriptor = os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, ENOUGH_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        hint = hint_of(error, folder)
    else:
        hint = None
    with suppress(OSError):
        trial.unlink()
    return hint


def hint_of(error: OSError, folder: Path) -> str | None:
    """What to do about an error of writing to `folder`; `None` for one that is not about its disk."""
    hint = _HINTS.get(error.errno or 0)
    return None if hint is None else hint.format(folder=folder)


def trouble_of(error: sqlite3.Error, database: Path) -> str | None:
    """An error of SQLite's that its disk is to blame for, in a sentence with what to do; `None` for any other.

    "Full" and "disk I/O error" are the disk's own words (https://sqlite.org/rescode.html); a database that can't be
    written or opened may also be somebody else's, which no waiting mends.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return None
    hint = shortage(database.parent)
    if hint is None and code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return None
    return f"the database {database} can't be used: {hint or f'{error}, look at its disk'}"
