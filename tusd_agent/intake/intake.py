"""The intake: finds the files in the watched folders, waits until they are complete, and puts them into the queue.

Events, scans and the operator all only note paths; one thread looks at what was noted (`Intake.tick`). A file that
no event told of is found by the next scan: a lost event costs latency, never a file.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..jobs.folders import Folders
from ..jobs.ledger import Ledger
from ..jobs.model import shown
from ..pulse import Pulses
from .canary import Canary
from .doubts import Doubts, Stop
from .explain import Explanation, explain
from .folder import FolderState, WatchedFolder, WatcherHealth
from .follow import Clocks, FollowedFolder
from .presence import Presence
from .retiring import Keep, Retiring
from .scan import FolderUnavailable

log = logging.getLogger("tusd_agent.intake")

IDLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be watched, and how, from the next tick on."""

    folders: tuple[WatchedFolder, ...]
    rescan_interval_seconds: float
    keep: Keep | None
    taken_over: threading.Event = field(default_factory=threading.Event)


class Intake:
    """All watched folders. Safe for use by several threads, `tick` excepted: that is one thread's.

    `look_again_seconds`: how often each folder is looked at, to see whether it is there and still the same one.
    `retry_seconds`: how long to wait when the queue could not be written. `canary_folder`: a folder of the agent's own
    for the file by which deaf threads are found. `keep`: how long rows outlive their jobs (without: for ever). SIGIO
    must be ignored (`beneath.at_rest`).
    """

    def __init__(
        self,
        folders: Iterable[WatchedFolder],
        ledger: Ledger,
        *,
        memory: Folders,
        rescan_interval_seconds: float,
        canary_folder: Path | None = None,
        keep: Keep | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        look_again_seconds: float = 5.0,
        retry_seconds: float = 1.0,
    ) -> None:
        self._ledger = ledger
        self._memory = memory
        self._clock = clock
        self._monotonic = monotonic
        self._retry_seconds = retry_seconds
        self.doubts = Doubts(ledger, self.note, clock)
        self._followed = self._follow(folders, rescan_interval_seconds)
        self.pulses = Pulses(monotonic)
        self._presence = Presence(
            self._followed.values(),
            self.note,
            self._events_lost,
            look_again_seconds,
            Canary(canary_folder, clock) if canary_folder is not None else None,
            self.pulses.move_on,
        )
        self._retiring = Retiring(keep, list(self._followed.values()), clock)
        self._lock = threading.Lock()
        self._wanted: _Wanted | None = None
        self._paused_until = 0.0
        self._ledger_problem: str | None = None
        self._woken = threading.Event()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._states = [followed.state(None) for followed in self._followed.values()]
        self.looked_at = not self._followed
        """Whether every folder has been looked at once; before that, nothing can be said of them."""

    def start(self) -> None:
        """Starts the threads: watching and the first scan begin at once."""
        self._stop.clear()
        self._threads = [
            threading.Thread(target=self.run, args=(self._stop,), name="intake", daemon=True),
            threading.Thread(target=self.doubts.run, args=(self._stop,), name="intake-doubts", daemon=True),
            threading.Thread(target=self._retiring.run, args=(self._stop,), name="intake-retiring", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_seconds: float | None = None) -> bool:
        """Ends the threads and the watches; nothing is queued any more when it has returned `True`. Can be repeated.

        `False`: after that time a thread still hangs in a file system that does not answer.
        """
        self._stop.set()
        self._woken.set()
        self.doubts.wake()
        deadline = None if timeout_seconds is None else self._monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - self._monotonic()))
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        return not self._threads

    def use(
        self, folders: Iterable[WatchedFolder], *, rescan_interval_seconds: float, keep: Keep | None
    ) -> threading.Event:
        """Watches these folders from now on, instead of those before; what stays as it is is not disturbed.

        The next `tick` takes it over, and sets the event that is returned.
        """
        wanted = _Wanted(tuple(folders), rescan_interval_seconds, keep)
        with self._lock:
            self._wanted = wanted
        self._woken.set()
        return wanted.taken_over

    def _follow(self, folders: Iterable[WatchedFolder], rescan_interval_seconds: float) -> dict[bytes, FollowedFolder]:
        clocks = Clocks(self._clock, self._monotonic)
        return {
            os.path.join(os.fsencode(folder.path), b""): FollowedFolder(
                folder, self._ledger, self._memory, clocks, self.doubts.add, rescan_interval_seconds
            )
            for folder in folders
        }

    def _take_over(self, wanted: "_Wanted", now: float) -> None:
        followed = self._follow(wanted.folders, wanted.rescan_interval_seconds)
        for prefix, before in self._followed.items():
            if prefix in followed and followed[prefix].folder == before.folder:
                followed[prefix] = before
                before.rescan_every(wanted.rescan_interval_seconds, now)
        self._presence.use(followed.values())
        self._retiring.keep, self._retiring.folders = wanted.keep, list(followed.values())
        self._followed = followed
        self.doubts.keep_only({one.folder.path for one in followed.values()})
        self._states = [each.state(self._presence.problem(each)) for each in followed.values()]

    def note(self, path: bytes) -> bool:
        """Something may have happened to this absolute path; O(1). Returns whether it lies in a watched folder."""
        for prefix, followed in self._followed.items():
            if path.startswith(prefix):
                followed.notes.add(path[len(prefix) :].rstrip(b"/"))
                self._woken.set()
                return True
        return False

    def is_present(self, folder: str) -> bool:
        """Whether the watched folder is there and still the one that was taken up: not an empty mount point."""
        followed = self._followed.get(os.path.join(os.fsencode(folder), b""))
        return followed is not None and followed.is_present()

    def explain(self, path: bytes) -> Explanation | None:
        """What becomes of this absolute path, and why; `None` when it lies in no watched folder."""
        for prefix, followed in self._followed.items():
            if os.path.join(path, b"").startswith(prefix):
                relative = path[len(prefix) :].strip(b"/")
                return explain(followed, relative, self._ledger, self._clock(), self._monotonic())
        return None

    def rescan(self, folder: str | None = None) -> list[str]:
        """Has the folder, or all folders, scanned as soon as possible; returns which (none: no such folder)."""
        chosen = [followed for followed in self._followed.values() if folder in (None, followed.folder.path)]
        for followed in chosen:
            followed.notes.mark_dirty()
        self._woken.set()
        return [followed.folder.path for followed in chosen]

    def folder_states(self) -> list[FolderState]:
        """How things stand with each folder, as of the last tick."""
        return self._states

    def health(self) -> WatcherHealth:
        """How the watching as a whole is doing."""
        return self._presence.health()

    def wake(self) -> None:
        """Has everything looked at now: for who saw a thread end, say."""
        self._woken.set()

    def problems(self) -> list[str]:
        """What the operator should know, a sentence each; empty when all is well."""
        dead = [
            f"the thread {thread.name} has ended with an error, which is in the log: restart the agent"
            for thread in self._threads
            if thread.ident is not None and not thread.is_alive()
        ]
        shared = [self._ledger_problem] if self._ledger_problem else []
        folders = [f"{shown(state.path)}: {state.problem}" for state in self._states if state.problem]
        return dead + shared + folders

    def run(self, stop: Stop) -> None:
        """Ticks until `stop` is set, and waits in between until something is noted or due."""
        try:
            while not stop.is_set():
                self.pulses.beat()
                wait_seconds = self.tick(self._monotonic())
                self._woken.wait(self.pulses.rest(wait_seconds))
                self._woken.clear()
        finally:
            self.close()
        self.pulses.end()

    def close(self) -> None:
        """Ends the watches: for who ticks without `run`."""
        self._presence.stop()

    def tick(self, now: float) -> float:
        """Does what is due at `now` (monotonic), in short steps; returns the seconds until something is due again."""
        with self._lock:
            wanted, self._wanted = self._wanted, None
        if wanted is not None:
            self._take_over(wanted, now)
            wanted.taken_over.set()
        if self._paused_until <= now:
            self._writing(lambda: self._presence.look(now), now)
        for followed in self._followed.values():
            followed.read_notes(now)
        for followed in self._followed.values():
            self.pulses.beat()
            if followed.available and self._paused_until <= now:
                self._advance(followed, now)
        self._states = [followed.state(self._presence.problem(followed)) for followed in self._followed.values()]
        self.looked_at = True
        return max(0.0, self._next_due(now) - now)

    def _advance(self, followed: FollowedFolder, now: float) -> None:
        def steps() -> int:
            taken = followed.take_settled(now)
            taken += followed.advance_scan(now)
            followed.end_absent(now)
            return taken

        try:
            if self._writing(steps, now) and self._ledger_problem:
                log.info("The queue can be written again")
                self._ledger_problem = None
        except FolderUnavailable as unavailable:
            self._presence.lose(followed, str(unavailable), now)

    def _writing(self, step: Callable[[], int | None], now: float) -> int | None:
        """Takes a step that needs the queue; after one that failed for its sake there is a pause."""
        try:
            return step()
        except sqlite3.Error as error:
            problem = f"the queue can't be written: {error}. Nothing is lost, it is tried again"
            if self._ledger_problem != problem:
                log.error("%s", problem)
            self._ledger_problem = problem
            self._paused_until = now + self._retry_seconds
            return None

    def _next_due(self, now: float) -> float:
        due = min(now + IDLE_SECONDS, max(self._presence.next_due(), self._paused_until))
        for followed in self._followed.values():
            if followed.available and (next_due := followed.next_due(now)) is not None:
                due = min(due, max(next_due, self._paused_until))
        return due

    def _events_lost(self) -> None:
        log.warning("File events were lost: every folder is scanned")
        self.rescan()
