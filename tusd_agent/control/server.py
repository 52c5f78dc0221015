"""The control socket's server: HTTP/1.1 over a Unix socket (unix(7)), one request to a connection.

Nobody can hold it up: a request has `DEADLINE_SECONDS` from the moment it is accepted until it is answered, however
slowly it drips, and until it has arrived it occupies no thread. Sizes and numbers are bounded; beyond them the answer
is 503 at once.
"""

import fcntl
import grp
import logging
import os
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from .arrivals import MAX_ARRIVING, Arrival, Arrivals
from .commands import Commands
from .departures import Departures
from .exchange import DEADLINE_SECONDS, Exchange, refuse

log = logging.getLogger("tusd_agent.control")

MAX_CONNECTIONS = 16
"""So many requests are answered at a time; `MAX_ARRIVING` more may wait for that."""

LONGEST_PATH_BYTES = 107
"""sockaddr_un.sun_path has 108 bytes with the zero at its end, unix(7)."""

_LIVENESS_SECONDS = 1.0
_EXIT_CONFIG = 78


class SocketUnusable(Exception):
    """The socket can't be made. The message says why and what to do; `exit_code` is for the process."""

    exit_code = _EXIT_CONFIG


class SocketInUse(SocketUnusable):
    """Somebody answers there already."""

    exit_code = 1


class ControlServer:
    """Answers on the socket at `path`. The constructor does no I/O; `start` and `stop` do.

    `group`: the name of the group that may connect too; none: the group of the process.
    """

    def __init__(
        self,
        path: Path,
        commands: Commands,
        *,
        group: str | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
        max_connections: int = MAX_CONNECTIONS,
        max_waiting: int = MAX_ARRIVING,
    ) -> None:
        self._path = path
        self._commands = commands
        self._group = group
        self._deadline_seconds = deadline_seconds
        self._max_connections = max_connections
        self._max_waiting = max_waiting
        self._listener: socket.socket | None = None
        self._arrivals: Arrivals | None = None
        self._departures: Departures | None = None
        self._identity: tuple[int, int] | None = None
        self._gid: int | None = None
        self._acceptor: threading.Thread | None = None
        self._porter: threading.Thread | None = None
        self._lock = threading.Lock()
        self._number = 0
        self._answering: dict[threading.Thread, socket.socket] = {}
        self._ready: deque[Arrival] = deque()

    def start(self) -> None:
        """Makes the socket and answers from now on. Raises `SocketUnusable`, `SocketInUse` when one is live there."""
        self._listener, self._identity = _listen(self._path, self._group)
        self._gid = os.lstat(self._path).st_gid
        self._departures = departures = Departures()
        self._porter = threading.Thread(target=departures.run, name="control-leave", daemon=True)
        self._porter.start()
        arrived = partial(self._arrived, departures)
        self._arrivals = Arrivals(self._listener, self._deadline_seconds, arrived, refuse)
        self._acceptor = threading.Thread(target=self._arrivals.run, name="control-accept", daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        """Answers nobody any more and removes the socket, unless somebody else's lies there now. Can be repeated.

        What is being answered is answered to its end, within the deadline; who has not asked yet is cut.
        """
        listener, self._listener = self._listener, None
        if listener is None:
            return
        _remove(self._path, self._identity)
        if self._arrivals is not None:
            self._arrivals.stop()
        if self._acceptor is not None:
            self._acceptor.join(self._deadline_seconds)
        listener.close()
        with self._lock:
            open_now = dict(self._answering)
        for connection in open_now.values():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        deadline = time.monotonic() + self._deadline_seconds
        for thread in open_now:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._departures is not None and self._porter is not None:
            self._departures.stop()
            self._porter.join(max(0.0, deadline - time.monotonic()))

    def _arrived(self, departures: Departures, arrival: Arrival) -> None:
        """Has it answered: by a thread of its own, or the next that has time."""
        with self._lock:
            if len(self._answering) >= self._max_connections:
                waits = len(self._ready) < self._max_waiting
                if waits:
                    self._ready.append(arrival)
            else:
                waits = True
                self._number += 1
                name = f"control-{self._number}"
                thread = threading.Thread(target=self._serve, args=(arrival, departures), name=name, daemon=True)
                self._answering[thread] = arrival.connection
                try:
                    thread.start()
                except RuntimeError as error:
                    log.warning("no thread for the control socket: %s", error)
                    del self._answering[thread]
                    waits = False
        if not waits:
            refuse(arrival.connection)

    def _serve(self, arrival: Arrival | None, departures: Departures) -> None:
        while arrival is not None:
            has_left = False
            try:
                has_left = Exchange(arrival, self._commands, departures, self._gid).has_left
            except OSError as error:
                log.debug("a connection broke: %s", error)
            except Exception:
                log.exception("a request of the control socket failed")
            if not has_left:
                arrival.connection.close()
            with self._lock:
                arrival = self._ready.popleft() if self._ready else None
                if arrival is None:
                    del self._answering[threading.current_thread()]
                else:
                    self._answering[threading.current_thread()] = arrival.connection


def _listen(path: Path, group: str | None) -> tuple[socket.socket, tuple[int, int]]:
    """A listening socket at `path`, and the device and inode of its file. Raises `SocketUnusable`."""
    length = len(os.fsencode(path))
    if length > LONGEST_PATH_BYTES:
        raise SocketUnusable(
            f"the path of the control socket is {length} bytes long, the kernel takes {LONGEST_PATH_BYTES}: {path}. "
            "Set agent.socket to a shorter one"
        )
    gid = _gid(group)
    try:
        made = not path.parent.exists()
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        if made and gid is not None:
            os.chown(path.parent, -1, gid)
        with _alone_in(path.parent):
            _make_room(path)
            return _bind(path, gid)
    except OSError as error:
        raise SocketUnusable(
            f"the control socket {path} can't be made: {error.strerror or error}. Give the agent's user the right to "
            "write to its folder (and make it a member of agent.socket_group), or set agent.socket to another path"
        ) from error


def _gid(group: str | None) -> int | None:
    if group is None:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise SocketUnusable(
            f"agent.socket_group: there is no group {group!r}; make it (groupadd --system {group}) or name another"
        ) from None


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Between looking whether the old socket is dead and replacing it no other agent does the same (flock(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SocketInUse(f"another agent is making its control socket in {folder} just now; start again") from None
        yield
    finally:
        os.close(descriptor)


def _make_room(path: Path) -> None:
    """Removes a socket nobody answers on. Raises `SocketInUse` for a live one, `SocketUnusable` for anything else."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketUnusable(
            f"{path} is there already and is no socket; it is left alone. Move it away, or set agent.socket to "
            "another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        visitor.settimeout(_LIVENESS_SECONDS)
        try:
            visitor.connect(os.fsencode(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except PermissionError:
            raise
        except OSError as error:  # its queue is full, or it is a socket of another kind: somebody is there
            log.debug("%s: %s", path, error)
    raise SocketInUse(
        f"somebody answers on the control socket {path}: an agent runs there already. Stop it, or give this one "
        "another agent.socket and agent.state_dir"
    )


def _bind(path: Path, gid: int | None) -> tuple[socket.socket, tuple[int, int]]:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Nobody else can connect before group and mode are right: connecting needs the right to write, unix(7).
        before = os.umask(0o177)
        try:
            listener.bind(os.fsencode(path))
        finally:
            os.umask(before)
        if gid is not None:
            os.chown(path, -1, gid, follow_symlinks=False)
        os.chmod(path, 0o660)
        found = os.lstat(path)
        listener.listen(MAX_ARRIVING)
    except OSError:
        listener.close()
        raise
    return listener, (found.st_dev, found.st_ino)


def _remove(path: Path, identity: tuple[int, int] | None) -> None:
    with suppress(OSError):
        found = os.lstat(path)
        if (found.st_dev, found.st_ino) == identity:
            os.unlink(path)
