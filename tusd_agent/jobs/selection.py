"""Which jobs are meant: one grammar for looking at jobs and for changing them."""

import fnmatch
import os
import re
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .rows import SELECT_JOB
from .states import State

_ASIDE = frozenset({State.FAILED, State.HELD, State.CANCELLED})


@dataclass(frozen=True, slots=True)
class Selection:
    """Jobs for which all that is given holds; nothing given: all jobs.

    `paths` are absolute and exact; a directory stands for all that lies below it. `error` is looked for, in any case,
    in last error, reason and cause; `pattern` is one of fnmatch(3) for the absolute path. Instants are seconds since
    the epoch.
    """

    ids: tuple[int, ...] = ()
    paths: tuple[bytes, ...] = ()
    states: tuple[State, ...] = ()
    folder: str | None = None
    endpoint: str | None = None
    error: str | None = None
    pattern: str | None = None
    created_before: float | None = None
    created_after: float | None = None


_NEWEST_OF_ITS_PATH = """NOT EXISTS (SELECT 1 FROM jobs n
    WHERE n.directory_id = j.directory_id AND n.name = j.name AND (n.placed, n.id) > (j.placed, j.id))"""


def select(
    connection: sqlite3.Connection,
    selection: Selection,
    cursor: int | None,
    limit: int,
    *,
    newest_only: bool = False,
) -> list[Any]:
    """The rows (as of `SELECT_JOB`) of at most `limit` selected jobs with ids below `cursor`, the newest first.

    `newest_only`: no jobs of contents whose path has a newer one.
    """
    conditions: list[str] = ["j.id < ?"]
    values: list[Any] = [cursor if cursor is not None else 2**62]

    def require(condition: str, *given: Any) -> None:
        conditions.append(condition)
        values.extend(given)

    if selection.ids:
        require(f"j.id IN ({_marks(selection.ids)})", *selection.ids)
    if selection.paths:
        at, given = _at(connection, selection.paths)
        require(at, *given)
    if selection.states:
        require(_in_states(frozenset(selection.states)))
    if selection.folder is not None:
        require("f.path = ?", selection.folder)
    if selection.endpoint is not None:
        require("j.endpoint = ?", selection.endpoint)
    if selection.error is not None:
        like = "%" + re.sub(r"([\\%_])", r"\\\1", selection.error) + "%"
        texts = " OR ".join(f"j.{column} LIKE ? ESCAPE '\\'" for column in ("last_error", "reason", "cause"))
        require(f"({texts})", like, like, like)
    if selection.pattern is not None:
        connection.create_function("tusd_agent_like", 3, _like(selection.pattern), deterministic=True)
        require("tusd_agent_like(f.path, d.path, j.name)")
    if selection.created_before is not None:
        require("j.created_at < ?", selection.created_before)
    if selection.created_after is not None:
        require("j.created_at > ?", selection.created_after)
    if newest_only:
        require(_NEWEST_OF_ITS_PATH)
    query = f"{SELECT_JOB} WHERE {' AND '.join(conditions)} ORDER BY j.id DESC LIMIT ?"
    return connection.execute(query, (*values, limit)).fetchall()


def _marks(values: Iterable[object]) -> str:
    return ", ".join("?" for _ in values)


def _in_states(states: frozenset[State]) -> str:
    listed = ", ".join(sorted(f"'{state}'" for state in states))
    if states <= _ASIDE:
        # SQLite uses a partial index only where the query repeats the index's own condition.
        return (
            "j.id IN (SELECT id FROM jobs INDEXED BY jobs_aside "
            f"WHERE state IN ('failed', 'held', 'cancelled') AND state IN ({listed}))"
        )
    return f"j.state IN ({listed})"


def _at(connection: sqlite3.Connection, paths: Iterable[bytes]) -> tuple[str, list[Any]]:
    """The condition for jobs at or below these absolute paths, and its values."""
    conditions, values = ["0"], list[Any]()
    folders = connection.execute("SELECT id, path FROM folders").fetchall()
    for path in paths:
        for folder_id, folder in folders:
            top = os.fsencode(folder).rstrip(b"/")
            if path.rstrip(b"/") == top:
                conditions.append("j.folder_id = ?")
                values.append(folder_id)
            elif path.startswith(top + b"/"):
                relative = path[len(top) + 1 :].rstrip(b"/")
                directory, _, name = relative.rpartition(b"/")
                conditions.append(
                    "j.directory_id = (SELECT id FROM directories WHERE folder_id = ? AND path = ?) AND j.name = ?"
                )
                values += [folder_id, directory, name]
                # "0" is the character after "/": all that begins with the path and a slash.
                conditions.append(
                    "j.directory_id IN (SELECT id FROM directories "
                    "WHERE folder_id = ? AND (path = ? OR path >= ? AND path < ?))"
                )
                values += [folder_id, relative, relative + b"/", relative + b"0"]
    return f"({' OR '.join(conditions)})", values


def _like(pattern: str) -> Any:
    # As bytes: a name need not be UTF-8.
    compiled = re.compile(os.fsencode(fnmatch.translate(pattern)))

    def like(folder: str, directory: bytes, name: bytes) -> bool:
        return compiled.match(os.path.join(os.fsencode(folder), directory, name)) is not None

    return like
