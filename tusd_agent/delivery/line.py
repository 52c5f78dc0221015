"""One endpoint as the pool sees it: its rules, its breaker, and what is on its way there.

Not thread-safe: the pool holds a lock.
"""

from dataclasses import dataclass, field

from ..jobs.waiting import Head
from .breaker import Breaker, BreakerState
from .rules import EndpointRules
from .turns import admits

Claim = tuple[int, int]
"""A job's number and that of its claim: a job may be claimed anew while who had it before has yet to let go."""

PROBE_SECONDS = 60.0
"""So long others wait for what a probe shows; it may first have to read what the server has of a very large file."""


@dataclass(slots=True)
class Line:
    """One endpoint as the pool sees it.

    `in_flight` are the claims of its jobs, `large` those of them that are large, `recent` those that began since the
    breaker opened and have yet to show whether the endpoint works, and when (monotonic). `terminates`: an upload that
    has lost its job is being terminated there, one at a time.
    """

    rules: EndpointRules
    breaker: Breaker
    in_flight: set[Claim] = field(default_factory=set)
    large: set[Claim] = field(default_factory=set)
    recent: dict[Claim, float] = field(default_factory=dict)
    terminates: bool = False
    answered_at: float | None = None

    def admits(self, head: Head, now: float) -> bool:
        """Whether this head may go there now."""
        limit, full = self.breaker.limit(now), self.breaker.full_concurrency
        # What runs since before the breaker opened does not keep others from probing.
        counted = self.in_flight if self.breaker.state is BreakerState.CLOSED else self.recent.keys()
        large = head.kind.large
        return admits(limit, len(counted), len(counted & self.large), large=large) and admits(
            full, len(self.in_flight) + self.terminates, len(self.large), large=large
        )

    @property
    def may_terminate(self) -> bool:
        """Whether an upload that has lost its job may be terminated there now: the endpoint works, and has room."""
        is_free = len(self.in_flight) < self.breaker.full_concurrency and not self.terminates
        return is_free and self.breaker.state is BreakerState.CLOSED

    @property
    def may_probe_at(self) -> float | None:
        """When the next probe may begin (monotonic); `None`: none is waited for, or one is under way."""
        return self.breaker.probe_at if self.breaker.state is BreakerState.OPEN and not self.recent else None

    @property
    def patient_until(self) -> float | None:
        """How long others wait for what the present probe shows (monotonic); `None`: they wait for none."""
        if self.breaker.state is BreakerState.CLOSED or not self.recent:
            return None
        return min(self.recent.values()) + PROBE_SECONDS

    def lose_patience(self, now: float) -> None:
        """Nobody waits any longer for what has shown nothing for `PROBE_SECONDS`."""
        for claim in [claim for claim, began_at in self.recent.items() if now - began_at >= PROBE_SECONDS]:
            del self.recent[claim]

    def begin(self, claim: Claim, now: float, *, large: bool) -> None:
        """A job is on its way there."""
        self.in_flight.add(claim)
        self.recent[claim] = now
        if large:
            self.large.add(claim)

    def end(self, claim: Claim) -> None:
        """It is no more."""
        for those in (self.in_flight, self.large):
            those.discard(claim)
        self.recent.pop(claim, None)

    def state(self, wall_offset_seconds: float) -> "EndpointState":
        """As `status` shows it; `wall_offset_seconds` is what the wall clock is ahead of the monotonic one."""
        is_open = self.breaker.state is BreakerState.OPEN
        return EndpointState(
            self.rules.name,
            self.rules.url,
            self.breaker.state,
            self.breaker.reason,
            self.breaker.probe_at + wall_offset_seconds if is_open else None,
            len(self.in_flight),
            self.answered_at,
            self.rules.throttle.rate_bytes_per_second,
        )


@dataclass(frozen=True, slots=True)
class EndpointState:
    """An endpoint for `status`. Instants are seconds since the epoch."""

    name: str
    url: str
    breaker: BreakerState
    reason: str | None
    next_probe_at: float | None
    in_flight: int
    answered_at: float | None
    rate_limit_bytes_per_second: float
