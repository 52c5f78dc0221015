"""A circuit breaker for each endpoint: while it is open its jobs wait without burning attempts.

Values in, values out; `now` is monotonic seconds. It opens when several *different* jobs failed in a row for a reason
that is the endpoint's, not theirs; at once when the credentials are refused, when what answers is no tus server, or
when the server asks for a pause. While it is open one real job at a time is the probe. After a probe that worked the
endpoint gets back its concurrency step by step, so that a server that has just come up is not buried by a week's
backlog; a file that only it refuses does not undo that.
"""

import random
from dataclasses import dataclass, field
from enum import StrEnum


class BreakerState(StrEnum):
    """Whether jobs may go to the endpoint."""

    CLOSED = "closed"
    """They may."""

    OPEN = "open"
    """They wait; at `probe_at` one of them may try."""

    RETURNING = "returning"
    """They may, few at a time, more with each that succeeds."""


@dataclass(slots=True)
class Breaker:
    """The breaker of one endpoint. Not thread-safe: its owner holds a lock.

    `reason` says why the last thing it heard of the endpoint was a failure, also while it is still closed.
    `threshold` different jobs must fail in a row; probes are `first_probe_seconds` apart at first, twice as far after
    each failure, at most `longest_probe_seconds`, each somewhere in the upper half of that (jitter).
    """

    full_concurrency: int
    threshold: int = 3
    first_probe_seconds: float = 1.0
    longest_probe_seconds: float = 60.0
    rng: random.Random = field(default_factory=random.Random)
    state: BreakerState = BreakerState.CLOSED
    reason: str | None = None
    probe_at: float = 0.0
    _failed_jobs: set[int] = field(default_factory=set)
    _failed_probes: int = 0
    _permitted: int = 0

    def limit(self, now: float) -> int:
        """How many jobs may be at the endpoint at a time, of those that began since the breaker last opened."""
        if self.state is BreakerState.OPEN:
            return 1 if now >= self.probe_at else 0
        return self._permitted if self.state is BreakerState.RETURNING else self.full_concurrency

    def succeeded(self) -> None:
        """An upload came through, or the endpoint answered as it should."""
        self._failed_jobs.clear()
        self._failed_probes = 0
        self.reason = None
        if self.state is BreakerState.OPEN:
            self.state = BreakerState.RETURNING
            self._permitted = 1
        elif self.state is BreakerState.RETURNING:
            self._permitted += 1
        if self.state is BreakerState.RETURNING and self._permitted >= self.full_concurrency:
            self.state = BreakerState.CLOSED

    def failed(self, job_id: int, reason: str, now: float, *, at_once: bool = False, wait_seconds: float = 0) -> bool:
        """The endpoint failed under this job; returns whether the breaker is open now.

        `wait_seconds` is what the server asked for (Retry-After): no probe before that.
        """
        self.reason = reason
        if self.state is BreakerState.OPEN and now < self.probe_at:
            # No probe: it began before the breaker opened, and says nothing new but what the server asks for.
            self.probe_at = max(self.probe_at, now + wait_seconds)
            return True
        if self.state is not BreakerState.OPEN and not at_once and not wait_seconds:
            self._failed_jobs.add(job_id)
            if len(self._failed_jobs) < self.threshold:
                self._permitted = 1
                return False
        self._failed_jobs.clear()
        self.state = BreakerState.OPEN
        step = min(self.longest_probe_seconds, self.first_probe_seconds * 2 ** min(self._failed_probes, 32))
        self._failed_probes += 1
        self.probe_at = now + max(wait_seconds, step * self.rng.uniform(0.5, 1.0))
        return True
