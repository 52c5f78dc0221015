"""How fast bodies may be sent: one limit for the whole agent, one for each endpoint, by the hour or set by hand.

What counts are the bytes of the files, as they are handed to the kernel; bytes that are sent again count again.
"""

import time
from collections.abc import Callable, Iterable, Mapping

from ..tus.errors import UploadCancelled
from ..tus.sources import Source
from .ratelimit import Stoppable, TokenBucket
from .timetable import TimedLimit, rate_at, smallest


class Throttle:
    """What one endpoint's uploads ask before each piece of a body. Without buckets nothing is limited."""

    def __init__(self, *buckets: TokenBucket) -> None:
        self._buckets = buckets

    @property
    def rate_bytes_per_second(self) -> float:
        """The smallest limit at this moment; 0: none."""
        return smallest(bucket.rate_bytes_per_second for bucket in self._buckets)

    def take(self, wanted_bytes: int, stop: Stoppable) -> int:
        """Waits for at most `wanted_bytes`; returns how many may be sent now, 0 when `stop` was set meanwhile."""
        # What an earlier bucket gave and a later one does not is lost to the earlier one, which does not feel it: a
        # piece is as long in time for each, so that it loses no more than the later one makes it wait.
        size = wanted_bytes
        for bucket in self._buckets:
            size = bucket.take(size, stop) if size else 0
        return size


class ThrottledSource:
    """A source that gives no more than its throttle allows. Satisfies the client's `Source`.

    Pieces become as small as the rate wants them, so that a body at a few bytes per second still moves all the time.
    """

    def __init__(self, source: Source, throttle: Throttle, stop: Stoppable) -> None:
        self.size = source.size
        self._source = source
        self._throttle = throttle
        self._stop = stop

    def readinto(self, offset: int, buffer: memoryview) -> int:
        """As the source's own; raises `UploadCancelled` when stopped while waiting."""
        if not len(buffer):
            return self._source.readinto(offset, buffer)
        allowed = self._throttle.take(len(buffer), self._stop)
        if not allowed:
            raise UploadCancelled("stopped while the upload waited for its share of the bandwidth")
        return self._source.readinto(offset, buffer[:allowed])


class Bandwidth:
    """All limits of the agent, in bytes per second; 0 is no limit. Of those that hold at a time the smallest counts.

    `agent_rate` and `endpoint_rates` always hold, `timed` at their hours of local time. `set_limit` replaces what the
    settings say, from any thread, also while bodies are being sent.
    """

    def __init__(
        self,
        agent_rate: float = 0.0,
        endpoint_rates: Mapping[str, float] | None = None,
        timed: Iterable[TimedLimit] = (),
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        local: Callable[[float], time.struct_time] = time.localtime,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._local = local
        self._by_hand: dict[str | None, float] = {}
        self._buckets: dict[str | None, TokenBucket] = {}
        self.use(agent_rate, endpoint_rates or {}, timed)

    def use(self, agent_rate: float, endpoint_rates: Mapping[str, float], timed: Iterable[TimedLimit]) -> None:
        """What the settings say from now on; what was set by hand stays, of the endpoints that are still there."""
        timed = tuple(timed)
        always: dict[str | None, float] = {None: agent_rate}
        always.update(endpoint_rates)
        self._timed = {name: [limit for limit in timed if limit.endpoint == name] for name in always}
        self._always = always
        for name in always.keys() - self._buckets.keys():
            self._buckets[name] = TokenBucket(self._rate_of(name), monotonic=self._monotonic)
        for name in self._by_hand.keys() - always.keys():
            del self._by_hand[name]

    def throttle(self, endpoint: str) -> Throttle:
        """What the uploads to this endpoint have to ask. The agent's own bucket comes last: it is the scarcer one."""
        return Throttle(self._buckets[endpoint], self._buckets[None])

    def rate(self, endpoint: str | None = None) -> float:
        """The limit of the endpoint alone, or of the whole agent, at this moment; 0: none."""
        return self._buckets[endpoint].rate_bytes_per_second

    def configured(self, endpoint: str | None = None) -> float:
        """What the settings say for all hours; 0: no limit."""
        return self._always[endpoint]

    @property
    def by_hand(self) -> dict[str | None, float]:
        """What `set_limit` has set, by endpoint (`None`: the whole agent)."""
        return dict(self._by_hand)

    def set_limit(self, rate_bytes_per_second: float | None, endpoint: str | None = None) -> None:
        """Replaces what the settings say, timetable included, for the endpoint or (`None`) the whole agent.

        0 is no limit; `None` goes back to the settings. Raises `KeyError` for an endpoint there is not, `ValueError`
        for a negative rate.
        """
        if endpoint not in self._always:
            raise KeyError(endpoint)
        if rate_bytes_per_second is None:
            self._by_hand.pop(endpoint, None)
        elif rate_bytes_per_second < 0:
            raise ValueError("a rate is not negative")
        else:
            self._by_hand[endpoint] = rate_bytes_per_second

    def _rate_of(self, name: str | None) -> Callable[[], float]:
        def rate() -> float:
            by_hand = self._by_hand.get(name)
            if by_hand is not None:
                return by_hand
            timed = self._timed.get(name)  # an endpoint that went may still have an upload that ends
            return smallest((self._always.get(name, 0.0), rate_at(timed, self._clock(), self._local) if timed else 0.0))

        return rate
