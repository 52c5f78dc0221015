"""What an operator has set for more than a job: pauses and limits. In the database, so that they outlive a restart."""

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .database import Database

_PAUSE, _LIMIT = "pause", "limit"


@dataclass(frozen=True, slots=True)
class Scope:
    """What an order is about: a watched folder, an endpoint, or (neither is given) the whole agent."""

    folder: str | None = None
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Pauses:
    """What is paused, and since when (seconds since the epoch)."""

    since: Mapping[Scope, float] = field(default_factory=dict)

    @property
    def of_all(self) -> bool:
        """Whether the whole agent is paused."""
        return Scope() in self.since

    def cover(self, folder: str, endpoint: str) -> bool:
        """Whether the jobs of this folder for this endpoint wait for a resume."""
        return any(one in self.since for one in (Scope(), Scope(folder=folder), Scope(endpoint=endpoint)))

    def cover_endpoint(self, endpoint: str) -> bool:
        """Whether nothing at all may go to the endpoint."""
        return self.of_all or Scope(endpoint=endpoint) in self.since


class Standing:
    """Asked and told by the operator. Safe for use by several threads; each change is on the disk when it returns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pauses(self) -> Pauses:
        """What is paused now, the longest first."""
        with self._database.reading() as connection:
            return pauses_in(connection)

    def pause(self, scope: Scope, now: float) -> bool:
        """Pauses it from now on; returns whether it was not paused before."""
        return self._note("INSERT OR IGNORE INTO agent VALUES (?, ?)", (_key(_PAUSE, scope), repr(now)))

    def resume(self, scope: Scope) -> bool:
        """Ends its pause; returns whether it was paused."""
        return self._note("DELETE FROM agent WHERE key = ?", (_key(_PAUSE, scope),))

    def limits(self) -> dict[str | None, float]:
        """The limits set by hand, in bytes per second (0: none), by endpoint; `None` is the whole agent."""
        with self._database.reading() as connection:
            return {scope.endpoint: rate for scope, rate in _noted(connection, _LIMIT)}

    def limit(self, rate_bytes_per_second: float | None, endpoint: str | None) -> None:
        """Sets a limit by hand, or (`None`) takes it back."""
        key = _key(_LIMIT, Scope(endpoint=endpoint))
        if rate_bytes_per_second is None:
            self._note("DELETE FROM agent WHERE key = ?", (key,))
        else:
            self._note("INSERT OR REPLACE INTO agent VALUES (?, ?)", (key, repr(float(rate_bytes_per_second))))

    def _note(self, statement: str, values: tuple[str, ...]) -> bool:
        with self._database.transaction(durable=True) as connection:
            return connection.execute(statement, values).rowcount > 0


def pauses_in(connection: sqlite3.Connection) -> Pauses:
    """What is paused, the longest first."""
    return Pauses(dict(sorted(_noted(connection, _PAUSE), key=lambda one: one[1])))


def _noted(connection: sqlite3.Connection, what: str) -> Iterator[tuple[Scope, float]]:
    rows = connection.execute("SELECT key, value FROM agent WHERE key = ? OR key GLOB ?", (what, f"{what} *"))
    for key, value in rows:
        _, _, rest = key.partition(" ")
        kind, _, name = rest.partition(" ")
        yield (Scope(**{kind: name}) if kind else Scope()), float(value)


def _key(what: str, scope: Scope) -> str:
    if scope.folder is not None:
        return f"{what} folder {scope.folder}"
    return what if scope.endpoint is None else f"{what} endpoint {scope.endpoint}"
