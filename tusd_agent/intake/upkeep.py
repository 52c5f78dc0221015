"""The watcher's threads, kept alive: started, found dead by their state and deaf by the canary, and built anew."""

import logging

from .canary import Canary
from .watcher import Watcher, WatchFailed

log = logging.getLogger("tusd_agent.intake")

SHORTEST_RETRY_SECONDS = 60.0
LONGEST_RETRY_SECONDS = 3600.0
"""What could not be watched is tried again, each time after twice as long: walking a large tree in vain costs much."""
SHORTEST_LIFE_SECONDS = 1.0
"""Threads that end sooner than this after their start wait until it is over for the next one, each time twice as long:
every start has all folders scanned."""

NEVER = float("inf")


class Upkeep:
    """Starts and stops the watcher. `now` is monotonic. Without a canary, deaf threads are found only when they end."""

    def __init__(self, watcher: Watcher, canary: Canary | None) -> None:
        self._watcher = watcher
        self._canary = canary
        self._canary_problem: str | None = None
        self._canary_at = 0.0
        self._is_up = False
        self._start_at = 0.0
        self._started_at = 0.0
        self._life_seconds = SHORTEST_LIFE_SECONDS
        self.restarts = 0
        """How often the threads were found dead or deaf."""
        self.problem: str | None = None
        """Why there are no events, a sentence for the operator; `None` when there are."""

    @property
    def heard_at(self) -> float | None:
        """When the last canary came back, seconds since the epoch."""
        return None if self._canary is None else self._canary.heard_at

    def keep(self, now: float) -> bool:
        """Looks at the threads and starts them if need be; returns whether all folders are to be watched anew."""
        was_up = self._is_up
        if was_up and (not self._watcher.alive or self._canary_lost(now)):
            self._give_up(now)
        if not self._is_up and now >= self._start_at:
            self._start(now)
            return self._is_up or was_up
        return was_up and not self._is_up

    def next_due(self) -> float:
        """When `keep` is to be called again."""
        if not self._is_up:
            return self._start_at
        if self._canary is None:
            return NEVER
        return self._canary.next_due() if self._watcher.is_watched(str(self._canary.directory)) else self._canary_at

    def stop(self) -> None:
        """Ends the threads, and takes the canary's directory away."""
        self._watcher.stop()
        self._is_up = False
        if self._canary is not None:
            self._canary.remove()

    def _give_up(self, now: float) -> None:
        self._is_up = False
        self.restarts += 1
        self.problem = "the threads that read file events ended; they are started again soon"
        log.warning("File events are no longer read: the watcher is built anew and every folder is scanned")
        if now - self._started_at > LONGEST_RETRY_SECONDS:
            self._life_seconds = SHORTEST_LIFE_SECONDS
        self._start_at = self._started_at + self._life_seconds
        self._life_seconds = min(2 * self._life_seconds, LONGEST_RETRY_SECONDS)
        self._watcher.stop()

    def _start(self, now: float) -> None:
        try:
            self._watcher.start()
        except WatchFailed as failed:
            self._start_at = now + SHORTEST_RETRY_SECONDS
            if self.problem != str(failed):
                log.warning("%s", failed)
            self.problem = str(failed)
            return
        self._is_up = True
        self._started_at = now
        self.problem = None
        if self._canary is not None:
            self._release(self._canary, now)

    def _release(self, canary: Canary, now: float) -> None:
        self._canary_at = now + SHORTEST_RETRY_SECONDS
        try:
            canary.prepare()
            self._watcher.watch_directory(str(canary.directory), canary.heard)
        except (OSError, WatchFailed) as failed:
            if self._canary_problem != str(failed):
                log.warning("There is no canary for file events: %s", failed)
            self._canary_problem = str(failed)
            return
        self._canary_problem = None
        canary.restart(now)

    def _canary_lost(self, now: float) -> bool:
        canary = self._canary
        if canary is None:
            return False
        try:
            if self._watcher.is_watched(str(canary.directory)):
                return canary.fly(now)
        except FileNotFoundError:
            log.debug("Somebody moved the canary's directory away")
        except OSError as error:
            # A full disk says nothing of the threads.
            log.debug("The canary can't fly: %s", error)
            return False
        if self._canary_at <= now:
            self._release(canary, now)
        return False
