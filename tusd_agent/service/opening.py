"""The first step of a start: the state folder is ours, and what the last run left in it is put in order."""

import logging
import sqlite3
from collections.abc import Callable

from ..config import Settings
from ..jobs.database import DatabaseUnwritable
from ..jobs.lock import StateLock
from ..jobs.room import MAY_PASS, hint_of
from .changing import apply_limits, scope_words
from .reloading import Parts
from .reporting import plural

log = logging.getLogger("tusd_agent.service")

EXIT_CONFIG = 78
"""EX_CONFIG of sysexits(3): a restart can't help, so systemd is told not to try (RestartPreventExitStatus=)."""


class StartError(Exception):
    """The agent can't start. The message says why and what to do; `exit_code` is for the process."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class NotNow(Exception):
    """The state folder takes no writing now. The message says why and what to do."""


class Opening:
    """Opens the store. `settings` gives those that hold, `hold_orphans` holds what they no longer know."""

    def __init__(
        self, lock: StateLock, parts: Parts, settings: Callable[[], Settings], hold_orphans: Callable[[], object]
    ) -> None:
        self._lock = lock
        self._parts = parts
        self._settings = settings
        self._hold_orphans = hold_orphans

    def open(self) -> None:
        """Lock, database, and what the last run left in it.

        Raises `NotNow`, with all of it undone; `StartError`, `StateInUse`, `DatabaseUnusable` and SQLite's errors.
        """
        state_dir = self._lock.path.parent
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            if error.errno in MAY_PASS:
                raise NotNow(f"the state folder can't be used: {hint_of(error, state_dir)}") from error
            raise StartError(
                f"the state folder {state_dir} can't be used: {error.strerror}. Give the agent's user the right to "
                "write there, or set agent.state_dir to another folder",
                EXIT_CONFIG,
            ) from error
        database = self._parts.database
        try:
            try:
                self._open_database()
            except sqlite3.DatabaseError:
                if database.damage is None:
                    raise
                database.close()
                self._open_database()  # now that it is known to be damaged, what can be read of it is saved
        except DatabaseUnwritable as error:
            database.close()
            self._lock.release()
            raise NotNow(str(error)) from error

    def _open_database(self) -> None:
        database, settings = self._parts.database, self._settings()
        clean = database.open()
        if database.loss is not None:
            log.error(
                "%s. What is found and may have been sent before is held: release sends it, adopt takes it as done",
                database.loss,
            )
        self._parts.claims.fit(by_age=any(watch.give_up_after_seconds for watch in settings.watch))
        recovered = self._parts.claims.recover()
        if database.loss is None and not clean:
            log.warning(
                "the last run did not end cleanly; %s put back%s",
                plural(recovered, "job"),
                ", and the database is looked over meanwhile" if database.unchecked else ", the database is intact",
            )
        if database.witness_problem is not None:
            log.warning("%s", database.witness_problem)
        pauses = self._parts.standing.pauses()
        self._parts.pool.pause(pauses)
        apply_limits(self._parts.standing, self._parts.bandwidth, settings)
        for scope in pauses.since:
            log.warning("%s is paused: tusd-agent resume has it go on", scope_words(scope))
        self._hold_orphans()
