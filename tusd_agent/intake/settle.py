"""When a file is complete: it has been quiet for long enough. Pure: no disk, no clock.

No event says that a file is complete: one that is renamed or linked into place is never closed, and one that is
closed may be opened again (inotify(7)). So a file settles: it is ready when for `settle_seconds` no event named it
and ``stat(2)`` kept saying the same, ctime included (a copy that restores the mtime can't restore that).
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from ..jobs.model import Fingerprint, Place


class Observation(Enum):
    """What follows from a look at a file that settles."""

    READY = "ready"
    NOT_YET = "not yet"
    GONE = "gone"


@dataclass(slots=True)
class _Quiet:
    since: float
    fingerprint: Fingerprint | None


class Settling:
    """The files of one folder that are not quiet yet. Instants are monotonic seconds.

    Kept in the order of their quiet times, which all last equally long: noting, looking and taking out are O(1).
    """

    def __init__(self, settle_seconds: float) -> None:
        self._settle_seconds = settle_seconds
        self._quiet: OrderedDict[Place, _Quiet] = OrderedDict()

    def __len__(self) -> int:
        return len(self._quiet)

    def __contains__(self, place: Place) -> bool:
        return place in self._quiet

    def note(self, place: Place, now: float) -> None:
        """Something happened to the file: its quiet time begins anew."""
        quiet = self._quiet.get(place)
        if quiet is None:
            self._quiet[place] = _Quiet(now, None)
        else:
            quiet.since = now
            self._quiet.move_to_end(place)

    def observe(self, place: Place, fingerprint: Fingerprint | None, now: float) -> Observation:
        """What ``stat`` says of the file now (`None`: it is gone). One that is ready or gone is no longer kept.

        The first look at a file only says what the next one is compared with.
        """
        if fingerprint is None:
            self._quiet.pop(place, None)
            return Observation.GONE
        if place not in self._quiet:
            self.note(place, now)
        quiet = self._quiet[place]
        if quiet.fingerprint != fingerprint:
            quiet.fingerprint = fingerprint
            self.note(place, now)
        if now < quiet.since + self._settle_seconds:
            return Observation.NOT_YET
        del self._quiet[place]
        return Observation.READY

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
