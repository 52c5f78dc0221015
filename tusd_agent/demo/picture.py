"""How far it has come, as values: what `drawing` draws and `plain` writes, put together from what the agent says."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ..control.replies import InFlight, JobReply

RATE_WINDOW_SECONDS = 3.0
ON_ITS_WAY = frozenset({"pending", "uploading", "delivered", "disposing"})
"""The states of a job, as the agent tells them, in which it goes on by itself."""


class Stand(StrEnum):
    """Where a file stands, in a spectator's words."""

    SETTLING = "settling"
    """The agent waits whether somebody goes on writing to it."""

    WAITING = "waiting"
    UPLOADING = "uploading"
    ARRIVED = "arrived"
    LEFT = "left"
    """The agent has given it up, or waits for a person: it will not arrive by itself."""


@dataclass(frozen=True, slots=True)
class Line:
    """One file. `seconds`: from the moment the agent took it to its arrival. `why`: what keeps it, "" for nothing."""

    path: str
    size_bytes: int
    sent_bytes: int
    stand: Stand
    rate_bytes_per_second: float = 0.0
    eta_seconds: float | None = None
    seconds: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """All files at one moment, and the rate of all of them together over the last few seconds."""

    caption: str
    lines: tuple[Line, ...]
    rate_bytes_per_second: float

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(line.size_bytes for line in self.lines)

    @property
    def sent_bytes(self) -> int:
        """Of all files, each counted once."""
        return sum(line.sent_bytes for line in self.lines)

    @property
    def arrived(self) -> int:
        """How many files have arrived."""
        return sum(line.stand is Stand.ARRIVED for line in self.lines)

    @property
    def over(self) -> bool:
        """Whether nothing more will happen by itself."""
        return all(line.stand in {Stand.ARRIVED, Stand.LEFT} for line in self.lines)

    @property
    def eta_seconds(self) -> float | None:
        """Until all have arrived, at the present rate; None while nothing moves."""
        left_bytes = self.size_bytes - self.sent_bytes
        if left_bytes == 0:
            return 0.0
        return left_bytes / self.rate_bytes_per_second if self.rate_bytes_per_second > 0 else None


@dataclass(slots=True)
class Pace:
    """The rate at which a growing sum grows, over the last few seconds. Instants are monotonic seconds."""

    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    def at(self, now: float, sum_bytes: int) -> float:
        """Bytes per second, now that the sum is `sum_bytes`; 0 where it has shrunk."""
        self._marks.append((now, sum_bytes))
        while len(self._marks) > 2 and now - self._marks[0][0] > RATE_WINDOW_SECONDS:
            self._marks.popleft()
        began_at, began_bytes = self._marks[0]
        return max(0.0, (sum_bytes - began_bytes) / (now - began_at)) if now > began_at else 0.0


def lines_of(sizes: Mapping[str, int], jobs: Iterable[JobReply], in_flight: Iterable[InFlight]) -> tuple[Line, ...]:
    """A line for each of the files that were dropped (`sizes`: bytes by path), in their order."""
    by_path = {job["relative_path"]: job for job in jobs}
    flights = {flight["id"]: flight for flight in in_flight}
    return tuple(_line(path, size, by_path.get(path), flights) for path, size in sizes.items())


def _line(path: str, size_bytes: int, job: JobReply | None, flights: Mapping[int, InFlight]) -> Line:
    if job is None:
        return Line(path, size_bytes, 0, Stand.SETTLING)
    if job["state"] == "done":
        seconds = (job["finished_at"] or job["created_at"]) - job["created_at"]
        return Line(path, size_bytes, size_bytes, Stand.ARRIVED, seconds=seconds)
    why = job["reason"] or job["last_error"] or ""
    if (flight := flights.get(job["id"])) is not None:
        return flying(path, flight, why)
    if job["state"] in ON_ITS_WAY:
        return Line(path, size_bytes, min(job["offset_bytes"], size_bytes), Stand.WAITING, why=why)
    return Line(path, size_bytes, 0, Stand.LEFT, why=f"{job['state']}: {why}" if why else job["state"])


def flying(path: str, flight: InFlight, why: str = "") -> Line:
    """The line of a file that a worker has in its hands."""
    return Line(
        path,
        flight["size_bytes"],
        flight["offset_bytes"],
        Stand.UPLOADING,
        flight["rate_bytes_per_second"],
        flight["eta_seconds"],
        why=why,
    )


def size_text(size_bytes: float) -> str:
    """``"104.9 MiB"``: powers of 1024, as `tusd-agent status` has them, one decimal; plain bytes below 1 KiB."""
    if size_bytes < 1024:
        return f"{size_bytes:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        size_bytes /= 1024
        if size_bytes < 1023.95:
            return f"{size_bytes:.1f} {unit}"
    return f"{size_bytes / 1024:.1f} TiB"


def part_text(part_bytes: int, size_bytes: int) -> str:
    """``"99.9 of 200.0 MiB"``, or the size alone when nothing is missing or nothing has come yet."""
    size = size_text(size_bytes)
    if part_bytes in {0, size_bytes}:
        return size
    part, unit = size_text(part_bytes).split()
    return f"{part} of {size}" if size.endswith(f" {unit}") else f"{part} {unit} of {size}"


def mebibytes_text(size_bytes: int) -> str:
    """``"99.94 MiB"``: fine enough to tell a cut and where it goes on from apart."""
    return f"{size_bytes / (1 << 20):.2f} MiB"


def left_text(seconds: float | None) -> str:
    """``"0:07"`` or ``"1:02:03"``; dashes when nobody knows."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def count_text(count: int, noun: str) -> str:
    """``"1 file"``, ``"2 files"``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
