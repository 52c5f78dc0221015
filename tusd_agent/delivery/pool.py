"""The workers, and which job goes to which: lanes, breakers, fair turns."""

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..jobs.claims import Claims
from ..jobs.database import DatabaseUnusable
from ..jobs.model import Job, Lane
from ..jobs.moves import StaleClaim
from .breaker import Breaker, BreakerState
from .flight import Flight, FlightFigures
from .policy import LONGEST_WAIT_SECONDS, Blame, Judgement
from .rules import EndpointRules, FolderRules
from .uploader import Uploader
from .worker import Worker, terminate

log = logging.getLogger("tusd_agent.delivery")

DATABASE_RETRY_SECONDS = 5.0
CLOCK_STEP_SECONDS = 30.0
"""By so much must wall clock and monotonic clock disagree before it counts as the clock having been set."""


@dataclass(slots=True)
class _Line:
    """One endpoint as the pool sees it."""

    rules: EndpointRules
    breaker: Breaker
    in_flight: int = 0
    answered_at: float | None = None


@dataclass(frozen=True, slots=True)
class EndpointState:
    """An endpoint for `status`. Instants are seconds since the epoch."""

    name: str
    url: str
    breaker: BreakerState
    reason: str | None
    next_probe_at: float | None
    in_flight: int
    answered_at: float | None
    rate_limit_bytes_per_second: float


@dataclass(slots=True)
class _Served:
    """When each lane was served last, counted in turns."""

    turns: int = 0
    last: dict[Lane, int] = field(default_factory=dict)


class Pool:
    """Claims jobs and has them carried out by `workers` threads. `run_once` is the step, the threads only repeat it.

    `note(path)` tells the intake of a path whose content has to be looked at, `is_present(folder)` whether a watched
    folder is there. The constructor starts nothing.
    """

    def __init__(
        self,
        claims: Claims,
        endpoints: Iterable[EndpointRules],
        folders: Iterable[FolderRules],
        note: Callable[[bytes], object],
        is_present: Callable[[str], bool] = lambda folder: True,
        *,
        workers: int = 4,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._claims = claims
        self._clock = clock
        self._monotonic = monotonic
        self._rng = rng or random.Random()
        self._workers = workers
        self._folders = {rules.path: rules for rules in folders}
        self._lines = {
            rules.name: _Line(
                rules,
                Breaker(min(rules.max_concurrent or workers, workers), rng=self._rng),
            )
            for rules in endpoints
        }
        uploader = Uploader(claims, clock=clock, monotonic=monotonic)
        self._worker = Worker(claims, uploader, note, is_present, self, clock=clock, rng=self._rng)
        self._changed = threading.Condition()
        self._news = 0
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._flights: dict[int, Flight] = {}
        self._owed: list[Job] = []
        self._served = _Served()
        self._wall_offset = 0.0
        self.problem: str | None = None

    # What others tell and ask. Each is safe from any thread.

    def wake(self) -> None:
        """Something may be ready that was not."""
        with self._changed:
            self._news += 1
            self._changed.notify_all()

    def revoke(self, job_id: int) -> None:
        """The job was taken away from its worker: it stops within a second."""
        with self._changed:
            flight = self._flights.get(job_id)
        if flight is not None:
            flight.stop.set()

    def in_flight(self) -> list[FlightFigures]:
        """The jobs in workers' hands, in the order they were claimed."""
        with self._changed:
            flights = list(self._flights.values())
        return [flight.figures() for flight in flights]

    def endpoint_states(self) -> list[EndpointState]:
        """The endpoints as they are now."""
        offset = self._clock() - self._monotonic()
        with self._changed:
            return [
                EndpointState(
                    name,
                    line.rules.url,
                    line.breaker.state,
                    line.breaker.reason,
                    line.breaker.probe_at + offset if line.breaker.state is BreakerState.OPEN else None,
                    line.in_flight,
                    line.answered_at,
                    line.rules.throttle.rate_bytes_per_second,
                )
                for name, line in self._lines.items()
            ]

    # What the worker tells (`worker.Endpoints`).

    def answered(self, endpoint: str) -> None:
        """The endpoint did as it should."""
        with self._changed:
            line = self._lines[endpoint]
            was = line.breaker.state
            line.breaker.succeeded()
            line.answered_at = self._clock()
            if was is BreakerState.OPEN:
                log.info("endpoint %s answers again", endpoint)

    def blame(self, endpoint: str, job: Job, judgement: Judgement) -> bool:
        """The endpoint is to blame; returns whether its breaker is open now."""
        with self._changed:
            line = self._lines[endpoint]
            was = line.breaker.state
            opened = line.breaker.failed(
                job.id,
                f"{judgement.reason}: {judgement.words}",
                self._monotonic(),
                at_once=judgement.blame is Blame.ENDPOINT_AT_ONCE,
                wait_seconds=judgement.asked_seconds,
            )
        if opened:
            line.rules.client.fresh_connections()
            if was is not BreakerState.OPEN:
                log.warning("endpoint %s: its jobs wait (%s): %s", endpoint, judgement.reason, judgement.words)
        return opened

    # The life of the threads.

    def start(self) -> None:
        """Starts the workers."""
        for number in range(self._workers):
            thread = threading.Thread(target=self._loop, name=f"worker-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, timeout_seconds: float = 5.0) -> bool:
        """Lets no further job be claimed and has those in flight put back; returns whether all workers ended.

        A body in the middle stops within a second; what the server has of it is kept.
        """
        with self._changed:
            self._stopping.set()
            flights = list(self._flights.values())
            self._changed.notify_all()
        for flight in flights:
            flight.stop.set()
        deadline = self._monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - self._monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            with self._changed:
                seen = self._news
            # From before the look for jobs: one that becomes ready between that and the wait must not be missed.
            now, monotonic = self._clock(), self._monotonic()
            try:
                worked = self.run_once()
                self.problem = None
                if worked:
                    continue
                wait_seconds = self._idle_seconds(now, monotonic)
            except (sqlite3.Error, DatabaseUnusable) as error:
                self.problem = f"the database can't be written: {error}"
                log.error("%s; tried again in %.0f s", self.problem, DATABASE_RETRY_SECONDS)
                wait_seconds = DATABASE_RETRY_SECONDS
            except Exception as error:
                # A worker must not end by a mistake of ours: nobody would see it, and its jobs would wait for ever.
                self.problem = f"internal error: {error!r}; the log has more"
                log.exception("a worker goes on after an error of the program")
                wait_seconds = DATABASE_RETRY_SECONDS
            with self._changed:
                if self._news == seen and not self._stopping.is_set():
                    self._changed.wait(wait_seconds)

    def run_once(self) -> bool:
        """Claims one job and carries it out, or terminates one leftover; returns whether there was anything to do."""
        self._pay_debts()
        self._notice_clock_steps()
        taken = self._take()
        if taken is None:
            return terminate(self._claims, self._accepting(), self._clock(), self._rng, self._stopping)
        flight, line, rules = taken
        try:
            self._worker.carry(flight, line.rules, rules)
        except Exception:
            with self._changed:
                self._owed.append(flight.job)
            raise
        finally:
            with self._changed:
                del self._flights[flight.job.id]
                line.in_flight -= 1
            self.wake()
        return True

    def _take(self) -> tuple[Flight, _Line, FolderRules] | None:
        """Claims the job whose turn it is, if one is ready and its endpoint accepts."""
        with self._changed:
            if self._stopping.is_set():
                return None
            now, monotonic = self._clock(), self._monotonic()
            ready = [
                (-self._folders[lane.folder].priority, self._served.last.get(lane, 0), first, lane)
                for lane, first in self._claims.lanes().items()
                if first <= now and lane.folder in self._folders and lane.endpoint in self._lines
            ]
            for _, _, _, lane in sorted(ready, key=lambda entry: entry[:3]):
                line = self._lines[lane.endpoint]
                if not line.breaker.permits(line.in_flight, monotonic):
                    continue
                job = self._claims.claim(lane, now)
                if job is None:
                    continue
                self._served.turns += 1
                self._served.last[lane] = self._served.turns
                flight = Flight(job, now, self._monotonic)
                self._flights[job.id] = flight
                line.in_flight += 1
                return flight, line, self._folders[lane.folder]
        return None

    def _idle_seconds(self, now: float, monotonic: float) -> float | None:
        """How long there is nothing to do, unless somebody wakes us; `None`: until then.

        `now` and `monotonic` are from before the last look: what was ready by then has been looked at.
        """
        waits = []
        for lane, first in self._claims.lanes().items():
            line = self._lines.get(lane.endpoint)
            if line is None or lane.folder not in self._folders:
                continue
            if line.breaker.state is BreakerState.OPEN and line.in_flight == 0 and line.breaker.probe_at > monotonic:
                waits.append(max(first - now, line.breaker.probe_at - monotonic))
                continue
            # What is ready and yet not claimed waits for a flight to end, which wakes us, or for an older job of its
            # path, which becomes ready at its own time.
            next_at = first if first > now else self._claims.next_ready_at(lane, now)
            if next_at is not None:
                waits.append(next_at - now)
        leftover_at = self._claims.next_leftover_at(self._accepting())
        if leftover_at is not None:
            waits.append(leftover_at - now)
        return max(0.0, min(waits)) + 0.001 if waits else None

    def _accepting(self) -> dict[str, EndpointRules]:
        with self._changed:
            return {name: line.rules for name, line in self._lines.items() if line.breaker.state is BreakerState.CLOSED}

    def _notice_clock_steps(self) -> None:
        """Instants in rows are wall clock: after it was set back, what was deferred must not wait for it to catch up.

        Found at the first step too, for the clock may have been set while the agent was not running.
        """
        now = self._clock()
        offset = now - self._monotonic()
        with self._changed:
            stepped = abs(offset - self._wall_offset) > CLOCK_STEP_SECONDS
            self._wall_offset = offset
        if stepped:
            self._claims.clamp(now, LONGEST_WAIT_SECONDS)

    def _pay_debts(self) -> None:
        """Puts back the jobs that a failing database left in a worker's hands."""
        with self._changed:
            owed, self._owed = self._owed, []
        for number, job in enumerate(owed):
            try:
                self._claims.interrupt(job)
            except StaleClaim:
                continue
            except (sqlite3.Error, DatabaseUnusable):
                with self._changed:
                    self._owed += owed[number:]
                raise
