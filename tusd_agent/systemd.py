"""Telling systemd how the service is doing: the protocol of sd_notify(3) and sd_watchdog_enabled(3).

A state is one datagram of `NAME=value` lines to the socket that $NOTIFY_SOCKET names. Without that variable
every call does nothing, so the service never asks whether it runs under systemd.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

# systemd reads its socket in its main loop. A service must rather lose a word than stand still with it.
SEND_TIMEOUT_SECONDS = 1.0

EXTEND_EVERY_SECONDS = 3.0
EXTENSION_SECONDS = 15.0


class Notifier:
    """Sends the state of the service; each method says whether the datagram was taken.

    Nothing is raised when it was not: a lost READY=1 shows as systemd's own start timeout, and no lost STATUS=
    is worth an upload. `monotonic_ns` is CLOCK_MONOTONIC in nanoseconds.
    """

    def __init__(self, environ: Mapping[str, str], monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._monotonic_ns = monotonic_ns

    def ready(self) -> bool:
        """The service is up, or has finished reloading."""
        return self._send("READY=1")

    def status(self, text: str) -> bool:
        """One line of free text for `systemctl status`. Line breaks become spaces: each line is a message."""
        return self._send("STATUS=" + " ".join(text.splitlines()))

    def reloading(self) -> bool:
        """The configuration is being read again; `ready` ends it.

        `Type=notify-reload` wants the instant with it, to tell this reload from an earlier one.
        """
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={self._monotonic_ns() // 1000}")

    def stopping(self) -> bool:
        """The service has begun to stop."""
        return self._send("STOPPING=1")

    def watchdog(self) -> bool:
        """A sign of life, due at least every `watchdog_seconds`."""
        return self._send("WATCHDOG=1")

    @contextmanager
    def extending(self, at_most_seconds: float) -> Iterator[None]:
        """Within, systemd waits longer than the unit's timeouts say, but no longer than `at_most_seconds`."""
        over = threading.Event()

        def ask() -> None:
            until = time.monotonic() + at_most_seconds
            while not over.wait(EXTEND_EVERY_SECONDS) and time.monotonic() < until:
                self._send(f"EXTEND_TIMEOUT_USEC={EXTENSION_SECONDS * 1_000_000:.0f}\nWATCHDOG=1")

        if self._address is None:
            yield
            return
        asking = threading.Thread(target=ask, name="extending", daemon=True)
        asking.start()
        try:
            yield
        finally:
            over.set()
            asking.join()

    def _send(self, message: str) -> bool:
        if self._address is None:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(SEND_TIMEOUT_SECONDS)
                channel.sendto(message.encode(errors="replace"), self._address)
        except OSError:
            return False
        return True


def watchdog_seconds(environ: Mapping[str, str], pid: int) -> float | None:
    """How often systemd wants a sign of life from process `pid`, in seconds; None: it does not ask for any.

    $WATCHDOG_PID names the process that is meant; children inherit the variables without being meant.
    """
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    usec = environ.get("WATCHDOG_USEC", "")
    if not (usec.isascii() and usec.isdecimal()) or int(usec) == 0:
        return None
    return int(usec) / 1_000_000


def _address(notify_socket: str) -> str | None:
    """The socket to send to: a path, or a name in the abstract name space, written with a leading "@"."""
    if notify_socket.startswith("/"):
        return notify_socket
    if notify_socket.startswith("@") and len(notify_socket) > 1:
        return "\0" + notify_socket[1:]
    return None
