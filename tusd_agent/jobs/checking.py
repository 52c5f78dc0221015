"""Looking whether a database is sound, without writing to it."""

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .schema import SCHEMA_VERSION

_INSTRUCTIONS = 100_000
"""So often, in instructions of SQLite's machine, it is looked whether time is up."""


@dataclass(frozen=True, slots=True)
class Soundness:
    """What was found. `schema` is that of the file, `known` the newest this program knows.

    `damage`: what SQLite says of it, `None` where that is nothing; `finished`: whether all of it was looked at.
    """

    schema: int
    known: int
    damage: str | None
    finished: bool


def look_at(path: Path, seconds: float) -> Soundness:
    """Checks the file for no longer than so many seconds. Raises `sqlite3.Error` where it can't be opened or read."""
    until = time.monotonic() + seconds
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2)) as connection:
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        connection.set_progress_handler(lambda: time.monotonic() > until, _INSTRUCTIONS)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            return Soundness(schema, SCHEMA_VERSION, None, finished=False)
        except sqlite3.DatabaseError as error:
            return Soundness(schema, SCHEMA_VERSION, str(error), finished=True)
    return Soundness(schema, SCHEMA_VERSION, None if verdict == "ok" else str(verdict), finished=True)
