"""Unfinished uploads that have lost their job: to be terminated on their servers, some time."""

from collections.abc import Collection
from typing import NamedTuple

from .database import Database
from .model import Leftover
from .moves import add_leftover

LEASE_SECONDS = 600.0


class _Lease(NamedTuple):
    """Until when a leftover is in somebody's hands."""

    endpoint: str
    until: float


class Leftovers:
    """Those of the queue. Safe for use by several threads; `now` is seconds since the epoch."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leases: dict[int, _Lease] = {}  # guarded by the database's own lock

    def add(self, endpoint: str, upload_url: str, now: float) -> None:
        """An upload has lost its job."""
        with self._database.transaction() as connection:
            add_leftover(connection, endpoint, upload_url, now)

    def take(self, now: float, endpoints: Collection[str]) -> Leftover | None:
        """An upload to be terminated on one of these servers, the one that has waited longest.

        Nobody else is given it for `LEASE_SECONDS`, or until it is settled. That is kept in memory alone: after a
        crash nobody has it.
        """
        with self._database.reading() as connection:
            self._leases = {key: lease for key, lease in self._leases.items() if lease.until > now}
            row = connection.execute(
                "SELECT id, endpoint, upload_url, attempts FROM leftovers WHERE not_before <= ? "
                f"AND endpoint IN ({_marks(endpoints)}) AND id NOT IN ({_marks(self._leases)}) "
                "ORDER BY not_before LIMIT 1",
                (now, *endpoints, *self._leases),
            ).fetchone()
            if row is None:
                return None
            leftover = Leftover(*row)
            self._leases[leftover.id] = _Lease(leftover.endpoint, now + LEASE_SECONDS)
        return leftover

    def next_at(self, endpoints: Collection[str]) -> float | None:
        """When the next one of these endpoints is to be looked at; `None`: there is none."""
        with self._database.reading() as connection:
            (at,) = connection.execute(
                f"SELECT MIN(not_before) FROM leftovers WHERE endpoint IN ({_marks(endpoints)}) "
                f"AND id NOT IN ({_marks(self._leases)})",
                (*endpoints, *self._leases),
            ).fetchone()
            ats = [lease.until for lease in self._leases.values() if lease.endpoint in endpoints]
        return min([*ats, *([] if at is None else [float(at)])], default=None)

    def settle(self, leftover: Leftover, retry_at: float | None) -> None:
        """It is gone (`None`), or is to be tried again at `retry_at`."""
        with self._database.transaction() as connection:
            if retry_at is None:
                connection.execute("DELETE FROM leftovers WHERE id = ?", (leftover.id,))
            else:
                connection.execute(
                    "UPDATE leftovers SET attempts = attempts + 1, not_before = ? WHERE id = ?",
                    (retry_at, leftover.id),
                )
            self._leases.pop(leftover.id, None)


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))
