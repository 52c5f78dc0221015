"""A real queue with jobs in it, and the control socket that answers for it."""

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.files import wait_for
from tusd_agent.control.commands import Commands
from tusd_agent.control.events import Events
from tusd_agent.control.figures import instants, periods
from tusd_agent.control.refusals import bad_configuration, outside
from tusd_agent.control.replies import (
    InFlight,
    Status,
    Watcher,
    bytes_by_state,
    job_reply,
    jobs_by_state,
    path_b64,
    pause_replies,
)
from tusd_agent.control.replies_changes import AddReply, Limit, LimitsReply, PauseReply, ReloadReply
from tusd_agent.control.server import ControlServer
from tusd_agent.jobs.claims import Claims
from tusd_agent.jobs.database import Database
from tusd_agent.jobs.ledger import Ledger
from tusd_agent.jobs.model import Fingerprint, Found, Job, Lane, Place, shown
from tusd_agent.jobs.orders import Applied, Orders, Verb
from tusd_agent.jobs.reader import Reader
from tusd_agent.jobs.selection import Selection
from tusd_agent.jobs.standing import Scope, Standing

FOLDER = "/srv/out"
UPLOAD_URL = "https://user:secret@uploads.example/files/0123456789abcdef?token=secret"


class Served:
    """The queue, and a server for it that is not started yet. `status` is what ``GET /v1/status`` answers.

    The socket has a short folder of its own: its path may have 107 bytes only, and pytest's folders use them up.
    """

    def __init__(self, folder: Path) -> None:
        self.short = Path(tempfile.mkdtemp(prefix="ta-"))
        self.socket = self.short / "control.sock"
        self.database = Database(folder / "queue.db")
        self.database.open()
        self.ledger = Ledger(self.database)
        self.claims = Claims(self.database)
        self.reader = Reader(folder / "queue.db")
        self.in_flight: list[InFlight] = []
        self.orders = Orders(self.database)
        self.standing = Standing(self.database)
        self.events = Events(on_listening=self._listening)
        self.commands = Commands(self.reader, self.status, lambda: self.in_flight, doing=self, events=self.events)
        self.server = ControlServer(self.socket, self.commands, deadline_seconds=30)
        self.state = "ok"
        self.reasons: list[str] = []
        self.problems: list[str] = []

    def status(self) -> Status:
        counts = self.reader.counts()
        return Status(
            state=self.state, reasons=self.reasons, paused=pause_replies(self.standing.pauses()), limits_by_hand=[],
            version="1.2.3", pid=4711, uid=0, started_at=1000.0, now=1060.0,
            database_bytes=4096, jobs=jobs_by_state(counts), bytes=bytes_by_state(counts),
            totals=periods(self.reader.overview(instants(1060.0)).tallies, 1060.0),
            folders=[], endpoints=[], in_flight=[],
            watcher=Watcher(alive=True, watches=1, overflows=0, restarts=0, gaps=0, canary_at=None),
        )  # fmt: skip

    def order(self, verb: Verb, selection: Selection, limit: int, cursor: int | None) -> Applied:
        return self.orders.apply(verb, selection, 400.0, limit=limit, cursor=cursor)

    def rescan(self, folder: str | None) -> list[str]:
        return [FOLDER] if folder in (None, FOLDER) else []

    def pause(self, scope: Scope) -> PauseReply:
        changed = self.standing.pause(scope, 1000.0)
        return PauseReply(changed=changed, paused=pause_replies(self.standing.pauses()))

    def resume(self, scope: Scope) -> PauseReply:
        changed = self.standing.resume(scope)
        return PauseReply(changed=changed, paused=pause_replies(self.standing.pauses()))

    def limits(self) -> LimitsReply:
        return LimitsReply(
            limits=[
                Limit(
                    endpoint=endpoint, rate_bytes_per_second=rate, by_hand_bytes_per_second=rate,
                    configured_bytes_per_second=0, timetable=[],
                )
                for endpoint, rate in self.standing.limits().items()
            ]
        )  # fmt: skip

    def limit(self, rate_bytes_per_second: int | None, endpoint: str | None) -> LimitsReply:
        self.standing.limit(rate_bytes_per_second, endpoint)
        return self.limits()

    def reload(self) -> ReloadReply:
        if self.problems:
            raise bad_configuration(self.problems)
        return ReloadReply(file="/etc/x.toml", changed=["agent.workers: 4 → 8"], needs_restart=[], warnings=[], held=0)

    def add(self, path: bytes) -> AddReply:
        folder = os.fsencode(FOLDER)
        if not path.startswith(folder + b"/"):
            raise outside(path)
        jobs = self.reader.at(Place.below(FOLDER, path[len(folder) + 1 :]))
        return AddReply(
            path=shown(path), path_b64=path_b64(path), folder=FOLDER, added=not jobs, waits_for="rest", hint="wait",
            job=job_reply(jobs[0]) if jobs else None,
        )  # fmt: skip

    def enqueue(self, *relative: bytes, folder: str = FOLDER, size: int = 10, now: float = 100.0) -> None:
        """A pending job for each path; the n-th has inode and mtime of its own."""
        first = sum(count.jobs for count in self.reader.counts()) + 1
        found = [
            Found(Place.below(folder, path), Fingerprint(size, number, number, number), "default")
            for number, path in enumerate(relative, first)
        ]
        assert self.ledger.enqueue(found, now) == len(found)

    def claim(self, folder: str = FOLDER, now: float = 200.0) -> Job:
        job = self.claims.claim(Lane(folder, "default"), now)
        assert job is not None
        return job

    def fail(self, error: str = "403 Forbidden", reason: str = "refused by the server") -> Job:
        """The next pending job becomes a failed one with an upload."""
        return self.claims.fail(self.claims.created(self.claim(), UPLOAD_URL), error, 300.0, reason)

    def _listening(self, somebody: bool) -> None:
        self.database.on_moved = self.events.moved if somebody else None

    def close(self) -> None:
        self.events.close("the test is over")
        self.server.stop()
        self.database.close()
        shutil.rmtree(self.short, ignore_errors=True)


def connected(path: Path, timeout_seconds: float = 5.0) -> socket.socket:
    """A bare connection to the socket."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_seconds)
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            connection.connect(str(path))
        except BlockingIOError:  # too many wait to be accepted; a blocking socket would wait itself, unix(7)
            assert time.monotonic() < deadline, "the server accepts nobody"
            time.sleep(0.001)
        else:
            return connection


def all_of(connection: socket.socket) -> bytes:
    """What the other side sends until it closes."""
    received = b""
    while block := connection.recv(65536):
        received += block
    return received


@contextmanager
def busy(served: Served) -> Iterator[None]:
    """A server that answers one request and has another waiting, and has no room for more."""
    go_on, asked, plain = threading.Event(), threading.Event(), served.status

    def slow() -> Status:
        asked.set()
        go_on.wait(20)
        return plain()

    served.commands.status = slow
    server = ControlServer(served.socket, served.commands, deadline_seconds=60, max_connections=1, max_waiting=1)
    server.start()
    request = b"GET /v1/status HTTP/1.1\r\nHost: agent\r\n\r\n"
    try:
        with connected(served.socket) as answered, connected(served.socket) as waiting:
            answered.sendall(request)
            assert asked.wait(10)
            waiting.sendall(request)
            waits = server._ready  # nobody outside can tell whether it waits already
            wait_for(lambda: len(waits) == 1, 10, "a request that waits")
            yield
            go_on.set()
            assert all_of(answered).startswith(b"HTTP/1.1 200 ")
            assert all_of(waiting).startswith(b"HTTP/1.1 200 ")
    finally:
        go_on.set()
        served.commands.status = plain
        server.stop()
