"""Inside the agent: the points of its way at which it can be ended, and a witness of what it removes.

A point lies before and after each commit, and before and after each rename and each removal of an aside file. It is
named by the function of the agent that comes there. Nothing of the agent is changed: its ways out to SQLite and to the
file system are gone through here.
"""

import hashlib
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from tests.support.files import sha256_of
from tusd_agent import beneath
from tusd_agent.jobs.claims import Claims
from tusd_agent.jobs.model import Job, aside_uuid
from tusd_agent.tus import TUSClient

from .diary import Diary

T = TypeVar("T")

ROOMS = ("/tusd_agent/jobs/", "/tusd_agent/delivery/", "/tusd_agent/intake/")
MECHANICS = frozenset({"Database.transaction", "count_up"})
"""These commit for others, after whom the point is named."""


@dataclass(frozen=True)
class End:
    """Where a life ends: before or after its `count`th passing of `point`; of any point, where that is None."""

    moment: str
    point: str | None
    count: int = 1


class Way:
    """The points that one life comes to. Its end is a SIGKILL of the process by itself."""

    def __init__(self, end: End | None, diary: Diary) -> None:
        self._end = end
        self._diary = diary
        self._lock = threading.Lock()
        self._left = end.count if end is not None else 0
        self._passed: set[str] = set()

    def at(self, point: str, act: Callable[[], T]) -> T:
        """Does `act`, unless the way ends before it; what it raises is no passing."""
        end = self._end
        with self._lock:
            if point not in self._passed:
                self._passed.add(point)
                self._diary.write(passed=point)
            is_end = False
            if end is not None and end.point in (None, point):
                self._left -= 1
                is_end = self._left == 0
        if end is not None and is_end and end.moment == "before":
            self._die("before", point)
        done = act()
        if end is not None and is_end:
            self._die("after", point)
        return done

    def _die(self, moment: str, point: str) -> None:
        self._diary.write(killed=[moment, point])
        os.kill(os.getpid(), signal.SIGKILL)


def lead(way: Way, diary: Diary, uploads: Path) -> None:
    """Makes this process take the way. `uploads` is the server's folder."""
    Connection.way = way
    sqlite3.connect = partial(sqlite3.connect, factory=Connection)  # type: ignore[assignment]
    _watch_files(way, Witness(diary, uploads))
    _watch_uploads(diary)


class Connection(sqlite3.Connection):
    """A connection to SQLite whose commits are points."""

    way: ClassVar[Way]

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql != "COMMIT":
            return super().execute(sql, parameters)
        return self.way.at(f"commit of {_caller()}", lambda: super(Connection, self).execute(sql, parameters))

    def executescript(self, script: str, /) -> sqlite3.Cursor:
        return self.way.at("commit of a migration", lambda: super(Connection, self).executescript(script))


def _caller() -> str:
    """The function of the agent on whose behalf this is done."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        code = frame.f_code
        if any(room in code.co_filename for room in ROOMS) and code.co_qualname not in MECHANICS:
            return code.co_qualname
    raise AssertionError("nobody of the agent")


class Witness:
    """Looks at each file that is about to leave its watched folder, and at what the server has of it."""

    def __init__(self, diary: Diary, uploads: Path) -> None:
        self._diary = diary
        self._uploads = uploads

    def look(self, parent: int, name: bytes) -> None:
        with open(os.open(name, os.O_RDONLY, dir_fd=parent), "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        folder = os.readlink(f"/proc/self/fd/{parent}")
        self._diary.write(removed=folder, digest=digest, proven=self._is_proven(str(aside_uuid(name)), digest))

    def _is_proven(self, job: str, digest: str) -> bool:
        for info in self._uploads.glob("*.info"):
            with suppress(FileNotFoundError):  # terminated at this moment
                if job.encode() in info.read_bytes() and sha256_of(info.with_suffix("")) == digest:
                    return True
        return False


def _watch_files(way: Way, witness: Witness) -> None:
    unlink, rename_noreplace = os.unlink, beneath.rename_noreplace

    def watched_unlink(path: Any, *, dir_fd: int | None = None) -> None:
        name = os.fsencode(path)
        if dir_fd is None or aside_uuid(name) is None:
            unlink(path, dir_fd=dir_fd)
            return
        witness.look(dir_fd, name)
        way.at(f"removal in {_caller()}", lambda: unlink(path, dir_fd=dir_fd))

    def watched_rename(old_parent: int, old: bytes, new_parent: int, new: bytes) -> None:
        if aside_uuid(old) is not None and not os.path.samestat(os.fstat(old_parent), os.fstat(new_parent)):
            witness.look(old_parent, old)
        way.at(f"rename in {_caller()}", lambda: rename_noreplace(old_parent, old, new_parent, new))

    os.unlink = watched_unlink
    beneath.rename_noreplace = watched_rename


def _watch_uploads(diary: Diary) -> None:
    """Notes when an upload is about to be asked for and when its URL has been recorded."""
    send, created = TUSClient.send, Claims.created

    def watched_send(client: TUSClient, *given: Any, **more: Any) -> Any:
        if more["upload_url"] is None:
            diary.write(posted=more["metadata"]["job"])
        return send(client, *given, **more)

    def watched_created(claims: Claims, job: Job, upload_url: str, digest: bytes | None = None) -> Job:
        moved = created(claims, job, upload_url, digest)
        diary.write(recorded=str(job.uuid), url=upload_url)
        return moved

    TUSClient.send = watched_send  # type: ignore[method-assign, assignment]
    Claims.created = watched_created  # type: ignore[method-assign, assignment]
