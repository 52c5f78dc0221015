"""A file of our own, written again and again: as long as its events come back, those of others do too.

Threads that read events can go deaf while they look alive. Where a canary is overdue the watcher is built anew.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

INTERVAL_SECONDS = 60.0
PATIENCE_SECONDS = 15.0
# After a stop of the whole process (SIGSTOP, a suspended machine) it looks overdue before anybody could hear it.
_SECOND_LOOK_SECONDS = 2.0


class Canary:
    """The canary below `folder`. `now` is monotonic; `heard` may be called by any thread, the rest by one."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self.directory = folder / "canary"
        self._file = self.directory / "file"
        self.heard_at: float | None = None
        """When it last came back, seconds since the epoch."""
        self._clock = clock
        self._due = 0.0
        self._overdue_at: float | None = None
        self._looked_twice = False

    def prepare(self) -> None:
        """Makes its directory; raises `OSError`."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def heard(self) -> None:
        """Its event came."""
        self._overdue_at = None
        self.heard_at = self._clock()

    def restart(self, now: float) -> None:
        """The watcher is a new one: what was sent through the old one counts no more."""
        self._overdue_at = None
        self._looked_twice = False
        self._due = now

    def fly(self, now: float) -> bool:
        """Sends it if it is time; returns whether one that was sent is lost. Raises `OSError` when it can't be sent."""
        if self._overdue_at is not None:
            if now < self._overdue_at:
                return False
            if self._looked_twice:
                return True
            self._looked_twice = True
            self._overdue_at = now + _SECOND_LOOK_SECONDS
            return False
        if now >= self._due:
            self._looked_twice = False
            self._due = now + INTERVAL_SECONDS
            # Before it is sent: it may be heard before the next line here.
            self._overdue_at = now + PATIENCE_SECONDS
            try:
                self._write()
            except OSError:
                # One that was never sent can't be lost.
                self._overdue_at = None
                raise
        return False

    def _write(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        os.close(os.open(self._file, flags, 0o600))

    def next_due(self) -> float:
        """When `fly` is to be called again."""
        overdue_at = self._overdue_at
        return self._due if overdue_at is None else overdue_at

    def remove(self) -> None:
        """Takes its file and directory away again."""
        with suppress(OSError):
            self._file.unlink(missing_ok=True)
            self.directory.rmdir()
