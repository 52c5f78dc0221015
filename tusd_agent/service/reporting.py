"""What the agent tells of itself: the status, why it is degraded, one line of it all."""

import os
from collections.abc import Callable

from .. import __version__
from ..config import (
    Settings,
    WatchSettings,
)
from ..control.counting import folder_counts
from ..control.figures import instants, periods
from ..control.replies import (
    Endpoint,
    Explanation,
    Folder,
    InFlight,
    LimitByHand,
    Status,
    Watcher,
    bytes_by_state,
    escaped,
    job_reply,
    jobs_by_state,
    path_b64,
    pause_replies,
)
from ..delivery.bandwidth import Bandwidth
from ..delivery.flight import FlightFigures
from ..delivery.line import EndpointState
from ..delivery.pool import Pool
from ..intake.folder import FolderState, WatcherHealth
from ..intake.intake import Intake
from ..jobs.database import Database, DatabaseUnusable
from ..jobs.model import Job, shown
from ..jobs.reader import Count, Overview, Reader
from ..jobs.standing import Pauses
from ..jobs.states import WAITING, WORKING, State
from .watchdog import Vitals


class Reporting:
    """What the agent tells of itself. Any thread may ask. `state` is set by the service: starting, ok, stopping.

    `settings()` are those that hold.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        reader: Reader,
        database: Database,
        intake: Intake,
        pool: Pool,
        bandwidth: Bandwidth,
        clock: Callable[[], float],
    ) -> None:
        self.state = "starting"
        self.waits_for: str | None = None
        """Why the agent can't begin yet, in words for the operator; set by the service."""
        self._settings = settings
        self._reader = reader
        self._database = database
        self._intake = intake
        self._pool = pool
        self._bandwidth = bandwidth
        self._clock = clock
        self._started_at = clock()
        self.vitals = Vitals(intake.pulses, pool.pulses)

    def status(self) -> Status:
        """All that `status` shows, as one reply of the control socket. Its cost does not grow with the jobs."""
        now = self._clock()
        overview = self._overview(now)
        counts = overview.counts
        flights = self.flights()
        busy = {count.endpoint for count in counts if count.state in WAITING | WORKING}
        endpoints = [_endpoint(state, state.name in busy, flights) for state in self._pool.endpoint_states()]
        by_path = {str(watch.path): watch for watch in self._settings().watch}
        states = [state for state in self._intake.folder_states() if state.path in by_path]
        folders = [_folder(state, by_path[state.path], overview) for state in states]
        pauses = self._pool.pauses
        reasons = self._reasons(endpoints, counts, pauses) if self.waits_for is None else [self.waits_for]
        return Status(
            state=self._shown_state(reasons),
            reasons=reasons,
            paused=pause_replies(pauses),
            limits_by_hand=[
                LimitByHand(endpoint=endpoint, rate_bytes_per_second=rate)
                for endpoint, rate in self._bandwidth.by_hand.items()
            ],
            version=__version__,
            pid=os.getpid(),
            uid=os.geteuid(),
            started_at=self._started_at,
            now=now,
            database_bytes=self._database.size_bytes,
            jobs=jobs_by_state(counts),
            bytes=bytes_by_state(counts),
            totals=periods(overview.tallies, now),
            folders=folders,
            watcher=_watcher(self._intake.health()),
            endpoints=endpoints,
            in_flight=flights,
        )

    def flights(self) -> list[InFlight]:
        """The jobs in workers' hands."""
        return [_in_flight(figures) for figures in self._pool.in_flight()]

    def explain(self, path: bytes) -> Explanation | None:
        """What becomes of an absolute path; `None` when it lies in no watched folder."""
        found = self._intake.explain(path)
        if found is None:
            return None
        waits_for = found.waits_for or self._obstacle(found.job)
        return Explanation(
            path=shown(found.place.path),
            path_b64=path_b64(found.place.path),
            folder=found.place.folder,
            taken=found.taken,
            rule=escaped(found.rule),
            waits_for=None if waits_for is None else escaped(waits_for),
            job=None if found.job is None else job_reply(found.job),
            seen=str(found.seen),
            known=found.known,
        )

    def _obstacle(self, job: Job | None) -> str | None:
        """What keeps a waiting job back beside its own time."""
        if job is None or job.state not in WAITING:
            return None
        if self._pool.pauses.cover(job.place.folder, job.endpoint):
            return "a resume: tusd-agent status says what is paused"
        for endpoint in self._pool.endpoint_states():
            if endpoint.name == job.endpoint and endpoint.breaker == "open":
                kind = (endpoint.reason or "").partition(": ")[0]  # the whole sentence is in the status
                return f"endpoint {endpoint.name}, whose jobs wait{f' ({kind})' if kind else ''}"
        return None

    def _overview(self, now: float) -> Overview:
        try:
            return self._reader.overview(instants(now))
        except DatabaseUnusable:
            if self.waits_for is None:
                raise
            return Overview([], [], {})  # what can't be opened yet may not be there at all

    def _shown_state(self, reasons: list[str]) -> str:
        if self.state == "starting" and self.waits_for is not None:
            return "degraded"
        if self.state != "ok":
            return self.state
        if reasons:
            return "degraded"
        return "ok" if self._intake.looked_at else "starting"

    def _reasons(self, endpoints: list[Endpoint], counts: list[Count], pauses: Pauses) -> list[str]:
        trouble = self._database.trouble
        # Whoever met it says so in words of his own, which end in these.
        reasons = [each for each in self._told() if trouble is None or trouble not in each]
        if trouble is not None:
            reasons.insert(0, f"{trouble}. No job is claimed until then, and nothing is lost")
        reasons += [problem for problem in (self._database.damage, self._database.witness_problem) if problem]
        # A job is delivered and not disposing only when its disposal has been put off.
        put_off = sum(
            count.jobs
            for count in counts
            if count.state is State.DELIVERED and not pauses.cover(count.folder, count.endpoint)
        )
        if put_off:
            reasons.append(
                f"{plural(put_off, 'file')} arrived, but what is to follow (after_upload) could not be done yet: "
                "tusd-agent jobs --state delivered says why"
            )
        held = sum(count.jobs for count in counts if count.state is State.HELD)
        if held and self._database.incomplete_since is not None:
            reasons.append(
                f"the ledger is incomplete, and {plural(held, 'job')} held may be of files that were sent before: "
                'those with the reason "ledger lost" wait for release (send them) or adopt (they arrived)'
            )
        reasons += [f"endpoint {each['name']}: {each['reason']}" for each in endpoints if each["reason"]]
        return reasons

    def _told(self) -> list[str]:
        told = [self._pool.problem, self.vitals.look().problem]
        return [*self._intake.problems(), *(problem for problem in told if problem)]

    def line(self) -> str:
        """The same in one line, for systemd and the log."""
        try:
            counts = self._reader.counts()
        except DatabaseUnusable as error:
            return str(error)
        waiting = sum(count.jobs for count in counts if count.state in WAITING)
        working = sum(count.jobs for count in counts if count.state in WORKING)
        failed = sum(count.jobs for count in counts if count.state is State.FAILED)
        folders = len(self._settings().watch)
        watched = plural(folders, "folder")
        rate = sum(figures.rate_bytes_per_second for figures in self._pool.in_flight())
        going = f"{working} in flight" + (f" at {rate / 1e6:.1f} MB/s" if working else "")
        line = f"{watched} watched, {plural(waiting, 'job')} waiting, {going}, {failed} failed"
        pauses = self._pool.pauses
        if pauses.of_all:
            return f"paused; {line}"
        return f"{line}; {plural(len(pauses.since), 'pause')}" if pauses.since else line


def _folder(state: FolderState, watch: WatchSettings, overview: Overview) -> Folder:
    return Folder(
        **folder_counts(state.path, overview),
        endpoint=watch.endpoint,
        after_upload=watch.after_upload,
        mode=state.mode,
        available=state.available,
        problem=state.problem,
        settling=state.settling,
        growing=state.growing,
        growing_example=None if state.growing_example is None else shown(state.growing_example),
        scanning=state.scanning,
        scan_files_seen=state.scan_files_seen,
        last_scan_at=state.last_scan_at,
        last_scan_seconds=state.last_scan_seconds,
        files_seen=state.files_seen,
    )


def _watcher(health: WatcherHealth) -> Watcher:
    return Watcher(
        alive=health.alive,
        watches=health.watches,
        overflows=health.overflows,
        restarts=health.restarts,
        gaps=health.gaps,
        canary_at=health.canary_at,
    )


def plural(count: int, word: str) -> str:
    """``1 job``, ``3 jobs``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _endpoint(state: EndpointState, is_busy: bool, flights: list[InFlight]) -> Endpoint:
    """The endpoint for `status`; one that has nothing to do has no trouble, whatever its last answer was."""
    return Endpoint(
        name=state.name,
        url=state.url,
        breaker=str(state.breaker),
        reason=state.reason if is_busy else None,
        next_probe_at=state.next_probe_at,
        in_flight=state.in_flight,
        answered_at=state.answered_at,
        rate_bytes_per_second=sum(one["rate_bytes_per_second"] for one in flights if one["endpoint"] == state.name),
        rate_limit_bytes_per_second=state.rate_limit_bytes_per_second,
    )


def _in_flight(figures: FlightFigures) -> InFlight:
    job = figures.job
    left = job.size_bytes - figures.offset_bytes
    rate = figures.rate_bytes_per_second
    return InFlight(
        id=job.id,
        path=shown(job.place.path),
        path_b64=path_b64(job.place.path),
        endpoint=job.endpoint,
        size_bytes=job.size_bytes,
        offset_bytes=figures.offset_bytes,
        rate_bytes_per_second=rate,
        eta_seconds=left / rate if rate > 0 else None,
        phase=figures.phase,
        started_at=figures.started_at,
    )
