"""A job in a worker's hands: its live figures, and the flag that takes it away from the worker."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..jobs.model import Job

RATE_WINDOW_SECONDS = 5.0

MOVING_SECONDS = 10.0
"""A body that the server has taken for so long says that it works, however long it may take to the end."""


@dataclass(frozen=True, slots=True)
class FlightFigures:
    """One job in flight, at one moment. `rate_bytes_per_second` is over the last few seconds."""

    job: Job
    phase: str
    offset_bytes: int
    rate_bytes_per_second: float
    started_at: float


class Flight:
    """Written by one worker, read by whoever asks for the status; `stop` may be set by anybody."""

    def __init__(
        self,
        job: Job,
        started_at: float,
        monotonic: Callable[[], float] = time.monotonic,
        stop: threading.Event | None = None,
        on_moving: Callable[["Flight"], object] = lambda flight: None,
    ) -> None:
        """`on_moving(flight)` is called once, when its body has been moving for `MOVING_SECONDS`."""
        self.job = job
        self.claim = job.id, job.claim_id
        self.stop = stop or threading.Event()
        self.phase = "starting"
        self._owed: list[Callable[[Job], Job]] = []
        self._started_at = started_at
        self._began_at = monotonic()
        self._monotonic = monotonic
        self._on_moving = on_moving
        self._moving_since: float | None = None
        self._is_moving = False
        self._offset_bytes = self._sent_up_to = job.offset_bytes
        self.began_at_bytes: int | None = None  # what the server had at the first answer of this claim
        self.sent_bytes = 0
        """So many have been handed to the network in this claim, those sent again counted again."""
        self._marks: deque[tuple[float, int]] = deque()

    def tell(self, *moves: Callable[[Job], Job]) -> None:
        """Moves the job's row, one move after the other; those that the database does not take are owed to it.

        So that on a full disk nothing is forgotten that cannot be asked for again: the URL of an upload just made, what
        was answered to the last byte, that everything has arrived.
        """
        self._owed = list(moves)
        self.pay()

    def pay(self) -> None:
        """Makes the moves that are owed. Raises what the database raises, and `StaleClaim`."""
        while self._owed:
            self.job = self._owed[0](self.job)
            del self._owed[0]

    @property
    def seconds(self) -> float:
        """How long ago the job was claimed."""
        return self._monotonic() - self._began_at

    def acknowledged(self, offset_bytes: int) -> None:
        """So many bytes the server says it has."""
        if self.began_at_bytes is None:
            self.began_at_bytes = self._sent_up_to = offset_bytes

    def at(self, offset_bytes: int) -> None:
        """So many bytes of the content have been handed to the network, those of earlier attempts included."""
        now = self._monotonic()
        if offset_bytes < self._offset_bytes:
            self._marks.clear()  # the server has less than was sent: a rate over that step would be a lie
        self.sent_bytes += max(0, offset_bytes - self._sent_up_to)
        self._sent_up_to = self._offset_bytes = offset_bytes
        if not self._marks or now - self._marks[-1][0] >= 0.1:
            self._marks.append((now, offset_bytes))
        while len(self._marks) > 2 and now - self._marks[0][0] > RATE_WINDOW_SECONDS:
            self._marks.popleft()
        # Before there is an URL the server has said nothing: what moves then may be going nowhere.
        if self.sent_bytes and self.job.upload_url is not None and not self._is_moving:
            self._moving_since = now if self._moving_since is None else self._moving_since
            if now - self._moving_since >= MOVING_SECONDS:
                self._is_moving = True
                self._on_moving(self)

    def figures(self) -> FlightFigures:
        """The figures now."""
        marks = list(self._marks)
        rate = 0.0
        if marks:
            # At least a second: what the kernel's buffers take at once is no rate.
            elapsed = max(self._monotonic() - marks[0][0], 1.0)
            rate = (self._offset_bytes - marks[0][1]) / elapsed
        return FlightFigures(self.job, self.phase, self._offset_bytes, max(rate, 0.0), self._started_at)
