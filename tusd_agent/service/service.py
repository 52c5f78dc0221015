"""The composition root: builds every part from the settings, starts them in order, stops them in reverse."""

import logging
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..config import Settings
from ..control.commands import Commands
from ..control.replies import Status
from ..control.server import ControlServer, SocketUnusable
from ..delivery.emptying import EmptyFolders
from ..delivery.pool import Pool
from ..intake.intake import Intake
from ..jobs.claims import Claims
from ..jobs.database import Database, DatabaseUnusable
from ..jobs.folders import Folders
from ..jobs.ledger import Ledger
from ..jobs.lock import StateInUse, StateLock
from ..jobs.orders import Applied, Orders, Verb
from ..jobs.reader import Reader
from ..jobs.selection import Selection
from ..systemd import Notifier
from .assembly import bandwidth_of, endpoint_rules, folder_rules, keep_rules, watched_folder
from .reporting import Reporting, plural

if TYPE_CHECKING:
    from .metrics import Metrics

log = logging.getLogger("tusd_agent.service")

EXIT_CONFIG = 78
"""EX_CONFIG of sysexits(3): a restart can't help, so systemd is told not to try (RestartPreventExitStatus=)."""

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
        state_dir = Path(settings.agent.state_dir)
        self._lock = StateLock(state_dir / "lock")
        self._database = Database(state_dir / "queue.db")
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
        self._pool = Pool(
            claims,
            [
                endpoint_rules(name, endpoint, settings.config_dir, environ, self.bandwidth.throttle(name))
                for name, endpoint in settings.endpoint.items()
            ],
            [folder_rules(watch, settings.file, self._empty_folders) for watch in settings.watch],
            self._intake.note,
            self._intake.is_present,
            workers=settings.agent.workers,
        )
        reporting = Reporting(settings, reader, self._database, self._intake, self._pool, clock)
        self._reporting = reporting
        self._metrics: Metrics | None = None
        self._control = ControlServer(
            Path(settings.agent.socket),
            Commands(reader, reporting.status, reporting.flights, reporting.explain, self, self.metrics),
            group=settings.agent.socket_group,
        )

    def run(self, stop: threading.Event) -> None:
        """Starts, works until `stop` is set, stops. Raises `StartError`."""
        self.start()
        try:
            while not stop.wait(NOTIFY_SECONDS if self._notified else None):
                self._notifier.status(self._reporting.line())
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
        self._reporting.state = "ok"
        self._notifier.ready()
        log.info("tusd-agent %s runs: %s", __version__, self._reporting.line())
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
                "the last run did not end cleanly; the database is intact, %s put back", plural(recovered, "job")
            )
        if self._database.witness_problem is not None:
            log.warning("%s", self._database.witness_problem)
        folders = {str(watch.path) for watch in self._settings.watch}
        held = self._orders.hold_orphans(folders, set(self._settings.endpoint), self._clock())
        if held:
            log.warning("%s held: the folder or endpoint is no longer in the configuration", plural(held, "job"))

    def stop(self) -> None:
        """STOPPING=1, watch and intake, workers, control, store, lock: what gives work stops before what takes it.

        A body in the middle stops within a second, and what the server has of it is kept. Can be repeated.
        """
        ran, self._reporting.state = self._reporting.state == "ok", "stopping"
        self._notifier.stopping()
        self._intake.stop()
        if not self._pool.stop(STOP_SECONDS):
            log.warning("a worker did not stop in time; its job goes on at the next start")
        self._empty_folders.stop()
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

    def order(self, verb: Verb, selection: Selection, limit: int, cursor: int | None) -> Applied:
        """What an operator asks of jobs, over the control socket."""
        return self._orders.apply(verb, selection, self._clock(), limit=limit, cursor=cursor)

    def rescan(self, folder: str | None) -> list[str]:
        """Has a folder scanned, or all, as soon as possible; returns which."""
        return self._intake.rescan(folder)

    def _wake(self) -> None:
        self._pool.wake()

    def _revoke(self, job_id: int) -> None:
        self._pool.revoke(job_id)
