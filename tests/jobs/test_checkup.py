"""When the whole file is looked over: at once where it may be damaged, beside the work after a mere kill."""

import sqlite3
import threading
from pathlib import Path

import pytest

from tests.support.files import wait_for
from tusd_agent.jobs.checkup import Checkup
from tusd_agent.jobs.database import Database

from .test_loss import CHECKPOINT, enqueue, killed_in_use
from .test_salvage import asides, damage, leaves_of

MANY = f'for n in range(500): enqueue(database, b"%05d.dat" % n)\n{CHECKPOINT}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


def damage_a_row(path: Path) -> None:
    leaves = leaves_of(path, "jobs")
    damage(path, leaves[len(leaves) // 2])


def test_a_database_that_was_closed_is_not_looked_over(path: Path) -> None:
    for _ in range(2):
        database = Database(path)
        assert database.open() is True
        assert not database.unchecked
        database.close()


def test_after_a_kill_it_is_looked_over_beside_the_work(path: Path) -> None:
    killed_in_use(path)
    database = Database(path)
    assert database.open() is False
    assert database.unchecked
    enqueue(database, b"meanwhile")
    database.close()
    database = Database(path)
    assert database.open() is True
    assert database.unchecked, "it was not done, so it is still due"
    database.check()
    assert (database.unchecked, database.damage) == (False, None)
    database.close()
    database.check()  # nothing happens
    database = Database(path)
    assert database.open() is True
    assert not database.unchecked
    database.close()


def test_damage_that_is_found_beside_the_work_is_damage_that_shows_in_use(path: Path) -> None:
    killed_in_use(path, MANY)
    damage_a_row(path)
    database = Database(path)
    database.open()
    assert (database.loss, database.damage) == (None, None)
    database.check()
    assert "restart the agent" in str(database.damage)
    assert database.loss is None
    assert asides(path) == [], "it is not exchanged under those who work with it"
    database.close()
    database = Database(path)
    database.open()
    assert "of its jobs could be read" in str(database.loss)
    assert len(asides(path)) == 1
    assert not database.unchecked
    database.close()


@pytest.mark.parametrize("boot", ["another", None])
def test_after_a_power_cut_it_is_looked_over_before_anything_else(path: Path, boot: str | None) -> None:
    killed_in_use(path, MANY)
    damage_a_row(path)
    database = Database(path, boot=lambda: boot)
    database.open()
    assert "of its jobs could be read" in str(database.loss)
    database.close()


def test_a_check_ends_when_it_is_told_to(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) "
            "INSERT INTO t SELECT randomblob(20) FROM n"
        )
    connection.close()
    codes: list[int] = []
    checkup = Checkup(path)

    def run() -> None:
        try:
            checkup.run()
        except sqlite3.OperationalError as error:
            codes.append(error.sqlite_errorcode)

    def interrupted() -> bool:
        """It may be over before it is told: then once more."""
        checkup.begin()
        thread = threading.Thread(target=run)
        thread.start()
        checkup.stop()
        thread.join()
        return bool(codes)

    wait_for(interrupted, 30, "an interrupted check")
    assert codes == [sqlite3.SQLITE_INTERRUPT]
