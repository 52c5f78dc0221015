"""Forgetting: rows that no longer prevent anything are deleted, a few at a time, and their room is given back.

A row prevents a second upload of its file, so it outlives the upload for as long as the file may turn up again: it goes
when its path was found absent for `keep_seconds`, looks while the folder was unavailable not counted, or when newer
content of the path is done.
"""

from collections.abc import Sequence
from typing import NamedTuple

from .database import Database
from .model import Place
from .states import State

_ENDED = (State.DONE, State.CANCELLED, State.VANISHED, State.SUPERSEDED)
_NEWER_IS_DONE = """EXISTS (SELECT 1 FROM jobs n WHERE n.directory_id = j.directory_id AND n.name = j.name
    AND (n.placed, n.id) > (j.placed, j.id) AND n.state = 'done')"""


class Ended(NamedTuple):
    """A job that has ended. `absent_since`: when its path was first found absent; `outlived`: newer content is done."""

    job_id: int
    place: Place
    finished_at: float
    absent_since: float | None
    outlived: bool


class Retention:
    """What the one who looks at the paths asks and tells. Instants are seconds since the epoch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ended(self, folder: str, after_id: int, limit: int) -> list[Ended]:
        """Jobs of the folder that have ended, in the order of their ids, from beyond `after_id`."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT j.id, d.path, j.name, COALESCE(j.finished_at, j.created_at), j.absent_since, {_NEWER_IS_DONE} "
                "FROM jobs j JOIN directories d ON d.id = j.directory_id "
                "WHERE j.folder_id = (SELECT id FROM folders WHERE path = ?) AND j.id > ? "
                f"AND j.state IN ({', '.join('?' * len(_ENDED))}) ORDER BY j.id LIMIT ?",
                (folder, after_id, *_ENDED, limit),
            ).fetchall()
        return [
            Ended(job_id, Place(folder, directory, name), finished_at, absent_since, bool(outlived))
            for job_id, directory, name, finished_at, absent_since, outlived in rows
        ]

    def count(self) -> int:
        """How many jobs have ended; the cost does not depend on the number."""
        with self._database.reading() as connection:
            (jobs,) = connection.execute(
                f"SELECT COALESCE(SUM(jobs), 0) FROM counters WHERE state IN ({', '.join('?' * len(_ENDED))})", _ENDED
            ).fetchone()
        return int(jobs)

    def note(self, absent: Sequence[int], present: Sequence[int], now: float) -> None:
        """The paths of these jobs were found absent for the first time, or there again."""
        if not absent and not present:
            return
        with self._database.transaction() as connection:
            connection.executemany("UPDATE jobs SET absent_since = ? WHERE id = ?", [(now, job) for job in absent])
            connection.executemany("UPDATE jobs SET absent_since = NULL WHERE id = ?", [(job,) for job in present])

    def forget(self, jobs: Sequence[int]) -> int:
        """Deletes these rows, those excepted that are no longer ended; returns how many went.

        The row with the highest id stays, whatever it is: SQLite gives a new row the number after it
        (https://sqlite.org/autoinc.html), and no number must ever mean a second job.
        """
        if not jobs:
            return 0
        with self._database.transaction() as connection:
            return connection.executemany(
                f"DELETE FROM jobs WHERE id = ? AND state IN ({', '.join('?' * len(_ENDED))}) "
                "AND id < (SELECT MAX(id) FROM jobs)",
                [(job, *_ENDED) for job in jobs],
            ).rowcount

    def forget_empty_directories(self, folder: str, limit: int) -> int:
        """Deletes at most `limit` directories of the folder that no job lies in; returns how many went."""
        with self._database.transaction() as connection:
            return connection.execute(
                "DELETE FROM directories WHERE id IN (SELECT d.id FROM directories d WHERE d.folder_id = "
                "(SELECT id FROM folders WHERE path = ?) AND NOT EXISTS "
                "(SELECT 1 FROM jobs j WHERE j.directory_id = d.id) LIMIT ?)",
                (folder, limit),
            ).rowcount

    def give_back(self, pages: int) -> bool:
        """Gives at most so many unused pages of the file back to the disk; returns whether more can be."""
        with self._database.reading() as connection:
            (before,) = connection.execute("PRAGMA freelist_count").fetchone()
            # Its rows, one for each page, have to be fetched for it to go on.
            connection.execute(f"PRAGMA incremental_vacuum({pages:d})").fetchall()
            (left,) = connection.execute("PRAGMA freelist_count").fetchone()
        return bool(0 < left < before)
