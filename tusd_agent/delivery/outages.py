"""What the log says of endpoints in trouble: the first sign at once, then at growing intervals, and when it is over.

An endpoint that is down for an hour with ten thousand jobs waiting is a few lines, and so is one that comes and goes.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

log = logging.getLogger("tusd_agent.delivery")

FIRST_INTERVAL_SECONDS = 60.0
LONGEST_INTERVAL_SECONDS = 6 * 3600.0
LULL_SECONDS = 600.0
"""Trouble that begins anew sooner than this after it was over is the same trouble still."""


@dataclass(slots=True)
class Spell:
    """One trouble, from its first sign until it has been away for `LULL_SECONDS`. Instants are monotonic."""

    began_at: float
    said_at: float
    interval_seconds: float = FIRST_INTERVAL_SECONDS
    times: int = 1
    """How often it began within this spell."""
    over_at: float | None = None
    said_since_over: bool = True
    is_new: bool = True
    """Whether this is the first that is said of it."""

    def is_on(self, now: float) -> bool:
        """Whether it lasts, or may be back at any moment."""
        return self.over_at is None or now - self.over_at < LULL_SECONDS

    def again(self, now: float) -> bool:
        """Another sign of it; returns whether to say so."""
        if self.over_at is not None:
            self.times += 1
            self.over_at, self.said_since_over = None, False
        if now - self.said_at < self.interval_seconds:
            return False
        self.said_at, self.said_since_over = now, True
        self.interval_seconds = min(2 * self.interval_seconds, LONGEST_INTERVAL_SECONDS)
        return True

    def over(self, now: float) -> bool:
        """It is over, for now; returns whether to say so: what was not said to be back need not go."""
        was_on, self.over_at = self.over_at is None, now
        return was_on and self.said_since_over


_DATABASE = ""
"""Its key among the endpoints, of which none has an empty name."""


class Outages:
    """The endpoints, and the database, in trouble. Safe for use by several threads.

    `waiting(endpoint)` says how many jobs wait for one; asked only for a line that is written.
    """

    def __init__(
        self, waiting: Callable[[str], int], clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._waiting = waiting
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._spells: dict[str, Spell] = {}

    def is_on(self, endpoint: str) -> bool:
        """Whether its trouble is known: what single jobs meet there says nothing new."""
        with self._lock:
            spell = self._spells.get(endpoint)
            return spell is not None and spell.is_on(self._monotonic())

    def failed(self, endpoint: str, reason: str, words: str) -> None:
        """Its jobs have to wait."""
        spell = self._sign(endpoint)
        if spell is None:
            return
        fields = {"endpoint": endpoint}
        if spell.is_new:
            log.warning("endpoint %s: its jobs wait (%s): %s", endpoint, reason, words, extra=fields)
            return
        log.warning(
            "endpoint %s: %s %s, %s jobs wait, %s: %s",
            endpoint,
            "still" if spell.times == 1 else f"for the {spell.times}th time",
            reason,
            f"{self._waiting(endpoint):,}",
            self._since(spell),
            words,
            extra=fields,
        )

    def worked(self, endpoint: str) -> None:
        """It did as it should."""
        spell = self._over(endpoint)
        if spell is not None:
            log.info("endpoint %s: works again after %s", endpoint, self._span(spell), extra={"endpoint": endpoint})

    def database_failed(self, problem: str, retry_seconds: float) -> None:
        """A worker could not write what it has to."""
        spell = self._sign(_DATABASE)
        if spell is not None:
            since = "" if spell.is_new else f", {self._since(spell)}"
            log.error("%s%s; tried again every %.0f s", problem, since, retry_seconds)

    def database_works(self) -> None:
        """A worker could."""
        spell = self._over(_DATABASE) if self._spells.get(_DATABASE) else None
        if spell is not None:
            log.info("the database can be written again after %s", self._span(spell))

    def _sign(self, key: str) -> Spell | None:
        """Notes a sign of this trouble; returns how it stands where that is to be said."""
        now = self._monotonic()
        with self._lock:
            spell = self._spells.get(key)
            if spell is None or not spell.is_on(now):
                spell = self._spells[key] = Spell(now, now)
                return replace(spell)
            is_said = spell.again(now)
            return replace(spell, is_new=False) if is_said else None

    def _over(self, key: str) -> Spell | None:
        """Notes that it is over; returns how it stood where that is to be said."""
        with self._lock:
            spell = self._spells.get(key)
            return replace(spell) if spell is not None and spell.over(self._monotonic()) else None

    def _since(self, spell: Spell) -> str:
        began_at = datetime.fromtimestamp(self._clock() - (self._monotonic() - spell.began_at)).astimezone()
        return f"since {began_at.isoformat(timespec='seconds')} ({self._span(spell)})"

    def _span(self, spell: Spell) -> str:
        """``0:02:05``, ``2 days, 0:02:05``."""
        return str(timedelta(seconds=round(self._monotonic() - spell.began_at)))
