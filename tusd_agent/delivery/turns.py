"""Whose turn it is: priorities, fair turns between endpoints, folders, new and tried jobs, and room for small files.

Within an endpoint nothing is counted in jobs waiting: whoever has a million of them gets the next turn when all others
that have something ready had theirs.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from ..jobs.model import Lane
from ..jobs.waiting import Head


def kept_for_small(concurrency: int) -> int:
    """Of so many uploads at a time, how many are for small files only: one in four, and one where there are two or
    three; none where there is only one, or large files would never be sent."""
    return max(1, concurrency // 4) if concurrency > 1 else 0


def admits(limit: int, in_flight: int, large_in_flight: int, *, large: bool) -> bool:
    """Whether one more job, large or not, may join those in flight where `limit` may be."""
    if in_flight >= limit:
        return False
    return not large or large_in_flight < limit - kept_for_small(limit)


@dataclass(slots=True)
class Turns:
    """Remembers who was served last. Not thread-safe: its owner holds a lock."""

    _count: int = 0
    _endpoints: dict[str, int] = field(default_factory=dict)
    _lanes: dict[Lane, int] = field(default_factory=dict)
    _tried: dict[Lane, bool] = field(default_factory=dict)

    def in_order(
        self,
        heads: Iterable[Head],
        priority: Callable[[str], int],
        in_flight: Callable[[str], int],
        probing: Collection[str] = (),
    ) -> list[Head]:
        """The heads, whose turn it is first; `priority` of a folder, `in_flight` of an endpoint.

        First the folder's priority. Then the endpoint with the fewest in flight, of those the one served longest ago;
        then the folder served longest ago; within a lane new and tried jobs alternate. Endpoints of `probing` are
        tried with a job that was never tried where there is one: a tried one may be what the server does not like.
        """

        def key(head: Head) -> tuple[float, ...]:
            lane, kind = head.lane, head.kind
            return (
                -priority(lane.folder),
                in_flight(lane.endpoint),
                self._endpoints.get(lane.endpoint, 0),
                kind.tried if lane.endpoint in probing else 0,
                self._lanes.get(lane, 0),
                self._tried.get(lane) is kind.tried,
                head.ready_at,
            )

        return sorted(heads, key=key)

    def served(self, head: Head) -> None:
        """A job of this lane and kind has had its turn."""
        self._count += 1
        self._endpoints[head.lane.endpoint] = self._lanes[head.lane] = self._count
        self._tried[head.lane] = head.kind.tried
