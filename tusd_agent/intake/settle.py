"""When a file is complete: it has been quiet for long enough. Pure: no disk, no clock.

No event says that a file is complete: one that is renamed or linked into place is never closed, and one that is
closed may be opened again (inotify(7)). So a file settles: it is ready when for `settle_seconds` no event named it
and ``stat(2)`` kept saying the same, ctime included (a copy that restores the mtime can't restore that).
"""

import heapq
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from itertools import count, islice

from ..jobs.model import Fingerprint, Place


class Observation(Enum):
    """What follows from a look at a file that settles."""

    READY = "ready"
    NOT_YET = "not yet"
    GONE = "gone"


@dataclass(slots=True)
class _Quiet:
    first_at: float
    since: float
    fingerprint: Fingerprint | None


class Settling:
    """The files of one folder that are not quiet yet. Instants are monotonic seconds.

    Kept in the order of their quiet times, which all last equally long: noting, looking and taking out are O(1). A file
    that finds no rest for `growing_after_seconds` is kept all the same, and is among the `growing`.
    """

    def __init__(self, settle_seconds: float, growing_after_seconds: float = float("inf")) -> None:
        self._settle_seconds = settle_seconds
        self._growing_after_seconds = growing_after_seconds
        self._quiet: OrderedDict[Place, _Quiet] = OrderedDict()
        self.growing: dict[Place, float] = {}
        """The files that never rest, and since when they have been here."""

    def __len__(self) -> int:
        return len(self._quiet)

    def __contains__(self, place: Place) -> bool:
        return place in self._quiet

    def note(self, place: Place, now: float) -> None:
        """Something happened to the file: its quiet time begins anew."""
        quiet = self._quiet.get(place)
        if quiet is None:
            self._quiet[place] = _Quiet(now, now, None)
            return
        quiet.since = now
        self._quiet.move_to_end(place)
        if now - quiet.first_at >= self._growing_after_seconds:
            self.growing.setdefault(place, quiet.first_at)

    def observe(self, place: Place, fingerprint: Fingerprint | None, now: float) -> Observation:
        """What ``stat`` says of the file now (`None`: it is gone, and is forgotten).

        The first look at a file only says what the next one is compared with. One that is ready is kept until it is
        noted again, as one that turns out to be in use, or forgotten.
        """
        if fingerprint is None:
            self.forget(place)
            return Observation.GONE
        if place not in self._quiet:
            self.note(place, now)
        quiet = self._quiet[place]
        if quiet.fingerprint != fingerprint:
            quiet.fingerprint = fingerprint
            self.note(place, now)
        return Observation.NOT_YET if now < quiet.since + self._settle_seconds else Observation.READY

    def forget(self, place: Place) -> None:
        """The file needs no more looks."""
        self._quiet.pop(place, None)
        self.growing.pop(place, None)

    def due(self, now: float, limit: int) -> list[Place]:
        """At most `limit` files whose quiet time is over, unless a look says otherwise; the longest quiet first."""
        due = []
        for place, quiet in islice(self._quiet.items(), limit):
            if now < quiet.since + self._settle_seconds:
                break
            due.append(place)
        return due

    def next_due(self) -> float | None:
        """When the next quiet time will be over; `None` when nothing settles."""
        for quiet in self._quiet.values():
            return quiet.since + self._settle_seconds
        return None

    def left_seconds(self, place: Place, now: float) -> float | None:
        """How long the file must stay quiet from now; `None` when it does not settle. Any thread may ask."""
        quiet = self._quiet.get(place)
        return None if quiet is None else max(0.0, quiet.since + self._settle_seconds - now)


class Later:
    """Files to be looked at again at an instant of their own. Monotonic seconds; a place counts once."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Place]] = []  # the number only keeps places from being compared
        self._numbers = count()
        self._places: set[Place] = set()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, place: Place, due: float) -> None:
        """Once more at `due`; nothing changes for a place that waits already."""
        if place not in self._places:
            self._places.add(place)
            heapq.heappush(self._heap, (due, next(self._numbers), place))

    def take_due(self, now: float, limit: int) -> list[Place]:
        """Takes out at most `limit` places whose instant has come, the earliest first."""
        due: list[Place] = []
        while self._heap and self._heap[0][0] <= now and len(due) < limit:
            _, _, place = heapq.heappop(self._heap)
            self._places.discard(place)
            due.append(place)
        return due

    def next_due(self) -> float | None:
        """The earliest instant; `None` when nothing waits."""
        return self._heap[0][0] if self._heap else None
