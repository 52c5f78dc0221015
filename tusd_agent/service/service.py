"""The composition root: builds every part from the settings, starts them in order, stops them in reverse."""

import logging
import math
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..config import Settings, load
from ..control.commands import Commands
from ..control.events import Events
from ..control.refusals import Refused, not_now
from ..control.replies import Status
from ..control.replies_changes import ReloadReply
from ..control.server import ControlServer, SocketUnusable
from ..delivery.emptying import EmptyFolders
from ..delivery.pool import Pool
from ..intake.intake import Intake
from ..jobs.claims import Claims
from ..jobs.database import Database, DatabaseUnusable
from ..jobs.folders import Folders
from ..jobs.ledger import Ledger
from ..jobs.lock import StateInUse, StateLock
from ..jobs.orders import Orders
from ..jobs.reader import Reader
from ..jobs.standing import Standing
from ..systemd import Notifier, watchdog_seconds
from .assembly import bandwidth_of, endpoint_rules, folder_rules, keep_rules, watched_folder
from .changing import Changing
from .opening import NotNow, Opening, StartError
from .reloading import Parts, Reloading
from .reporting import Reporting
from .watchdog import Verdict

if TYPE_CHECKING:
    from .metrics import Metrics

log = logging.getLogger("tusd_agent.service")

NOTIFY_SECONDS = 10.0
STOP_SECONDS = 4.0

LONGEST_START_SECONDS = 3600.0
"""A large database may have to be checked, or made a newer version's, before the agent is up."""

LONGEST_STOP_SECONDS = 60.0

INTAKE_STOP_SECONDS = 2.0
"""A folder that does not answer keeps the thread that looks at it; what it may still queue is found again."""
STORE_RETRY_SECONDS = 5.0
RELOAD_PATIENCE_SECONDS = 10.0


class Service:
    """The agent. The constructor does no I/O; `start` and `stop` do, `run` is both around a wait."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        *,
        read: Callable[[], Settings] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`read` is how the settings are read anew for a reload; without it from the file that they came from."""
        self._clock = clock
        state_dir = Path(settings.agent.state_dir)
        self._lock = StateLock(state_dir / "lock")
        self._database = Database(state_dir / "queue.db")
        self._database.on_trouble = self._wake  # the workers find out when it can be written again
        reader = self._reader = Reader(self._database.path)
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
            keep=keep_rules(settings.agent, self._database),
        )
        self.bandwidth = bandwidth_of(settings, clock)
        self._empty_folders = EmptyFolders()
        endpoints = {
            name: endpoint_rules(name, endpoint, settings.config_dir, environ, self.bandwidth.throttle(name))
            for name, endpoint in settings.endpoint.items()
        }
        self._pool = Pool(
            claims,
            endpoints.values(),
            [folder_rules(watch, settings.file, self._empty_folders) for watch in settings.watch],
            self._intake.note,
            self._intake.is_present,
            workers=settings.agent.workers,
        )
        self._standing = Standing(self._database)
        parts = Parts(
            self._database,
            claims,
            self._orders,
            self._standing,
            self._intake,
            self._pool,
            self.bandwidth,
            self._empty_folders,
        )
        self._stopping = threading.Event()
        self._reloading = Reloading(
            settings, endpoints, parts, environ, read or (lambda: load(settings.file, environ)), self._stopping, clock
        )
        self._pool.on_orphan = self._reloading.hold_orphans
        self._opening = Opening(self._lock, parts, lambda: self._settings, self._reloading.hold_orphans)
        reporting = Reporting(
            lambda: self._settings, reader, self._database, self._intake, self._pool, self.bandwidth, clock
        )
        self._reporting = reporting
        self._events = Events(clock, self._listening)
        self._vitals = reporting.vitals
        self._watchdog_seconds = watchdog_seconds(environ, os.getpid())
        self._vitals.watched_by(self._watchdog_seconds)
        self._changing = Changing(
            lambda: self._settings,
            self._orders,
            self._standing,
            self._intake,
            self._pool,
            self.bandwidth,
            self.reload,
            self._events,
            clock,
        )
        self._metrics: Metrics | None = None
        self._control = ControlServer(
            Path(settings.agent.socket),
            Commands(
                reader,
                reporting.status,
                reporting.flights,
                reporting.explain,
                self._changing,
                self.metrics,
                self._events,
            ),
            group=settings.agent.socket_group,
        )
        self._life = threading.RLock()
        self._next_reload = threading.Lock()

    @property
    def _settings(self) -> Settings:
        """Those that hold."""
        return self._reloading.settings

    def run(self, stop: threading.Event, reload_asked: threading.Event | None = None) -> None:
        """Starts, works until `stop` is set, stops. Raises `StartError`.

        Each time that `reload_asked` is set the configuration is read again; several times while that goes on count
        as one.
        """
        with self._notifier.extending(LONGEST_START_SECONDS):
            self.start(stop)
        if reload_asked is not None:
            threading.Thread(target=self._reload_when, args=(reload_asked,), name="reload", daemon=True).start()
        every_seconds = min(NOTIFY_SECONDS, (self._watchdog_seconds or math.inf) / 4) if self._notified else None
        verdict = Verdict(True)
        try:
            while not stop.is_set():
                if self._notified:
                    verdict = self._show_life(verdict)
                stop.wait(every_seconds)
        finally:
            with self._notifier.extending(LONGEST_STOP_SECONDS):
                self.stop()

    def _show_life(self, before: Verdict) -> Verdict:
        """Tells systemd how things are; that the agent is alive only if it is."""
        verdict = self._vitals.look()
        if verdict.alive:
            self._notifier.watchdog()
        if verdict.problem is not None and before.problem is None:
            log.log(logging.WARNING if verdict.alive else logging.CRITICAL, "%s", verdict.problem)
        if verdict.problem is None and before.problem is not None:
            log.info("every thread moves on again")
        self._notifier.status(verdict.problem or self._reporting.line())
        return verdict

    def start(self, stop: threading.Event | None = None) -> None:
        """Lock, store, recover, control, workers, READY=1, watch, first scan: in this order.

        The control socket answers before anything can go wrong that one would want to ask it about; the scan comes
        last because it may take long and nothing waits for it. Raises `StartError`, with everything undone.

        A state folder that is full or read-only is nothing that a restart could mend, and a program that ends again and
        again can't be asked why. So with `stop` the agent is up then, says "degraded" and the reason, and takes up its
        work once the folder can be written, or returns when `stop` is set. What is dropped meanwhile the first scan
        finds. Without `stop` it is a `StartError`.
        """
        with self._life:
            self._start(stop)

    def _start(self, stop: threading.Event | None) -> None:
        self._stopping.clear()
        if threading.current_thread() is threading.main_thread():
            # Whoever opens a file while we hold a read lease on it would otherwise kill us (fcntl(2), F_SETLEASE).
            signal.signal(signal.SIGIO, signal.SIG_IGN)
            # Where it was ignored, as some that start us leave it, nobody would learn how a command ended (wait(2)).
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with self._all_or_nothing():
            try:
                self._opening.open()
            except NotNow as problem:
                if stop is None:
                    raise
                self._reporting.waits_for = str(problem)
                self._control.start()
                if not self._wait_for_store(stop, str(problem)):
                    return
            else:
                self._control.start()
        threading.excepthook = self._thread_died
        self._pool.start()
        if self._database.unchecked:
            threading.Thread(target=self._check_database, name="check").start()
        if any(watch.remove_empty_folders for watch in self._settings.watch):
            self._empty_folders.start()
        self._reporting.state = "ok"
        self._notifier.ready()
        log.info("tusd-agent %s runs: %s", __version__, self._reporting.line())
        if not self._settings.watch:
            log.warning("no folder is watched: add a [[watch]] table to the configuration")
        self._intake.start()

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        try:
            yield
        except SocketUnusable as error:
            self.stop()
            raise StartError(str(error), error.exit_code) from error
        except StartError:
            self.stop()
            raise
        except (NotNow, StateInUse, DatabaseUnusable, sqlite3.Error) as error:
            self.stop()
            raise StartError(str(error)) from error

    def _wait_for_store(self, stop: threading.Event, problem: str) -> bool:
        """Tries again and again to open the store; returns whether it is open, and not because `stop` was set."""
        log.error("%s. Nothing is taken or sent until then; it is tried every %.0f s", problem, STORE_RETRY_SECONDS)
        self._notifier.ready()
        while True:
            self._notifier.watchdog()
            self._notifier.status(problem)
            if stop.wait(STORE_RETRY_SECONDS):
                return False
            try:
                self._opening.open()
            except NotNow as still:
                if str(still) != problem:
                    log.error("%s", still)
                self._reporting.waits_for = problem = str(still)
            else:
                self._reporting.waits_for = None
                return True

    def _check_database(self) -> None:
        """Beside the work, after a kill; `Database.close` ends it."""
        self._database.check()
        if self._database.damage is not None:
            log.error("%s", self._database.damage)

    def _thread_died(self, died: threading.ExceptHookArgs) -> None:
        """Of any thread, ours or a library's: it is said, and what depends on it is looked at, now."""
        name = died.thread.name if died.thread is not None else "unknown"
        error = (died.exc_type, died.exc_value or died.exc_type(), died.exc_traceback)
        log.error("the thread %s ended by an error", name, exc_info=error)
        self._intake.wake()

    def reload(self) -> ReloadReply:
        """Reads the configuration again and has it hold, as far as that goes without a restart. Raises `Refused`.

        One may wait while another is under way, for that may have read the file before it was changed; more would only
        take the control socket's connections.
        """
        if not self._next_reload.acquire(blocking=False):
            raise not_now("a reload is under way, and another one waits for it")
        try:
            alone = self._life.acquire(timeout=RELOAD_PATIENCE_SECONDS)
        finally:
            self._next_reload.release()
        if not alone:
            raise not_now("the agent is starting, or a reload is under way")
        try:
            if self._stopping.is_set() or self._reporting.state != "ok":
                raise not_now("the agent is stopping")
            self._notifier.reloading()
            try:
                reply = self._reloading.reload()
                self._events.tell("reload", reply)
                return reply
            finally:
                self._notifier.ready()
                self._notifier.status(self._reporting.line())
        finally:
            self._life.release()

    def _reload_when(self, asked: threading.Event) -> None:
        while asked.wait() and not self._stopping.is_set():
            asked.clear()
            try:
                self.reload()
            except Refused as refused:
                if refused.status == 503:  # else it is said already
                    log.warning("SIGHUP was in vain: %s", refused)
            except Exception:
                log.exception("not reloaded, or only in part: reload again, or restart the agent")

    def stop(self) -> None:
        """STOPPING=1, watch and intake, workers, control, store, lock: what gives work stops before what takes it.

        A body in the middle stops within a second, and what the server has of it is kept. Can be repeated.
        """
        self._stopping.set()
        alone = self._life.acquire(timeout=STOP_SECONDS)  # a reload ends soon, now that it is told to
        try:
            self._stop()
        finally:
            if alone:
                self._life.release()

    def _stop(self) -> None:
        ran, self._reporting.state = self._reporting.state == "ok", "stopping"
        self._notifier.stopping()
        if not self._intake.stop(INTAKE_STOP_SECONDS):
            log.warning("a watched folder does not answer; the thread that looks at it is left behind")
        if not self._pool.stop(STOP_SECONDS):
            log.warning("a worker did not stop in time; its job goes on at the next start")
        self._empty_folders.stop(INTAKE_STOP_SECONDS)
        self._events.close("the agent stops")
        self._control.stop()
        threading.excepthook = threading.__excepthook__
        self._database.close()
        self._lock.release()
        if ran:
            log.info("tusd-agent stopped")

    def status(self) -> Status:
        """All that `status` shows; its cost does not grow with the jobs."""
        return self._reporting.status()

    def metrics(self) -> str:
        """The metrics in Prometheus' text format."""
        if self._metrics is None:
            from .metrics import Metrics  # only where somebody asks: it costs the library's memory

            self._metrics = Metrics(self._reporting.status, self._reader.counts, self._pool.totals)
        return self._metrics.text()

    def _listening(self, somebody: bool) -> None:
        self._database.on_moved = self._events.moved if somebody else None

    def _wake(self) -> None:
        self._pool.wake()

    def _revoke(self, job_id: int) -> None:
        self._pool.revoke(job_id)
