"""Damaged databases: kept whole under another name, what can be read taken over, what is missing not believed."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tusd_agent.jobs.claims import Claims
from tusd_agent.jobs.database import Database, DatabaseUnwritable
from tusd_agent.jobs.ledger import Ledger
from tusd_agent.jobs.model import Fingerprint, Found, Lane, Place
from tusd_agent.jobs.orders import Orders
from tusd_agent.jobs.reader import Reader
from tusd_agent.jobs.standing import Scope, Standing
from tusd_agent.jobs.states import State

from .test_loss import full_disk

pytestmark = pytest.mark.heavy  # databases are damaged and read again, page by page

PAGE_BYTES = 4096
JOBS = 2000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


def found(number: int) -> Found:
    place = Place("/srv/out", b"d%02d" % (number % 20), b"%05d.dat" % number)
    return Found(place, Fingerprint(number, number, number, number + 1), "default")


@pytest.fixture
def filled(path: Path) -> Path:
    """A cleanly closed database with 2,000 jobs, one of them on its way with an upload."""
    database = Database(path)
    database.open()
    Ledger(database).enqueue([found(number) for number in range(JOBS)], 1.0)
    claims = Claims(database)
    job = claims.claim(Lane("/srv/out", "default"), 2.0)
    assert job is not None
    claims.created(job, "http://localhost/files/1")
    database.close()
    return path


def damage(path: Path, page: int, pages: int = 1) -> None:
    with open(path, "r+b") as file:
        file.seek((page - 1) * PAGE_BYTES)
        file.write(os.urandom(PAGE_BYTES * pages))


def suspected(path: Path) -> Path:
    """A check is made at the next opening."""
    path.with_suffix(".check").touch()
    return path


def leaves_of(path: Path, table: str) -> list[int]:
    """The numbers of the pages that hold rows of a table, from its root down."""
    with sqlite3.connect(path) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    content = path.read_bytes()
    return list(_leaves(content, root))


def _leaves(content: bytes, page: int) -> Iterator[int]:
    start = (page - 1) * PAGE_BYTES
    kind = content[start]
    if kind == 0x0D:  # a leaf of a table, https://www.sqlite.org/fileformat2.html section 1.6
        yield page
        return
    assert kind == 0x05
    cells = int.from_bytes(content[start + 3 : start + 5])
    for number in range(cells):
        at = start + int.from_bytes(content[start + 12 + 2 * number : start + 14 + 2 * number])
        yield from _leaves(content, int.from_bytes(content[at : at + 4]))
    yield from _leaves(content, int.from_bytes(content[start + 8 : start + 12]))


def reopened(path: Path) -> Database:
    database = Database(path)
    assert database.open(clock=lambda: 1000.0) is False
    return database


def asides(path: Path) -> list[Path]:
    return sorted(each for each in path.parent.glob("queue.db.damaged-*") if not each.name.endswith(("-wal", "-shm")))


def jobs(path: Path) -> int:
    return sum(count.jobs for count in Reader(path).counts())


def test_of_a_damaged_page_only_its_own_rows_are_lost(filled: Path) -> None:
    leaves = leaves_of(filled, "jobs")
    assert len(leaves) > 20
    page = leaves[len(leaves) // 2]
    rows = int.from_bytes(filled.read_bytes()[(page - 1) * PAGE_BYTES :][3:5])
    damage(filled, page)
    before = filled.read_bytes()
    database = reopened(suspected(filled))
    kept = jobs(filled)
    assert kept == JOBS - rows
    assert database.loss is not None
    assert f"{kept} of its jobs could be read" in database.loss
    assert database.incomplete_since == 1000.0
    (aside,) = asides(filled)
    assert aside.read_bytes() == before
    with database.reading() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    again = Database(filled)
    assert again.open() is True
    assert (again.loss, again.incomplete_since) == (None, 1000.0), "said once, and remembered"
    again.close()


@pytest.mark.parametrize("room_bytes", [0, 100_000])
def test_on_a_full_disk_a_damaged_database_stays_and_is_salvaged_once_there_is_room(
    filled: Path, room_bytes: int
) -> None:
    leaves = leaves_of(filled, "jobs")
    damage(filled, leaves[len(leaves) // 2])
    before = suspected(filled).read_bytes()
    with full_disk(room_bytes), pytest.raises(DatabaseUnwritable):
        Database(filled).open()
    assert asides(filled) == []
    assert filled.read_bytes() == before
    database = reopened(filled)
    assert JOBS - 100 < jobs(filled) < JOBS
    assert len(asides(filled)) == 1
    database.close()


def test_what_is_taken_over_goes_on_as_it_was(filled: Path) -> None:
    leaves = leaves_of(filled, "jobs")
    damage(filled, leaves[-1])
    database = reopened(suspected(filled))
    assert Claims(database).recover() == 1
    ledger = Ledger(database)
    job = ledger.newest(found(0).place)
    assert job is not None
    assert (job.state, job.upload_url, job.fingerprint) == (
        State.PENDING, "http://localhost/files/1", found(0).fingerprint
    )  # fmt: skip
    assert ledger.newest(found(JOBS - 1).place) is None
    database.close()


@pytest.mark.parametrize("what", ["header", "all", "cut", "empty", "text"])
def test_where_nothing_can_be_read_a_new_database_is_begun(filled: Path, what: str) -> None:
    size = filled.stat().st_size
    if what == "header":
        damage(filled, 1)
    elif what == "all":
        damage(filled, 1, size // PAGE_BYTES)
    elif what == "cut":
        os.truncate(filled, PAGE_BYTES + 100)
    elif what == "empty":
        os.truncate(filled, 0)
    else:
        filled.write_text("this is no database, it only lies where one should be\n" * 100)
    database = Database(suspected(filled))
    database.open(clock=lambda: 1000.0)
    assert database.loss is not None
    assert database.incomplete_since == 1000.0
    assert len(asides(filled)) == (0 if what == "empty" else 1)
    assert jobs(filled) == 0
    Ledger(database).enqueue([found(1)], 2000.0)
    database.close()


@pytest.mark.parametrize("seed", range(12))
def test_any_page_may_be_the_damaged_one(filled: Path, seed: int) -> None:
    pages = filled.stat().st_size // PAGE_BYTES
    damage(filled, 2 + seed * (pages - 2) // 12)
    database = Database(suspected(filled))
    database.open()
    with database.reading() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        counted = connection.execute("SELECT COUNT(*) FROM jobs").fetchone()[0]
    assert counted == jobs(filled), "the counters are those of the rows"
    assert (database.loss is None) == (not asides(filled))
    database.close()


def test_damage_that_shows_while_it_is_used_is_said_and_checked_at_the_next_start(filled: Path) -> None:
    database = Database(filled)
    database.open()
    damage(filled, leaves_of(filled, "jobs")[5])
    with pytest.raises(sqlite3.DatabaseError), database.reading() as connection:
        connection.execute("SELECT SUM(size_bytes), MAX(uuid) FROM jobs NOT INDEXED").fetchone()
    assert "restart the agent" in str(database.damage)
    database.close()
    assert reopened(filled).loss is not None
    assert not filled.with_suffix(".check").exists()


def test_an_index_that_does_not_know_all_rows_is_made_anew(path: Path) -> None:
    """As a disk leaves it that forgot to write one page: each page is sound, and they are not of one moment."""
    with closing(Database(path)) as database:
        database.open()
        Ledger(database).enqueue([found(number) for number in range(5)], 1.0)
    with closing(sqlite3.connect(path)) as connection:
        (index,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'jobs_waiting'").fetchone()
    older = path.read_bytes()[(index - 1) * PAGE_BYTES : index * PAGE_BYTES]
    with closing(database):
        database.open()
        Ledger(database).enqueue([found(number) for number in range(5, 8)], 1.0)
    with open(path, "r+b") as file:
        file.seek((index - 1) * PAGE_BYTES)
        file.write(older)
    with closing(database):
        database.open()
        assert database.damage is None
        with pytest.raises(sqlite3.DatabaseError, match="malformed"):
            Orders(database).hold(7, 2.0)
        assert "restart the agent" in str(database.damage)
    with closing(reopened(path)) as database:
        assert database.loss is not None
        assert jobs(path) == 8, "every row"
        Orders(database).hold(7, 2.0)
        claims = Claims(database)
        claimed = [claims.claim(Lane("/srv/out", "default"), 3.0) for _ in range(8)]
        assert sum(job is not None for job in claimed) == 7


def test_what_an_operator_has_set_is_taken_over(filled: Path) -> None:
    database = Database(filled)
    database.open()
    standing = Standing(database)
    standing.pause(Scope(), 5.0)
    standing.pause(Scope(folder="/srv/a b"), 6.0)
    standing.limit(1000, "lab")
    database.close()
    damage(suspected(filled), leaves_of(filled, "jobs")[3])
    database.open()
    assert database.loss is not None
    assert dict(standing.pauses().since) == {Scope(): 5.0, Scope(folder="/srv/a b"): 6.0}
    assert standing.limits() == {"lab": 1000.0}
    database.close()
