"""Threads that repeat a step, and wait in between until something is new or due."""

import threading
import time
from collections.abc import Callable

from ..pulse import Pulses


class Crew:
    """As many threads as are wanted, which may change. `step` does what there is to do, by any of them.

    It returns 0 when it did something: it is called again at once. Otherwise the thread waits for so many seconds
    (`None`: for ever) or until `wake`. `changed` is the condition that the owner shares with them, held by nobody while
    a step is taken. A step must not raise. `pulses` tells which of them still do something.
    """

    def __init__(
        self, changed: threading.Condition, step: Callable[[], float | None], name: str, pulses: Pulses
    ) -> None:
        self._changed = changed
        self._step = step
        self._name = name
        self._pulses = pulses
        self._threads: list[threading.Thread] = []
        self._started = False
        self._wanted = 0
        self._number = 0
        self._news = 0
        self.stopping = threading.Event()

    def wake(self) -> None:
        """There may be something to do."""
        with self._changed:
            self._news += 1
            self._changed.notify_all()

    def start(self) -> None:
        """Starts as many as are wanted, and from now on as soon as more are."""
        with self._changed:
            self._started = True
            self.want(self._wanted)

    def want(self, threads: int) -> None:
        """So many there are to be; of too many each ends before its next step."""
        with self._changed:
            self._wanted = threads
            while self._started and not self.stopping.is_set() and len(self._threads) < threads:
                thread = threading.Thread(target=self._loop, name=f"{self._name}-{self._number}", daemon=True)
                thread.start()
                self._number += 1
                self._threads.append(thread)

    def stop(self) -> None:
        """Lets each end before its next step; `join` waits for that."""
        with self._changed:
            self.stopping.set()
            self._changed.notify_all()

    def join(self, timeout_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> bool:
        """Waits until all have ended, at most so long; returns whether they have."""
        deadline = monotonic() + timeout_seconds
        with self._changed:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _loop(self) -> None:
        while not self.stopping.is_set() and not self._is_too_many():
            self._pulses.beat()
            with self._changed:
                seen = self._news
            wait_seconds = self._step()
            if wait_seconds == 0:
                continue
            with self._changed:
                if self._news == seen and not self.stopping.is_set():
                    self._changed.wait(self._pulses.rest(wait_seconds))
        self._pulses.end()

    def _is_too_many(self) -> bool:
        """Whether the calling thread is to end: there are more than are wanted."""
        with self._changed:
            if len(self._threads) <= self._wanted or self.stopping.is_set():
                return False
            self._threads.remove(threading.current_thread())
            self._changed.notify()  # what this one was woken for is another's now
            return True
