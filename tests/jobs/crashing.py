"""A database whose process can be killed at any statement: what is on the disk then is all that is left."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch


class Crash(BaseException):
    """The process was killed; `committed`: after a commit; another one, of nothing, may have been under way."""

    def __init__(self, committed: bool) -> None:
        super().__init__("killed")
        self.committed = committed


class Connection(sqlite3.Connection):
    """A connection that is killed at the `left`th statement from now: before it, after it if it is a commit.

    `remember` is called at that instant. What is done with the connection later, a rollback say, reaches nobody.
    """

    left: ClassVar[int | None] = None
    committed: ClassVar[bool] = False
    remember: ClassVar[Callable[[], None]]

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        self._count()
        done = super().execute(sql, parameters)
        if sql == "COMMIT":
            Connection.committed = True
            self._count()
        return done

    @classmethod
    def _count(cls) -> None:
        if cls.left is None:
            return
        cls.left -= 1
        if cls.left <= 0:
            cls.left = None
            cls.remember()
            raise Crash(cls.committed)


@contextmanager
def crashing_connections() -> Iterator[None]:
    """Within it all new connections to SQLite can be killed."""
    with patch.object(sqlite3, "connect", partial(sqlite3.connect, factory=Connection)):
        yield
    Connection.left = None


@contextmanager
def killed_at(statement: int | None, database: Path, left_behind: Path) -> Iterator[None]:
    """Kills at that statement of what is done within it, if there are so many; the files are in `left_behind` then."""

    def remember() -> None:
        left_behind.mkdir()
        for file in (database, database.with_name(database.name + "-wal"), database.with_suffix(".witness")):
            shutil.copyfile(file, left_behind / file.name)

    Connection.left, Connection.committed, Connection.remember = statement, False, remember
    try:
        yield
    finally:
        Connection.left = None
