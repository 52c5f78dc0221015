"""A token bucket: no more bytes per second than asked for, shared by all who take from it."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

PIECE_SECONDS = 0.025
"""So much of a second's bytes is handed out at once: a slow upload moves often, and no server takes it for dead."""

SAVED_SECONDS = 0.075
"""So much is saved up while nobody takes. Together with a piece: no burst beyond a tenth of a second."""

LOOK_SECONDS = 0.25
"""A wait is looked at again after so long: the rate may have changed, or a stop may have been asked for."""


SHORTEST_WAIT_SECONDS = 1e-6
"""Less is the rounding of fractions, and no clock would show that it passed."""


class Stoppable(Protocol):
    """What a wait can be ended by: `threading.Event` has this shape."""

    def is_set(self) -> bool:
        """Whether to stop."""

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the stop, at most `timeout` seconds."""


class TokenBucket:
    """Hands out bytes at `rate()` bytes per second; 0 is no limit. The rate may change at any moment.

    Bytes are reserved in the order of asking and each reservation waits until the bucket has released that many, so
    that large and small takers are served alike. When the rate changes, what is reserved and not yet released is
    reserved anew, in pieces of the new rate's size: a large piece would take for ever at a small rate.
    """

    def __init__(self, rate: Callable[[], float], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._known_rate = 0.0
        self._changes = 0
        self._reserved_bytes = 0.0
        self._released_bytes = 0.0
        self._released_at = monotonic()

    @property
    def rate_bytes_per_second(self) -> float:
        """The limit at this moment; 0: none."""
        return self._rate()

    def take(self, wanted_bytes: int, stop: Stoppable) -> int:
        """Waits for at most `wanted_bytes` (1 or more) and returns how many it got; 0 when `stop` was set meanwhile."""
        if not self._known_rate and not self._rate():  # what is not limited should not have to take turns
            return wanted_bytes
        changes, target, size = -1, 0.0, 0
        while True:
            with self._lock:
                rate = self._release()
                if not rate:
                    return wanted_bytes
                if changes != self._changes:
                    changes = self._changes
                    size = min(wanted_bytes, max(1, int(rate * PIECE_SECONDS)))
                    self._reserved_bytes += size
                    target = self._reserved_bytes
                wait_seconds = (target - self._released_bytes) / rate
            if stop.is_set():
                return 0
            if wait_seconds < SHORTEST_WAIT_SECONDS:
                return size
            stop.wait(min(wait_seconds, LOOK_SECONDS))

    def _release(self) -> float:
        """Brings the count of what was released up to now, and returns the rate that holds from now on."""
        now, rate = self._monotonic(), self._rate()
        released = self._released_bytes + (now - self._released_at) * self._known_rate
        saved = min(released - self._reserved_bytes, rate * SAVED_SECONDS)
        if rate != self._known_rate:
            self._known_rate = rate
            self._changes += 1
            saved = max(0.0, saved)
        self._released_bytes = self._reserved_bytes + saved
        self._released_at = now
        return rate
