"""The composition root: builds every part from the settings, starts them in order, stops them in reverse."""

import logging
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from . import __version__
from .config import (
    WEEKDAYS,
    AgentSettings,
    CredentialError,
    EndpointSettings,
    Settings,
    WatchSettings,
    minute_of_day,
)
from .control.commands import Commands
from .control.replies import (
    Endpoint,
    Explanation,
    Folder,
    InFlight,
    Status,
    Watcher,
    bytes_by_state,
    escaped,
    job_reply,
    jobs_by_state,
    path_b64,
)
from .control.server import ControlServer, SocketUnusable
from .delivery.bandwidth import Bandwidth, Throttle
from .delivery.command import Command
from .delivery.emptying import EmptyFolders
from .delivery.flight import FlightFigures
from .delivery.line import EndpointState
from .delivery.pool import Pool
from .delivery.rules import EndpointRules, FolderRules
from .delivery.timetable import TimedLimit
from .intake.folder import FolderState, WatchedFolder, WatcherHealth
from .intake.intake import Intake
from .intake.retiring import Keep
from .jobs.claims import Claims
from .jobs.database import Database, DatabaseUnusable
from .jobs.folders import Folders
from .jobs.ledger import Ledger
from .jobs.lock import StateInUse, StateLock
from .jobs.model import shown
from .jobs.orders import Applied, Orders, Verb
from .jobs.reader import Count, Reader
from .jobs.retention import Retention
from .jobs.selection import Selection
from .jobs.states import WAITING, WORKING, State
from .systemd import Notifier
from .tus import AuthRequired, TUSClient

log = logging.getLogger("tusd_agent.service")

EXIT_CONFIG = 78
"""EX_CONFIG of sysexits(3): a restart can't help, so systemd is told not to try (RestartPreventExitStatus=)."""

RECONNECTS = 3
RECONNECT_SECONDS = 0.5
LONGEST_RECONNECT_SECONDS = 4.0
"""Within a claim a lost connection is taken up again for a few seconds; what lasts longer is deferred in the row."""

NOTIFY_SECONDS = 10.0
STOP_SECONDS = 4.0


class StartError(Exception):
    """The agent can't start. The message says why and what to do; `exit_code` is for the process."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Service:
    """The agent. The constructor does no I/O; `start` and `stop` do, `run` is both around a wait."""

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._state = "starting"
        self._started_at = clock()
        state_dir = Path(settings.agent.state_dir)
        self._lock = StateLock(state_dir / "lock")
        self._database = Database(state_dir / "queue.db")
        self._reader = Reader(self._database.path)
        self._notifier = Notifier(environ)
        self._notified = "NOTIFY_SOCKET" in environ
        claims = Claims(self._database, settings.agent.small_file_bytes)
        self._claims = claims
        self._orders = Orders(self._database, self._wake, self._revoke)
        self._intake = Intake(
            [watched_folder(watch) for watch in settings.watch],
            Ledger(self._database, self._wake, self._revoke),
            memory=Folders(self._database),
            rescan_interval_seconds=settings.agent.rescan_interval_seconds,
            canary_folder=Path(settings.agent.socket).parent,
            keep=_keep(settings.agent, self._database),
        )
        self.bandwidth = _bandwidth(settings, clock)
        self._empty_folders = EmptyFolders()
        self._pool = Pool(
            claims,
            [
                _endpoint_rules(name, endpoint, settings.config_dir, environ, self.bandwidth.throttle(name))
                for name, endpoint in settings.endpoint.items()
            ],
            [_folder_rules(watch, settings.file, self._empty_folders) for watch in settings.watch],
            self._intake.note,
            self._intake.is_present,
            workers=settings.agent.workers,
        )
        self._control = ControlServer(
            Path(settings.agent.socket),
            Commands(self._reader, self.status, self._flights, self._explain, self),
            group=settings.agent.socket_group,
        )

    def run(self, stop: threading.Event) -> None:
        """Starts, works until `stop` is set, stops. Raises `StartError`."""
        self.start()
        try:
            while not stop.wait(NOTIFY_SECONDS if self._notified else None):
                self._notifier.status(self._status_line())
        finally:
            self.stop()

    def start(self) -> None:
        """Lock, store, recover, control, workers, READY=1, watch, first scan: in this order.

        The control socket answers before anything can go wrong that one would want to ask it about; the scan comes
        last because it may take long and nothing waits for it. Raises `StartError`, with everything undone.
        """
        if threading.current_thread() is threading.main_thread():
            # Whoever opens a file while we hold a read lease on it would otherwise kill us (fcntl(2), F_SETLEASE).
            signal.signal(signal.SIGIO, signal.SIG_IGN)
            # Where it was ignored, as some that start us leave it, nobody would learn how a command ended (wait(2)).
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            self._start_store()
            self._control.start()
        except (StateInUse, DatabaseUnusable, sqlite3.Error) as error:
            self.stop()
            raise StartError(str(error)) from error
        except SocketUnusable as error:
            self.stop()
            raise StartError(str(error), error.exit_code) from error
        threading.excepthook = self._thread_died
        self._pool.start()
        if any(watch.remove_empty_folders for watch in self._settings.watch):
            self._empty_folders.start()
        self._state = "ok"
        self._notifier.ready()
        log.info("tusd-agent %s runs: %s", __version__, self._status_line())
        if not self._settings.watch:
            log.warning("no folder is watched: add a [[watch]] table to the configuration")
        self._intake.start()

    def _thread_died(self, died: threading.ExceptHookArgs) -> None:
        """Of any thread, ours or a library's: it is said, and what depends on it is looked at, now."""
        name = died.thread.name if died.thread is not None else "unknown"
        error = (died.exc_type, died.exc_value or died.exc_type(), died.exc_traceback)
        log.error("the thread %s ended by an error", name, exc_info=error)
        self._intake.wake()

    def _start_store(self) -> None:
        state_dir = self._lock.path.parent
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            raise StartError(
                f"the state folder {state_dir} can't be used: {error.strerror}. Give the agent's user the right to "
                "write there, or set agent.state_dir to another folder",
                EXIT_CONFIG,
            ) from error
        clean = self._database.open()
        self._claims.fit(by_age=any(watch.give_up_after_seconds for watch in self._settings.watch))
        recovered = self._claims.recover()
        if self._database.loss is not None:
            log.error(
                "%s. What is found and may have been sent before is held: release sends it, adopt takes it as done",
                self._database.loss,
            )
        elif not clean:
            log.warning(
                "the last run did not end cleanly; the database is intact, %s put back", _plural(recovered, "job")
            )
        if self._database.witness_problem is not None:
            log.warning("%s", self._database.witness_problem)
        folders = {str(watch.path) for watch in self._settings.watch}
        held = self._orders.hold_orphans(folders, set(self._settings.endpoint), self._clock())
        if held:
            log.warning("%s held: the folder or endpoint is no longer in the configuration", _plural(held, "job"))

    def stop(self) -> None:
        """STOPPING=1, watch and intake, workers, control, store, lock: what gives work stops before what takes it.

        A body in the middle stops within a second, and what the server has of it is kept. Can be repeated.
        """
        ran, self._state = self._state == "ok", "stopping"
        self._notifier.stopping()
        self._intake.stop()
        if not self._pool.stop(STOP_SECONDS):
            log.warning("a worker did not stop in time; its job goes on at the next start")
        self._empty_folders.stop()
        self._control.stop()
        self._database.close()
        self._lock.release()
        if ran:
            log.info("tusd-agent stopped")

    def status(self) -> Status:
        """All that `status` shows, as one reply of the control socket. Its cost does not grow with the jobs."""
        now = self._clock()
        counts = self._reader.counts()
        busy = {count.endpoint for count in counts if count.state in WAITING | WORKING}
        endpoints = [_endpoint(state, state.name in busy) for state in self._pool.endpoint_states()]
        by_path = {str(watch.path): watch for watch in self._settings.watch}
        folders = [_folder(state, by_path[state.path], counts) for state in self._intake.folder_states()]
        reasons = self._reasons(endpoints, counts)
        return Status(
            state=self._shown_state(reasons),
            reasons=reasons,
            version=__version__,
            pid=os.getpid(),
            uid=os.geteuid(),
            started_at=self._started_at,
            now=now,
            database_bytes=self._database.size_bytes,
            jobs=jobs_by_state(counts),
            bytes=bytes_by_state(counts),
            folders=folders,
            watcher=_watcher(self._intake.health()),
            endpoints=endpoints,
            in_flight=self._flights(),
        )

    def _flights(self) -> list[InFlight]:
        return [_in_flight(figures) for figures in self._pool.in_flight()]

    def order(self, verb: Verb, selection: Selection, limit: int, cursor: int | None) -> Applied:
        """What an operator asks of jobs, over the control socket."""
        return self._orders.apply(verb, selection, self._clock(), limit=limit, cursor=cursor)

    def rescan(self, folder: str | None) -> list[str]:
        """Has a folder scanned, or all, as soon as possible; returns which."""
        return self._intake.rescan(folder)

    def _explain(self, path: bytes) -> Explanation | None:
        found = self._intake.explain(path)
        if found is None:
            return None
        return Explanation(
            path=shown(found.place.path),
            path_b64=path_b64(found.place.path),
            folder=found.place.folder,
            taken=found.taken,
            rule=escaped(found.rule),
            waits_for=None if found.waits_for is None else escaped(found.waits_for),
            job=None if found.job is None else job_reply(found.job),
        )

    def _shown_state(self, reasons: list[str]) -> str:
        if self._state != "ok":
            return self._state
        if reasons:
            return "degraded"
        return "ok" if self._intake.looked_at else "starting"

    def _reasons(self, endpoints: list[Endpoint], counts: list[Count]) -> list[str]:
        reasons = self._intake.problems()
        reasons += [problem for problem in (self._database.damage, self._database.witness_problem) if problem]
        # A job is delivered and not disposing only when its disposal has been put off.
        put_off = sum(count.jobs for count in counts if count.state is State.DELIVERED)
        if put_off:
            reasons.append(
                f"{_plural(put_off, 'file')} arrived, but what is to follow (after_upload) could not be done yet: "
                "tusd-agent jobs --state delivered says why"
            )
        held = sum(count.jobs for count in counts if count.state is State.HELD)
        if held and self._database.incomplete_since is not None:
            reasons.append(
                f"the ledger is incomplete, and {_plural(held, 'job')} held may be of files that were sent before: "
                'those with the reason "ledger lost" wait for release (send them) or adopt (they arrived)'
            )
        reasons += [f"endpoint {each['name']}: {each['reason']}" for each in endpoints if each["reason"]]
        if self._pool.problem:
            reasons.append(self._pool.problem)
        return reasons

    def _status_line(self) -> str:
        try:
            counts = self._reader.counts()
        except DatabaseUnusable as error:
            return str(error)
        waiting = sum(count.jobs for count in counts if count.state in WAITING)
        working = sum(count.jobs for count in counts if count.state in WORKING)
        failed = sum(count.jobs for count in counts if count.state is State.FAILED)
        folders = len(self._settings.watch)
        watched = _plural(folders, "folder")
        return f"{watched} watched, {_plural(waiting, 'job')} waiting, {working} in flight, {failed} failed"

    def _wake(self) -> None:
        self._pool.wake()

    def _revoke(self, job_id: int) -> None:
        self._pool.revoke(job_id)


def _keep(agent: AgentSettings, database: Database) -> Keep | None:
    if not agent.retention_days:
        return None
    return Keep(Retention(database), agent.retention_days * 86_400.0, agent.retention_jobs)


def watched_folder(watch: WatchSettings) -> WatchedFolder:
    """The folder as the intake is told of it."""
    return WatchedFolder(
        path=str(watch.path),
        endpoint=watch.endpoint,
        recursive=watch.recursive,
        settle_seconds=watch.settle_seconds,
        renamed=watch.renamed,
        include=watch.include,
        exclude=watch.exclude,
        watch=watch.watch,
        poll_interval_seconds=watch.poll_interval_seconds,
        contract=watch.contract,
        marker_suffix=watch.marker_suffix,
        growing_after_seconds=watch.growing_after_seconds,
        existing=watch.existing,
        hidden=watch.hidden,
        max_depth=watch.max_depth,
        min_size_bytes=watch.min_size,
        max_size_bytes=watch.max_size,
        min_age_seconds=watch.min_age_seconds,
        max_age_seconds=watch.max_age_seconds,
        guard_file=watch.guard_file,
        mount_check=watch.mount_check,
    )


def _folder_rules(watch: WatchSettings, config_file: Path | None, empty_folders: EmptyFolders) -> FolderRules:
    command = None
    if watch.after_upload == "command":
        file = None if config_file is None else str(config_file)
        command = Command(watch.command, watch.command_timeout_seconds, file)
    return FolderRules(
        path=str(watch.path),
        after_upload=watch.after_upload,
        move_to=str(watch.move_to) if watch.move_to is not None else None,
        command=command,
        marker_suffix=watch.marker_suffix if watch.contract == "marker" else None,
        empty_folders=empty_folders if watch.remove_empty_folders else None,
        priority=watch.priority,
        settle_seconds=watch.settle_seconds,
        give_up_after_seconds=watch.give_up_after_seconds,
        metadata=watch.metadata,
    )


def _bandwidth(settings: Settings, clock: Callable[[], float]) -> Bandwidth:
    return Bandwidth(
        settings.agent.rate_limit,
        {name: endpoint.rate_limit for name, endpoint in settings.endpoint.items()},
        [
            TimedLimit(
                from_minute=minute_of_day(limit.begins),
                to_minute=minute_of_day(limit.ends),
                rate_bytes_per_second=limit.rate,
                days=frozenset(WEEKDAYS.index(day) for day in limit.days),
                endpoint=limit.endpoint,
            )
            for limit in settings.limits
        ],
        clock=clock,
    )


def _endpoint_rules(
    name: str, settings: EndpointSettings, config_dir: Path | None, environ: Mapping[str, str], throttle: Throttle
) -> EndpointRules:
    headers = settings.request_headers(config_dir, environ)
    cert = (str(settings.client_cert), str(settings.client_key)) if settings.client_key else settings.client_cert
    client = TUSClient(
        settings.url,
        chunk_size=settings.chunk_size or None,
        timeout=settings.timeout_seconds,
        connect_timeout=settings.connect_timeout_seconds,
        max_retries=RECONNECTS,
        retry_delay=RECONNECT_SECONDS,
        max_retry_delay=LONGEST_RECONNECT_SECONDS,
        max_retry_after=0.0,  # what the server asks for is asked of all jobs: not slept off in a worker
        headers={key: _checked(value) if callable(value) else value for key, value in headers.items()},
        allow_other_origin=settings.allow_other_origin,
        verify=str(settings.ca_file) if settings.ca_file is not None else True,
        cert=cert if isinstance(cert, tuple) or cert is None else str(cert),
    )
    return EndpointRules(
        name=name,
        url=settings.url,
        client=client,
        digest=settings.digest,
        delete_proof=settings.delete_proof,
        max_concurrent=settings.max_concurrent,
        allow_other_origin=settings.allow_other_origin,
        throttle=throttle,
    )


def _checked(credential: Callable[[], str]) -> Callable[[], str]:
    """Credentials that can't be read now are to delivery what a server's 401 is: all jobs of the endpoint wait."""

    def value() -> str:
        try:
            return credential()
        except CredentialError as error:
            raise AuthRequired(str(error)) from error

    return value


def _folder(state: FolderState, watch: WatchSettings, counts: list[Count]) -> Folder:
    own = [count for count in counts if count.folder == state.path]
    return Folder(
        path=state.path,
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
        jobs=jobs_by_state(own),
        waiting_bytes=sum(count.bytes for count in own if count.state in WAITING),
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


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _endpoint(state: EndpointState, is_busy: bool) -> Endpoint:
    """The endpoint for `status`; one that has nothing to do has no trouble, whatever its last answer was."""
    return Endpoint(
        name=state.name,
        url=state.url,
        breaker=str(state.breaker),
        reason=state.reason if is_busy else None,
        next_probe_at=state.next_probe_at,
        in_flight=state.in_flight,
        answered_at=state.answered_at,
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
