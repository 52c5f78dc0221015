"""Waiting that can be called off: sockets with an idle timeout that obey a cancel object and a deadline.

A total timeout kills big uploads, no timeout hangs for ever (tus 1.0, PATCH: the client should notice network errors
and may use read and write timeouts). So a socket here waits as long as bytes move. It asks whether to go on only while
it is blocked, in slices of a quarter of a second; a socket that moves bytes pays nothing.

What it asks is the `Watch` of the call that is running in this thread (`watching`): requests and urllib3 have no way
to hand such an object down to the socket. In the same way a thread says what it makes room for meanwhile
(`stepping_aside`).
"""

import errno
import os
import re
import select
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from types import TracebackType
from typing import Any, Protocol, TypeVar

from .errors import DeadlineExceeded, UploadCancelled

T = TypeVar("T")

SLICE_SECONDS = 0.25
# An address that swallows packets must not eat the patience meant for the host's next one.
ADDRESS_SECONDS = 10.0
# Without a device answering at all, Linux gives up on a connection after 15 minutes by default.
KEEPALIVE_IDLE_SECONDS = 30


# What Python's codec for international names leaves as it is; others it refuses or translates.
_PLAIN_NAME = re.compile(r"(?:[^.\x80-\U0010ffff]{1,63}\.)*[^.\x80-\U0010ffff]{0,63}")


class Cancel(Protocol):
    """What may stop a call: `threading.Event`, or anything with its `is_set`."""

    def is_set(self) -> bool: ...


class Watch:
    """When the running call must stop: `cancel` set, or `deadline_at` (of `clock`, monotonic seconds) passed."""

    def __init__(
        self,
        cancel: Cancel | None = None,
        deadline_seconds: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.cancel = cancel
        self._clock = clock
        self._sleep = sleep
        self._deadline_at = None if deadline_seconds is None else clock() + deadline_seconds

    def with_cancel(self, cancel: Cancel) -> "Watch":
        """The same deadline with another `cancel`."""
        other = Watch(cancel, clock=self._clock, sleep=self._sleep)
        other._deadline_at = self._deadline_at
        return other

    def check(self) -> None:
        """Raises `UploadCancelled` or `DeadlineExceeded` when it is time to stop."""
        if self.cancel is not None and self.cancel.is_set():
            raise UploadCancelled("the upload was cancelled; what the server has is kept and can be resumed")
        if self._deadline_at is not None and self._clock() >= self._deadline_at:
            raise DeadlineExceeded("the deadline for this upload passed; what the server has can be resumed")

    def pause(self, seconds: float) -> None:
        """Sleeps, but not past the moment it is time to stop; then raises as `check` does."""
        self.check()
        until = self._clock() + seconds
        if self._deadline_at is not None and until >= self._deadline_at:
            # The next attempt would begin after the deadline: say so now rather than then.
            raise DeadlineExceeded(
                f"the next attempt is due in {seconds:.1f} s, after the deadline; the upload can be resumed later"
            )
        with aside():
            while (left := until - self._clock()) > 0:
                self._sleep(min(left, SLICE_SECONDS))
                self.check()


_running = threading.local()


class _Within:
    """Within, this is what `_running` has under that name; afterwards what it had before."""

    __slots__ = ("_before", "_name", "_value")

    def __init__(self, name: str, value: object) -> None:
        self._name = name
        self._value = value
        self._before: object = None

    def __enter__(self) -> None:
        self._before = getattr(_running, self._name, None)
        setattr(_running, self._name, self._value)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        setattr(_running, self._name, self._before)


def watching(watch: Watch) -> _Within:
    """Within, sockets of this thread obey `watch`."""
    return _Within("watch", watch)


def stepping_aside(aside: Callable[[], AbstractContextManager[object]]) -> _Within:
    """Within, this thread enters `aside()` for as long as it waits: for the other side, or before a further attempt."""
    return _Within("aside", aside)


def aside() -> AbstractContextManager[object]:
    """To be entered by what waits."""
    stepping: Callable[[], AbstractContextManager[object]] | None = getattr(_running, "aside", None)
    return nullcontext() if stepping is None else stepping()


def _check_watch() -> None:
    watch: Watch | None = getattr(_running, "watch", None)
    if watch is not None:
        watch.check()


class Patience:
    """The state of one patient socket: its idle timeout, and what else to look at while it is blocked."""

    def __init__(self, idle_seconds: float | None) -> None:
        self.idle_seconds = idle_seconds
        self.while_blocked: Callable[[], None] | None = None
        self.reading = False

    def receive(self, sock: socket.socket, call: Callable[..., T], *arguments: Any) -> T:
        """`wait`, for reading: whoever answers in drops never blocks for a whole slice, and can be called off too."""
        if self.reading:
            _check_watch()
        self.reading = True
        with aside():
            return self.wait(sock, call, *arguments)

    def wait(self, sock: socket.socket, call: Callable[..., T], *arguments: Any) -> T:
        """`call(*arguments)`, again after every slice without an answer, until `idle_seconds` passed unmoved."""
        moved_at = None
        queued = -1
        while True:
            try:
                return call(*arguments)
            except TimeoutError as error:
                # With an errno it is the kernel's verdict (TCP_USER_TIMEOUT), not the end of our slice.
                if error.errno is not None or self.idle_seconds == 0:
                    raise
            if moved_at is None:  # what does not block should not have to ask the clock
                moved_at = time.monotonic() - in_slices(self.idle_seconds)
            _check_watch()
            if self.while_blocked is not None:
                self.while_blocked()
            now = time.monotonic()
            still_queued = _unacknowledged(sock)
            if still_queued != queued:
                queued, moved_at = still_queued, now
            elif self.idle_seconds is not None and now - moved_at >= self.idle_seconds:
                raise TimeoutError(f"no bytes moved for {self.idle_seconds:g} s")


def in_slices(seconds: float | None) -> float:
    return SLICE_SECONDS if seconds is None else min(seconds, SLICE_SECONDS)


def _unacknowledged(sock: socket.socket) -> int:
    """Bytes the kernel still holds for the peer (Linux, tcp(7) SIOCOUTQ); 0 where that can't be asked.

    Over a slow line megabytes leave the kernel's buffer long after the last `send`: they are movement too.
    """
    if sys.platform != "linux":
        return 0
    import fcntl
    import termios

    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int.from_bytes(answer, sys.byteorder)


class PatientSocket(socket.socket):
    """A TCP socket whose timeout means idle time and which obeys the thread's `Watch` while it is blocked."""

    _patience: Patience | None = None
    _poll: "select.poll | None" = None

    @property
    def patience(self) -> Patience:
        if self._patience is None:
            self._patience = Patience(super().gettimeout())
        return self._patience

    def settimeout(self, value: float | None) -> None:
        self.patience.idle_seconds = value
        give_up_after(self, value)
        super().settimeout(in_slices(value))

    def gettimeout(self) -> float | None:
        return self.patience.idle_seconds

    def setblocking(self, flag: bool) -> None:
        self.settimeout(None if flag else 0.0)

    def send(self, data: Any, flags: int = 0) -> int:
        self.patience.reading = False
        return self.patience.wait(self, super().send, data, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        with memoryview(data) as view, view.cast("B") as left:
            sent = self.send(left, flags)
            while sent < left.nbytes:
                _check_watch()
                sent += self.send(left[sent:], flags)

    def readable(self) -> bool:
        """Whether there is something to read, the end included, without waiting."""
        if self._poll is None:
            if not hasattr(select, "poll"):
                return _ready(self, selectors.EVENT_READ, 0)
            self._poll = select.poll()
            self._poll.register(self, select.POLLIN)
        return bool(self._poll.poll(0))

    def recv(self, size: int, flags: int = 0) -> bytes:
        return self.patience.receive(self, super().recv, size, flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return self.patience.receive(self, super().recv_into, buffer, nbytes, flags)


def connect(
    host: str, port: int, idle_seconds: float | None, source_address: tuple[str, int] | None = None
) -> PatientSocket:
    """A connected socket to the first of the host's addresses that answers.

    Name resolution is the system's and can't be interrupted. Raises OSError (gaierror for the name), TimeoutError,
    UnicodeError for what can't be a name, and what the `Watch` raises.
    """
    name = host.strip("[]")
    # As bytes: Python would else load its codec for international names, to no effect.
    wanted = name.encode("ascii") if _PLAIN_NAME.fullmatch(name) else name
    with aside():
        found = socket.getaddrinfo(wanted, port, socket.AF_UNSPEC, socket.SOCK_STREAM)
    failure: OSError = OSError(errno.EADDRNOTAVAIL, "the name has no address")
    for index, (family, kind, protocol, _, address) in enumerate(found):
        limit = idle_seconds
        if index + 1 < len(found):
            limit = ADDRESS_SECONDS if idle_seconds is None else min(idle_seconds, ADDRESS_SECONDS)
        try:
            sock = PatientSocket(family, kind, protocol)
        except OSError as error:  # a family this machine does not speak
            failure = error
            continue
        try:
            if source_address is not None:
                sock.bind(source_address)
            _connect(sock, address, limit)
            _keep_alive(sock)
            sock.settimeout(idle_seconds)
            return sock
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
    raise failure


# select(2) knows no descriptor above 1023.
_SELECTOR = getattr(selectors, "PollSelector", selectors.SelectSelector)


def _ready(sock: socket.socket, event: int, seconds: float) -> bool:
    with _SELECTOR() as selector:
        selector.register(sock, event)
        return bool(selector.select(seconds))


def _connect(sock: PatientSocket, address: Any, limit_seconds: float | None) -> None:
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code in (errno.EINPROGRESS, errno.EWOULDBLOCK):
        with aside():
            _wait_for_connection(sock, limit_seconds)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _wait_for_connection(sock: PatientSocket, limit_seconds: float | None) -> None:
    began_at = time.monotonic()
    while not _ready(sock, selectors.EVENT_WRITE, SLICE_SECONDS):
        _check_watch()
        if limit_seconds is not None and time.monotonic() - began_at >= limit_seconds:
            raise TimeoutError(f"no connection within {limit_seconds:g} s")


def _keep_alive(sock: socket.socket) -> None:
    """Notice a peer that is gone without a word: keepalive probes (tcp(7))."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform != "linux":
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def give_up_after(sock: socket.socket, idle_seconds: float | None) -> None:
    """The kernel's own patience with data unacknowledged (tcp(7)): that of the request, not of the connecting.

    Half as much again, so that ours, which knows what it says, comes first.
    """
    if sys.platform != "linux" or idle_seconds == 0:
        return
    milliseconds = 0 if idle_seconds is None else int(min(max(1.0, idle_seconds * 1500), 2**31 - 1))
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
