"""Databases of every older version become present ones, with nothing lost."""

import sqlite3
from pathlib import Path
from uuid import uuid4

import pytest

from tusd_agent.jobs.claims import Claims
from tusd_agent.jobs.database import Database
from tusd_agent.jobs.model import Lane
from tusd_agent.jobs.reader import Reader
from tusd_agent.jobs.schema import SCHEMA_STEPS, SCHEMA_VERSION
from tusd_agent.jobs.selection import Selection
from tusd_agent.jobs.states import State

LANE = Lane("/srv/out", "default")
STATES = ("pending", "uploading", "delivered", "done", "failed", "held")


def older(path: Path, version: int) -> None:
    """A database as that version left it when it was killed: a job in each state."""
    with sqlite3.connect(path) as connection:
        for step in SCHEMA_STEPS[:version]:
            connection.executescript(step)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("INSERT INTO folders (id, path) VALUES (1, '/srv/out')")
        connection.execute("INSERT INTO directories (id, folder_id, path) VALUES (1, 1, x'')")
        for number, state in enumerate(STATES, 1):
            connection.execute(
                "INSERT INTO jobs (id, uuid, folder_id, directory_id, name, endpoint, state, size_bytes, mtime_ns, "
                "ctime_ns, inode, not_before, created_at, attempts, claim_id, upload_url, reason) "
                "VALUES (?, ?, 1, 1, ?, 'default', ?, 10, 1, 1, ?, 5.0, 4.0, 2, 3, 'http://localhost/1', 'refused')",
                (number, uuid4().bytes, state.encode(), state, number),
            )


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_an_older_database_goes_on(tmp_path: Path, version: int) -> None:
    path = tmp_path / "queue.db"
    older(path, version)
    database = Database(path)
    database.open()
    claims = Claims(database)
    claims.fit(by_age=True)
    assert claims.recover() == 1
    jobs = {job.place.name.decode(): job for job in Reader(path).page(Selection()).jobs}
    assert jobs.keys() == set(STATES)
    assert {name: str(job.state) for name, job in jobs.items() if job.state != name} == {"uploading": "pending"}
    assert all(job.final_answer is None and job.upload_url == "http://localhost/1" for job in jobs.values())
    assert {job.place.name for _ in range(3) if (job := claims.claim(LANE, 10.0))} == {
        b"pending",
        b"uploading",
        b"delivered",
    }
    assert claims.oldest_at("/srv/out") is None
    reader = Reader(path)
    assert (reader.failures(1), reader.overview((0.0,)).tallies) == ([], [])
    assert [(each.cause, each.state) for each in reader.troubles()] == [("refused", "failed"), ("refused", "held")]
    assert reader.overview(()).oldest_at == {}, "all three are claimed"
    assert {count.state: count.jobs for count in Reader(path).counts()}[State.UPLOADING] == 2
    database.close()


def test_all_versions_end_with_the_same_tables(tmp_path: Path) -> None:
    shapes = []
    for version in range(SCHEMA_VERSION):
        path = tmp_path / f"{version}.db"
        if version:
            older(path, version)
        database = Database(path)
        database.open()
        with database.reading() as connection:
            shapes.append(sorted(connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall(), key=str))
        database.close()
    assert all(shape == shapes[0] for shape in shapes)
