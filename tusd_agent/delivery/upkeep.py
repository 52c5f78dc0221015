"""What the queue needs beside the sending: who has waited for too long is given up, and clock steps do no harm."""

import logging
import threading
from collections.abc import Callable, Iterable

from ..jobs.claims import Claims
from ..jobs.story import about
from .policy import LONGEST_WAIT_SECONDS
from .rules import FolderRules

log = logging.getLogger("tusd_agent.delivery")

CLOCK_STEP_SECONDS = 30.0
"""By so much must wall clock and monotonic clock disagree before it counts as the clock having been set."""


class Upkeep:
    """A step of it costs next to nothing while nothing is due. Safe for use by several threads.

    `is_stopping()` ends what takes long.
    """

    def __init__(
        self,
        claims: Claims,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._claims = claims
        self._clock = clock
        self._monotonic = monotonic
        self._is_stopping = is_stopping
        self._lock = threading.Lock()
        self._limits: dict[str, float] = {}
        self._give_up_at = 0.0
        self._asked = 0
        self._wall_offset = 0.0

    def use(self, folders: Iterable[FolderRules]) -> None:
        """From now on these say how long their jobs are waited for."""
        self._limits = {rules.path: rules.give_up_after_seconds for rules in folders if rules.give_up_after_seconds}
        self._look_again()

    def put_back(self, rules: FolderRules) -> None:
        """A job of that folder may be waiting again, and may have waited for too long by now."""
        if rules.give_up_after_seconds:
            self._look_again()

    def _look_again(self) -> None:
        with self._lock:
            self._asked += 1
            self._give_up_at = 0.0

    @property
    def next_at(self) -> float | None:
        """When a step is due for what waits now, in seconds since the epoch; `None`: it is waited for for ever."""
        return self._give_up_at if self._limits else None

    def step(self) -> None:
        """Does what is due. Raises what the database raises."""
        now = self._clock()
        self._notice_clock_steps(now)
        asked, limits = self._asked, self._limits
        if not limits or now < self._give_up_at:
            return
        next_at = self._give_up(limits, now)
        with self._lock:
            if asked == self._asked:  # nobody has asked for another look meanwhile
                self._give_up_at = next_at

    def _give_up(self, limits: dict[str, float], now: float) -> float:
        """Fails the jobs that have waited for longer than their folder's settings allow; returns when it is due."""
        next_at = now + min(limits.values())  # what is made from now on is younger
        for folder, limit_seconds in limits.items():
            words = f"it waited for longer than {limit_seconds:g} s (give_up_after_seconds)"
            for job in self._claims.too_old(folder, now - limit_seconds, now, words):
                about(log, job).error("failed: %s", job.last_error)
            oldest_at = self._claims.oldest_at(folder)
            if oldest_at is not None:
                next_at = min(next_at, oldest_at + limit_seconds)
        return next_at

    def _notice_clock_steps(self, now: float) -> None:
        """Instants in rows are wall clock: after it was set back, what was deferred must not wait for it to catch up.

        Found at the first step too, for the clock may have been set while the agent was not running.
        """
        offset = now - self._monotonic()
        with self._lock:
            stepped = abs(offset - self._wall_offset) > CLOCK_STEP_SECONDS
            self._wall_offset = offset
        if stepped:
            self._claims.clamp(now, LONGEST_WAIT_SECONDS, self._is_stopping)
