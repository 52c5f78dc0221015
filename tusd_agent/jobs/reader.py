"""Looking at the queue without touching it: for the control socket, and for a command line whose agent is down."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .database import DatabaseUnusable, NewerDatabase
from .history import Failure, of_job
from .model import Job, Place
from .rows import JOBS_OF_PATH, job_by_id, job_of
from .schema import SCHEMA_VERSION
from .selection import Selection, select
from .standing import Pauses, pauses_in
from .states import State
from .totals import Tally, tallies
from .troubles import Trouble, troubles
from .waiting import oldest


@dataclass(frozen=True, slots=True)
class Count:
    """How many jobs of a lane are in a state, and how many bytes they have."""

    folder: str
    endpoint: str
    state: State
    jobs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs, newest first, and where the next page begins (`None`: there is none)."""

    jobs: tuple[Job, ...]
    next_cursor: int | None


@dataclass(frozen=True, slots=True)
class Overview:
    """All counts, the totals since the instants asked for, and since when the oldest job of each folder waits."""

    counts: list[Count]
    tallies: list[Tally]
    oldest_at: dict[str, float]


class Reader:
    """A read-only view of a database file; each call opens, looks and closes, and sees one consistent moment.

    Raises `DatabaseUnusable` when there is no readable database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        if not self._path.exists():
            raise DatabaseUnusable(f"there is no database {self._path}: the agent has not run here yet")
        try:
            connection = sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=2)
            with closing(connection):
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version != SCHEMA_VERSION:
                    raise NewerDatabase(
                        f"the database {self._path} has schema {version}, this version reads {SCHEMA_VERSION}; "
                        "use the command line of the version that runs the agent"
                    )
                yield connection
        except sqlite3.Error as error:
            raise DatabaseUnusable(f"the database {self._path} can't be read: {error}") from error

    def counts(self) -> list[Count]:
        """All counts; the cost does not depend on the number of jobs."""
        with self._connection() as connection:
            return _counts(connection)

    def overview(self, since: tuple[float, ...]) -> Overview:
        """What is known of all jobs together, `since` as for `totals.tallies`; the cost is that of `counts`."""
        with self._connection() as connection, _one_moment(connection):
            return Overview(_counts(connection), tallies(connection, since), oldest(connection))

    def troubles(self) -> list[Trouble]:
        """The jobs in trouble, counted by cause."""
        with self._connection() as connection, _one_moment(connection):
            return troubles(connection)

    def failures(self, job_id: int) -> list[Failure]:
        """The last failed attempts of a job, the latest last."""
        with self._connection() as connection:
            return of_job(connection, job_id)

    def pauses(self) -> Pauses:
        """What an operator has paused."""
        with self._connection() as connection:
            return pauses_in(connection)

    def job(self, job_id: int) -> Job | None:
        """The job of this id."""
        with self._connection() as connection:
            return job_by_id(connection, job_id)

    def at(self, place: Place) -> list[Job]:
        """The jobs of a path, newest first."""
        with self._connection() as connection:
            rows = connection.execute(JOBS_OF_PATH, (place.folder, place.directory, place.name)).fetchall()
        return [job_of(row) for row in rows]

    def page(self, selection: Selection, *, limit: int = 100, cursor: int | None = None) -> Page:
        """At most `limit` of the selected jobs, newest first, from below `cursor`."""
        with self._connection() as connection:
            rows = select(connection, selection, cursor, limit + 1)
        jobs = tuple(job_of(row) for row in rows[:limit])
        return Page(jobs, jobs[-1].id if len(rows) > limit else None)


@contextmanager
def _one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is read within it is of one moment (https://sqlite.org/isolation.html)."""
    connection.execute("BEGIN")
    yield
    connection.execute("ROLLBACK")


def _counts(connection: sqlite3.Connection) -> list[Count]:
    rows = connection.execute(
        "SELECT f.path, c.endpoint, c.state, c.jobs, c.bytes FROM counters c "
        "JOIN folders f ON f.id = c.folder_id WHERE c.jobs > 0 ORDER BY f.path, c.endpoint, c.state"
    )
    return [Count(folder, endpoint, State(state), jobs, size) for folder, endpoint, state, jobs, size in rows]
