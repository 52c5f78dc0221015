"""One worker at a time at the interpreter, by agreement.

CPython runs one thread at a time anyway, and a thread that lets go of it for a system call of a microsecond gets it
back behind all others who want it: four workers with small files spend a fifth of their CPU on handing it around. So
who has something small to do carries the baton, and lays it down where it waits for the network or the disk.

Nothing is protected by it, and nobody is held up by one who keeps it: whoever has waited for a tenth of a second makes
a new one, and the old one is worth nothing any more.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 0.1


class _Held(threading.local):
    lock: "threading.Lock | None" = None


class Baton:
    """Safe for use by several threads; each may carry it once at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = _Held()

    @contextmanager
    def carried(self) -> Iterator[None]:
        """Within, the calling thread has it, unless it drops it."""
        self._take()
        try:
            yield
        finally:
            self.drop()

    @contextmanager
    def laid_down(self) -> Iterator[None]:
        """Within, others may have it, and the calling thread again afterwards; nothing happens if it has not got it."""
        if self._held.lock is None:
            yield
            return
        self.drop()
        try:
            yield
        finally:
            self._take()

    def drop(self) -> None:
        """The calling thread does not want it any more."""
        lock, self._held.lock = self._held.lock, None
        if lock is not None:
            lock.release()

    def _take(self) -> None:
        while True:
            lock = self._lock
            got = lock.acquire(timeout=PATIENCE_SECONDS)
            if lock is self._lock:
                if got:
                    break
                self._lock = threading.Lock()
            elif got:  # of one that was worth nothing any more
                lock.release()
        self._held.lock = lock
