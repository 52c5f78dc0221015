"""Signals that end the demonstration: a handler only notes them, the story looks at the note between its steps."""

import os
import signal
import time
from collections.abc import Callable
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONGEST_SLEEP_SECONDS = 0.1
ENDS_WITHIN_SECONDS = 5.0
"""So long a further signal is impatience; then something hangs, and it ends the program as if nobody listened."""


class Interrupted(Exception):
    """A signal asked for the end; `exit_code` is what shells expect of a program that it ended."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.exit_code = 128 + number


class Signals:
    """Within the context, SIGINT, SIGTERM and SIGHUP are noted, unless ignored, and told by `check` and `sleep`.

    No `threading.Event`: a handler that sets one while the main thread waits for it may find its lock taken.
    """

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._noted: int | None = None
        self._noted_at = 0.0
        self._monotonic = monotonic
        self._sleep = sleep
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Signals":
        for each in ENDING:
            if signal.getsignal(each) is not signal.SIG_IGN:  # as nohup and shells leave it behind
                self._before[each] = signal.signal(each, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for each, before in self._before.items():
            signal.signal(each, before)  # type: ignore[arg-type]  # what signal() returned

    def _note(self, number: int, _frame: FrameType | None) -> None:
        now = self._monotonic()
        if self._noted is None:
            self._noted, self._noted_at = number, now
        elif now - self._noted_at > ENDS_WITHIN_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def check(self) -> None:
        """Raises `Interrupted` when one of them has come."""
        if self._noted is not None:
            raise Interrupted(self._noted)

    def sleep(self, seconds: float) -> None:
        """Sleeps, and raises `Interrupted` soon after one of them comes."""
        until = self._monotonic() + seconds
        self.check()
        while (left := until - self._monotonic()) > 0:
            self._sleep(min(left, LONGEST_SLEEP_SECONDS))
            self.check()
