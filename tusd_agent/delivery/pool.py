"""The workers, and which job goes to which: lanes, breakers, fair turns."""

import logging
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

from ..jobs.claims import Claims
from ..jobs.database import DatabaseUnusable
from ..jobs.model import Job
from ..jobs.moves import StaleClaim
from ..jobs.standing import Pauses
from ..jobs.states import WORKING
from ..jobs.waiting import Head
from ..pulse import Pulses
from ..tus.errors import masked
from ..tus.patience import stepping_aside
from .baton import Baton
from .breaker import Breaker, BreakerState
from .crew import Crew
from .flight import Flight, FlightFigures
from .line import Claim, EndpointState, Line
from .outages import Outages
from .policy import Blame, Judgement
from .rules import EndpointRules, FolderRules
from .tally import Tally, Totals
from .turns import Turns
from .upkeep import Upkeep
from .uploader import Uploader
from .worker import Worker, terminate

log = logging.getLogger("tusd_agent.delivery")

DATABASE_RETRY_SECONDS = 5.0

QUICK_BYTES = 64 << 10
"""What is larger keeps the disk and the network busier than the interpreter."""


class Pool:
    """Claims jobs and has them carried out by threads. `run_once` is the step, the threads only repeat it.

    There are `workers` threads for each endpoint (fewer where its `max_concurrent` says so), and any of them takes any
    job: what a dead or slow endpoint holds is never more than its own share.

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
        self._folders: dict[str, FolderRules] = {}
        self._lines: dict[str, Line] = {}
        uploader = Uploader(claims, clock=clock, monotonic=monotonic)
        self._tally = Tally()
        self._outages = Outages(claims.waiting_for, clock, monotonic)
        self._worker = Worker(claims, uploader, note, is_present, self, self._tally, clock=clock, rng=self._rng)
        self.pulses = Pulses(monotonic)
        self._changed = threading.Condition()
        self._crew = Crew(self._changed, self._step, "worker", self.pulses)
        self._stopping = self._crew.stopping
        self._baton = Baton()
        claims.step_aside(self._baton.laid_down)
        self._flights: dict[Claim, Flight] = {}
        self._owed: list[Flight] = []
        self.pauses = Pauses()
        self._turns = Turns()
        self._upkeep = Upkeep(claims, clock, monotonic, self._is_stopping)
        self.problem: str | None = None
        self.on_orphan: Callable[[], object] = lambda: None
        """Called when a job was put back whose folder or endpoint the rules no longer have."""
        self.use(endpoints, folders, workers=workers)

    # What others tell and ask. Each is safe from any thread.

    def wake(self) -> None:
        """Something may be ready that was not."""
        self._crew.wake()

    def revoke(self, job_id: int) -> None:
        """The job was taken away from its worker: it stops within a second."""
        with self._changed:
            flights = [flight for flight in self._flights.values() if flight.job.id == job_id]
        for flight in flights:
            flight.stop.set()

    def pause(self, pauses: Pauses) -> None:
        """These hold from now on, instead of those before: nothing of them is claimed, what is in flight is put back.

        That takes a second at most, burns no attempt, and what the server has is kept.
        """
        with self._changed:
            self.pauses = pauses
            for flight in self._flights.values():
                if pauses.cover(flight.job.place.folder, flight.job.endpoint):
                    flight.stop.set()
            self._crew.wake()

    def use(self, endpoints: Iterable[EndpointRules], folders: Iterable[FolderRules], *, workers: int) -> None:
        """These rules hold from now on, instead of those before.

        What is in flight under rules that stay goes on undisturbed; all else is put back within a second, and goes on
        under the new rules, if there are any for it.
        """
        with self._changed:
            before, self._folders = self._folders, {rules.path: rules for rules in folders}
            lines = {rules.name: self._line(rules, workers) for rules in endpoints}
            lines_before, self._lines = self._lines, lines
            for flight in self._flights.values():
                folder, endpoint = flight.job.place.folder, flight.job.endpoint
                rules, rules_before = self._folders.get(folder), before.get(folder)
                same_folder = rules is not None and rules_before is not None and rules.sends_like(rules_before)
                if not same_folder or lines.get(endpoint) is not lines_before.get(endpoint):
                    flight.stop.set()
            self._upkeep.use(self._folders.values())
            self._crew.want(max(1, sum(line.breaker.full_concurrency for line in lines.values())))
            self._crew.wake()

    def _line(self, rules: EndpointRules, workers: int) -> Line:
        """The line that was there, if these rules go on with what is in flight; else a new one."""
        concurrency = min(rules.max_concurrent or workers, workers)
        line = self._lines.get(rules.name)
        if line is None or not rules.sends_like(line.rules):
            return Line(rules, Breaker(concurrency, rng=self._rng))
        line.rules = rules
        line.breaker.full_concurrency = concurrency
        return line

    def wait_for_orphans(self, timeout_seconds: float) -> bool:
        """Waits until nothing is in flight that the rules do not know; returns whether that is so."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(self._knows(flight.job) for flight in self._flights.values()), timeout_seconds
            )

    def _knows(self, job: Job) -> bool:
        return job.place.folder in self._folders and job.endpoint in self._lines

    def in_flight(self) -> list[FlightFigures]:
        """The jobs in workers' hands, in the order they were claimed."""
        with self._changed:
            flights = list(self._flights.values())
        return [flight.figures() for flight in flights]

    def totals(self) -> Totals:
        """What has been done since the pool was made; bytes that are on their way count as sent."""
        with self._changed:
            totals = self._tally.totals()
            on_their_way = Counter(totals.sent_bytes)
            for flight in self._flights.values():
                on_their_way[flight.job.endpoint] += flight.sent_bytes
        return replace(totals, sent_bytes=on_their_way)

    def endpoint_states(self) -> list[EndpointState]:
        """The endpoints as they are now."""
        offset = self._clock() - self._monotonic()
        with self._changed:
            return [line.state(offset) for line in self._lines.values()]

    # What the worker tells (`worker.Endpoints`).

    def answered(self, endpoint: str) -> None:
        """The endpoint did as it should."""
        with self._changed:
            line = self._lines.get(endpoint)
            if line is None:
                return
            was = line.breaker.state
            line.breaker.succeeded()
            line.answered_at = self._clock()
        if was is BreakerState.OPEN:
            self._outages.worked(endpoint)

    def blame(self, endpoint: str, job: Job, judgement: Judgement) -> bool:
        """The endpoint is to blame; returns whether the job is not: its attempt does not count.

        It does where this one job was what made the server ask for a pause: were it the only one that does, it must
        come back less and less often.
        """
        with self._changed:
            line, flight = self._lines.get(endpoint), self._flights.get((job.id, job.claim_id))
            if line is None or (flight is not None and flight.stop.is_set()):
                return True  # the rules it was sent under may be gone: it says nothing of those that hold
            was = line.breaker.state
            opened = line.breaker.failed(
                job.id,
                f"{judgement.reason}: {judgement.words}",
                self._monotonic(),
                at_once=judgement.blame is Blame.ENDPOINT_AT_ONCE,
                wait_seconds=judgement.asked_seconds,
            )
            if opened and was is not BreakerState.OPEN:
                line.recent.clear()
        if opened:
            line.rules.client.fresh_connections()
            self._outages.failed(endpoint, judgement.reason, judgement.words)
        return opened and (was is BreakerState.OPEN or not judgement.asked_seconds)

    def gives_way(self, endpoint: str, job: Job) -> None:
        """The job has asked the endpoint what it had to: while that recovers, nobody waits for what it does then."""
        with self._changed:
            line = self._recovering(endpoint, (job.id, job.claim_id))
            if line is None:
                return
            del line.recent[job.id, job.claim_id]
        self.wake()

    def _recovering(self, endpoint: str, claim: Claim) -> Line | None:
        """The line of an endpoint that recovers, if others wait for what this claim shows of it."""
        line = self._lines.get(endpoint)
        closed = line is None or line.breaker.state is BreakerState.CLOSED or claim not in line.recent
        return None if closed else line

    def _note_moving(self, flight: Flight) -> None:
        """The endpoint has been taking a body for some time: that it works need not wait for the end of it."""
        with self._changed:
            line = self._recovering(flight.job.endpoint, flight.claim)
        if line is not None:
            self.answered(flight.job.endpoint)
            self.gives_way(flight.job.endpoint, flight.job)

    def is_in_trouble(self, endpoint: str) -> bool:
        """Whether the log has said so: what single jobs meet there says nothing new."""
        return self._outages.is_on(endpoint)

    # The life of the threads.

    def start(self) -> None:
        """Starts the workers."""
        self._crew.start()

    def stop(self, timeout_seconds: float = 5.0) -> bool:
        """Lets no further job be claimed and has those in flight put back; returns whether all workers ended.

        A body in the middle stops within a second; what the server has of it is kept.
        """
        self._crew.stop()
        with self._changed:
            flights = list(self._flights.values())
        for flight in flights:
            flight.stop.set()
        ended = self._crew.join(timeout_seconds, self._monotonic)
        with suppress(sqlite3.Error, DatabaseUnusable):  # what still can't be told, the next start asks the server
            self._pay_debts()
        return ended

    def _step(self) -> float | None:
        """What a worker does again and again; returns how long there is nothing to do then, 0: look at once."""
        # From before the look for jobs: one that becomes ready between that and the wait must not be missed.
        now, monotonic = self._clock(), self._monotonic()
        try:
            with self._baton.carried(), stepping_aside(self._baton.laid_down):
                worked = self.run_once()
            self.problem = None
            self._outages.database_works()
            return 0.0 if worked else self.idle_seconds(now, monotonic)
        except (sqlite3.Error, DatabaseUnusable) as error:
            self.problem = f"no job can be claimed: {error}"
            self._outages.database_failed(self.problem, DATABASE_RETRY_SECONDS)
        except Exception as error:
            # A worker must not end by a mistake of ours: nobody would see it, and its jobs would wait for ever.
            self.problem = f"internal error: {masked(repr(error))}; the log has more"
            log.exception("a worker goes on after an error of the program")
        return DATABASE_RETRY_SECONDS

    def run_once(self) -> bool:
        """Claims one job and carries it out, or terminates one leftover; returns whether there was anything to do."""
        self._claims.ensure_writable()
        self._pay_debts()
        self._upkeep.step()
        taken = self._take()
        if taken is None:
            self._baton.drop()
            return self._terminate()
        flight, line, rules = taken
        if not _is_quick(flight.job, line.rules, rules):
            self._baton.drop()
        carried = False
        try:
            self._worker.carry(flight, line.rules, rules)
            carried = True
        finally:
            with self._changed:
                if not carried:
                    self._owed.append(flight)
                    # This thread will pause: others must look whether something may go now.
                    self._changed.notify_all()
                del self._flights[flight.claim]
                self._tally.sent(line.rules.name, flight.sent_bytes)
                line.end(flight.claim)
                self._upkeep.put_back(rules)
                orphaned = not self._knows(flight.job)
                if orphaned:
                    self._changed.notify_all()
        if orphaned:
            self.on_orphan()
        return True

    def _terminate(self) -> bool:
        """Terminates one upload that has lost its job; returns whether there was one to look at.

        One at a time for each endpoint, within what may be at it: one that does not answer holds up no other.
        """
        now = self._clock()
        with self._changed:
            leftover = self._claims.leftovers.take(now, self._accepting())
            if leftover is None:
                return False
            line = self._lines[leftover.endpoint]
            line.terminates = True
            self._changed.notify()
        try:
            stop = self.pulses.around(self._stopping)
            terminate(self._claims.leftovers, leftover, line.rules, now, self._rng, stop)
        finally:
            with self._changed:
                line.terminates = False
        return True

    def _take(self) -> tuple[Flight, Line, FolderRules] | None:
        """Claims the job whose turn it is, if one is ready and its endpoint accepts."""
        with self._changed:
            if self._stopping.is_set():
                return None
            now, monotonic = self._clock(), self._monotonic()
            for line in self._lines.values():
                line.lose_patience(monotonic)
            ready = (head for head in self._heads() if head.ready_at <= now)
            probing = {name for name, line in self._lines.items() if line.breaker.state is BreakerState.OPEN}
            for head in self._turns.in_order(
                ready,
                lambda folder: self._folders[folder].priority,
                lambda endpoint: len(self._lines[endpoint].in_flight),
                probing,
            ):
                line = self._lines[head.lane.endpoint]
                if not line.admits(head, monotonic):
                    continue
                job = self._claims.claim(head.lane, now, head.kind)
                if job is None:
                    continue
                self._turns.served(head)
                flight = Flight(job, now, self._monotonic, self.pulses.flag(), self._note_moving)
                self._flights[flight.claim] = flight
                line.begin(flight.claim, monotonic, large=head.kind.large)
                # There may be more, and whoever finds some tells the next: one at a time, instead of all for each job.
                self._changed.notify()
                return flight, line, self._folders[head.lane.folder]
        return None

    def _heads(self) -> list[Head]:
        """The heads of the lanes that the settings know, and that nobody paused."""
        return [
            head
            for head in self._claims.heads()
            if head.lane.folder in self._folders
            and head.lane.endpoint in self._lines
            and not self.pauses.cover(head.lane.folder, head.lane.endpoint)
        ]

    def idle_seconds(self, now: float, monotonic: float) -> float | None:
        """How long there is nothing to do, unless somebody wakes us; `None`: until then.

        `now` and `monotonic` are from before the last look: what was ready by then has been looked at.
        """
        waits = []
        for head in self._heads():
            line = self._lines.get(head.lane.endpoint)
            if line is None:
                continue
            probe_at = line.may_probe_at
            if probe_at is not None and probe_at > monotonic:
                waits.append(max(head.ready_at - now, probe_at - monotonic))
                continue
            if line.patient_until is not None:
                waits.append(line.patient_until - monotonic)
            # What is ready and yet not claimed waits for a flight to end, whose thread looks next, or for an older job
            # of its path, which becomes ready at its own time.
            next_at = head.ready_at if head.ready_at > now else self._claims.next_ready_at(head, now)
            if next_at is not None:
                waits.append(next_at - now)
        leftover_at = self._claims.leftovers.next_at(self._accepting())
        if leftover_at is not None:
            waits.append(leftover_at - now)
        upkeep_at = self._upkeep.next_at
        if upkeep_at is not None and waits:
            waits.append(upkeep_at - now)
        return max(0.0, min(waits)) + 0.001 if waits else None

    def _accepting(self) -> list[str]:
        """The endpoints at which an upload that has lost its job may be terminated now."""
        with self._changed:
            return [
                name
                for name, line in self._lines.items()
                if line.may_terminate and not self.pauses.cover_endpoint(name)
            ]

    def _is_stopping(self) -> bool:
        """For long work of the database's: whoever looks thereby shows that it moves on."""
        self.pulses.beat()
        return self._stopping.is_set()

    def _pay_debts(self) -> None:
        """Tells the rows what a failing database did not take, and puts back the jobs that are in nobody's hands."""
        with self._changed:
            owed, self._owed = self._owed, []
        for number, flight in enumerate(owed):
            try:
                flight.pay()
                if flight.job.state in WORKING:
                    self._claims.interrupt(flight.job)
            except StaleClaim:
                continue
            except (sqlite3.Error, DatabaseUnusable):
                with self._changed:
                    self._owed += owed[number:]
                raise
        if not all(self._knows(flight.job) for flight in owed):
            self.on_orphan()


def _is_quick(job: Job, endpoint: EndpointRules, folder: FolderRules) -> bool:
    """Whether what a worker does for the job is mostly done by the interpreter."""
    waits = folder.after_upload in ("move", "command") or endpoint.throttle.rate_bytes_per_second
    return job.size_bytes <= QUICK_BYTES and not waits
