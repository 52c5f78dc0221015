"""A token bucket: no more bytes per second than asked for, shared by all who take from it."""

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Stoppable(Protocol):
    """What a wait can be ended by: `threading.Event` has this shape."""

    def is_set(self) -> bool:
        """Whether to stop."""

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the stop, at most `timeout` seconds."""


class TokenBucket:
    """Hands out `rate_bytes_per_second`, at most `burst_seconds` of it saved up. Rate 0 is no limit.

    Who takes more than there is goes into debt and waits it off, so large and small takers are served alike.
    """

    def __init__(
        self,
        rate_bytes_per_second: float,
        *,
        burst_seconds: float = 0.1,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate_bytes_per_second
        self._burst_seconds = burst_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._tokens = rate_bytes_per_second * burst_seconds
        self._filled_at = monotonic()

    @property
    def rate_bytes_per_second(self) -> float:
        """The limit; 0: none."""
        return self._rate

    def take(self, size_bytes: int, stop: Stoppable) -> None:
        """Takes `size_bytes`, waiting for them as long as it needs; returns early when `stop` is set."""
        with self._lock:
            if not self._rate:
                return
            now = self._monotonic()
            saved = self._tokens + (now - self._filled_at) * self._rate
            self._tokens = min(saved, self._rate * self._burst_seconds) - size_bytes
            self._filled_at = now
            wait_seconds = -self._tokens / self._rate
        if wait_seconds > 0:
            stop.wait(wait_seconds)
