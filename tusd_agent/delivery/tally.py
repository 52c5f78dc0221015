"""What the delivery has done since it began: numbers that only grow, for whoever measures rates of them.

Every label is one of few: names of endpoints and folders, and the causes that `policy` and the worker know.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

DURATION_BOUNDS_SECONDS = (0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0)
"""The upper bounds of the histogram's buckets: from a small file next door to a large one over a thin line."""


@dataclass(slots=True)
class Durations:
    """A histogram. `counts` has one number more than there are bounds, for what is longer than all of them."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BOUNDS_SECONDS) + 1))
    sum_seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """One more of this length; a length that is a bound belongs below it."""
        self.counts[bisect_left(DURATION_BOUNDS_SECONDS, seconds)] += 1
        self.sum_seconds += seconds

    def copy(self) -> "Durations":
        """As it is now."""
        return Durations(list(self.counts), self.sum_seconds)


@dataclass(frozen=True, slots=True)
class Totals:
    """A tally at one moment. Keys are names of endpoints or paths of folders, and causes beside them.

    `sent_bytes` were handed to the network, what was sent again counted again; `arrived_bytes` are the sizes of the
    files that arrived.
    """

    attempts: Mapping[str, int]
    errors: Mapping[tuple[str, str], int]
    durations: Mapping[str, Durations]
    sent_bytes: Mapping[str, int]
    arrived_bytes: Mapping[str, int]
    disposals: Mapping[str, int]
    disposal_errors: Mapping[tuple[str, str], int]


class Tally:
    """Counts what the workers tell it. Safe for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: Counter[str] = Counter()
        self._errors: Counter[tuple[str, str]] = Counter()
        self._durations: dict[str, Durations] = {}
        self._sent_bytes: Counter[str] = Counter()
        self._arrived_bytes: Counter[str] = Counter()
        self._disposals: Counter[str] = Counter()
        self._disposal_errors: Counter[tuple[str, str]] = Counter()

    def begun(self, endpoint: str) -> None:
        """An attempt to upload a file."""
        with self._lock:
            self._attempts[endpoint] += 1

    def erred(self, endpoint: str, cause: str) -> None:
        """An attempt that did not bring the file there; `cause` in a few words."""
        with self._lock:
            self._errors[endpoint, _label(cause)] += 1

    def arrived(self, endpoint: str, size_bytes: int, seconds: float) -> None:
        """A file is on the server; its last attempt took so long."""
        with self._lock:
            self._durations.setdefault(endpoint, Durations()).add(seconds)
            self._arrived_bytes[endpoint] += size_bytes

    def sent(self, endpoint: str, sent_bytes: int) -> None:
        """So many bytes of bodies were handed to the network."""
        with self._lock:
            self._sent_bytes[endpoint] += sent_bytes

    def disposed(self, folder: str) -> None:
        """What is to follow an upload was carried out, or was void."""
        with self._lock:
            self._disposals[folder] += 1

    def disposal_erred(self, folder: str, cause: str) -> None:
        """It could not be carried out now."""
        with self._lock:
            self._disposal_errors[folder, _label(cause)] += 1

    def totals(self) -> Totals:
        """All of it, now."""
        with self._lock:
            return Totals(
                attempts=self._attempts.copy(),
                errors=self._errors.copy(),
                durations={endpoint: durations.copy() for endpoint, durations in self._durations.items()},
                sent_bytes=self._sent_bytes.copy(),
                arrived_bytes=self._arrived_bytes.copy(),
                disposals=self._disposals.copy(),
                disposal_errors=self._disposal_errors.copy(),
            )


def _label(cause: str) -> str:
    return cause.replace(" ", "_")
