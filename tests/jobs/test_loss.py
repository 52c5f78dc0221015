"""A ledger that was lost, or is older than it should be, is found out; and nothing else is taken for that."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.files import wait_for
from tusd_agent.jobs.database import Database, DatabaseUnusable, DatabaseUnwritable, NewerDatabase
from tusd_agent.jobs.ledger import Ledger
from tusd_agent.jobs.model import Fingerprint, Found, Place

PATIENCE_SECONDS = 20.0
NOW = 1e9
CHECKPOINT = 'database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()'
"""What SQLite does by itself once the log is long."""


def opened(path: Path) -> Database:
    database = Database(path)
    database.open(clock=lambda: NOW)
    return database


def enqueue(database: Database, name: bytes) -> None:
    found = Found(Place("/srv/out", b"", name), Fingerprint(1, 2, 3, 4), "default")
    Ledger(database).enqueue([found], NOW)


def used_and_closed(path: Path) -> None:
    database = opened(path)
    enqueue(database, b"a")
    database.close()


def killed_in_use(path: Path, statements: str = "") -> None:
    """A process of its own opens the database, notes a job, does what it is told, and is killed by -9."""
    code = f"""
from pathlib import Path
from tests.jobs.test_loss import enqueue, opened
database = opened(Path({str(path)!r}))
enqueue(database, b"killed")
{statements}
print("ready", flush=True)
input()
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.kill()
    child.communicate()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder / "queue.db"


def assert_no_loss(path: Path, *, clean: bool) -> None:
    database = Database(path)
    try:
        assert database.open() is clean
        assert (database.loss, database.incomplete_since) == (None, None)
    finally:
        database.close()


def assert_loss(path: Path, words: str) -> None:
    """It is found out, once; and it stays known since when the ledger is incomplete."""
    database = opened(path)
    assert database.loss is not None
    assert words in database.loss
    assert database.incomplete_since == NOW
    database.close()
    again = Database(path)
    again.open(clock=lambda: NOW + 1000)
    assert (again.loss, again.incomplete_since) == (None, NOW)
    again.close()


def copy(path: Path, to: Path) -> None:
    to.mkdir()
    for suffix in ("", "-wal"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            shutil.copyfile(source, to / source.name)


def put_in_place(copied: Path, path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
        if (copied / (path.name + suffix)).exists():
            shutil.copyfile(copied / (path.name + suffix), path.with_name(path.name + suffix))


def log_bytes(path: Path) -> int:
    return path.with_name("queue.db-wal").stat().st_size


@contextmanager
def full_disk(room_bytes: int) -> Iterator[None]:
    """A limit of the size of files stands for the full disk: the log can't grow, as there."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_a_new_one_and_clean_stops_are_no_loss(path: Path) -> None:
    assert_no_loss(path, clean=True)
    for _ in range(3):
        used_and_closed(path)
    assert_no_loss(path, clean=True)


def test_a_killed_process_is_no_loss(path: Path) -> None:
    for _ in range(3):
        killed_in_use(path)
        assert_no_loss(path, clean=False)


def test_a_checkpoint_before_the_kill_is_no_loss(path: Path) -> None:
    killed_in_use(path, CHECKPOINT)
    assert_no_loss(path, clean=False)


@pytest.mark.parametrize("suffixes", [("",), ("", "-wal", "-shm")])
def test_a_database_that_was_removed(path: Path, suffixes: tuple[str, ...]) -> None:
    used_and_closed(path)
    for suffix in suffixes:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    assert_loss(path, "lost or exchanged")


def test_a_database_that_was_emptied(path: Path) -> None:
    used_and_closed(path)
    os.truncate(path, 0)
    assert_loss(path, "lost or exchanged")


def test_another_database_in_its_place(path: Path, tmp_path: Path) -> None:
    used_and_closed(path)
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "queue.db"
    for _ in range(5):
        used_and_closed(other)
    shutil.copyfile(other, path)
    assert_loss(path, "lost or exchanged")


@pytest.mark.parametrize("killed", [False, True], ids=["after a stop", "after kill -9"])
def test_an_older_copy(path: Path, tmp_path: Path, killed: bool) -> None:
    used_and_closed(path)
    copy(path, tmp_path / "copy")
    if killed:
        killed_in_use(path)
    else:
        used_and_closed(path)
    put_in_place(tmp_path / "copy", path)
    assert_loss(path, "older copy")


def test_an_older_copy_with_its_log(path: Path, tmp_path: Path) -> None:
    database = opened(path)
    enqueue(database, b"a")
    copy(path, tmp_path / "copy")
    assert (tmp_path / "copy" / "queue.db-wal").exists()
    database.close()
    put_in_place(tmp_path / "copy", path)
    assert_loss(path, "older copy")


def test_an_older_copy_without_its_log(path: Path, tmp_path: Path) -> None:
    database = opened(path)
    enqueue(database, b"a")
    copy(path, tmp_path / "copy")
    (tmp_path / "copy" / "queue.db-wal").unlink()
    database.close()
    put_in_place(tmp_path / "copy", path)
    assert_loss(path, "")


def test_the_newer_database_back_after_an_older_copy_was_used(path: Path, tmp_path: Path) -> None:
    """Each of the two lacks what the other one knows."""
    used_and_closed(path)
    copy(path, tmp_path / "older")
    for _ in range(4):
        used_and_closed(path)
    copy(path, tmp_path / "newer")
    put_in_place(tmp_path / "older", path)
    assert_loss(path, "older copy")
    put_in_place(tmp_path / "newer", path)
    assert_loss(path, "older copy")


@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_log_that_was_deleted_after_a_kill(path: Path, checkpointed: bool) -> None:
    used_and_closed(path)
    killed_in_use(path, f'{CHECKPOINT if checkpointed else ""}\nenqueue(database, b"in the log")')
    path.with_name("queue.db-wal").unlink()
    assert_loss(path, "-wal file" if checkpointed else "older copy")


def test_without_a_witness_a_database_is_believed(path: Path) -> None:
    used_and_closed(path)
    path.with_suffix(".witness").unlink()
    assert_no_loss(path, clean=True)
    assert path.with_suffix(".witness").exists()


@pytest.mark.parametrize(
    "garbage",
    [
        b"", b"\0" * 50, b"{", b"null", b"[]", b'"x"', b'{"ledger": "a"}', b'{"ledger": "a", "epoch": "many"}',
        b'{"ledger": "a", "epoch": 1e999}', b'{"ledger": "a", "epoch": NaN}', b"[" * 100_000, b"\xff\xfe",
    ],
)  # fmt: skip
def test_a_witness_of_garbage_says_nothing_and_is_replaced(path: Path, garbage: bytes) -> None:
    used_and_closed(path)
    path.with_suffix(".witness").write_bytes(garbage)
    assert_no_loss(path, clean=True)
    path.unlink()
    assert_loss(path, "lost or exchanged")


def test_a_witness_that_cant_be_written_is_said_and_a_loss_counts_once_all_the_same(path: Path) -> None:
    used_and_closed(path)
    path.unlink()
    in_the_way = path.with_name("queue.witness.new")
    in_the_way.mkdir()
    database = opened(path)
    assert database.loss is not None
    assert database.witness_problem is not None
    assert "queue.witness can't be written" in database.witness_problem
    database.close()
    database = Database(path)
    database.open(clock=lambda: NOW + 1000)
    assert (database.loss, database.incomplete_since) == (None, NOW)
    database.close()
    in_the_way.rmdir()
    database = opened(path)
    assert (database.loss, database.witness_problem) == (None, None)
    database.close()
    path.unlink()
    assert_loss(path, "lost or exchanged")


def test_a_start_on_a_full_disk_after_a_kill_is_no_loss(path: Path) -> None:
    """A connection that fails is closed, and SQLite would take the log away with it."""
    killed_in_use(path)
    with full_disk(log_bytes(path)), pytest.raises(DatabaseUnusable, match="can't be used"):
        Database(path).open()
    assert_no_loss(path, clean=False)


def test_a_newer_database_and_its_log_are_left_alone(path: Path) -> None:
    killed_in_use(path, 'database._connection.execute("PRAGMA user_version = 999")')
    before = {each.name: each.read_bytes() for each in path.parent.glob("queue.db*") if each.suffix != ".db-shm"}
    with pytest.raises(NewerDatabase):
        Database(path).open()
    after = {each.name: each.read_bytes() for each in path.parent.glob("queue.db*") if each.suffix != ".db-shm"}
    assert after == before


def test_a_damaged_database_and_its_log_are_kept_as_they_are(path: Path) -> None:
    killed_in_use(
        path, 'database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall(); enqueue(database, b"b")'
    )
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (os.path.getsize(path) - 4096))
    before = {name: path.with_name(name).read_bytes() for name in ("queue.db", "queue.db-wal")}
    database = opened(path)
    database.close()
    (aside,) = (each for each in path.parent.glob("queue.db.damaged-*") if not each.name.endswith(("-wal", "-shm")))
    assert aside.read_bytes() == before["queue.db"]
    assert aside.with_name(f"{aside.name}-wal").read_bytes() == before["queue.db-wal"]
    assert "kept as" in str(database.loss)


def test_what_a_full_disk_refuses_is_said_until_it_takes_it(path: Path) -> None:
    database = opened(path)
    told: list[str | None] = []
    database.on_trouble = lambda: told.append(database.trouble)
    enqueue(database, b"a")
    with full_disk(log_bytes(path)):
        for _ in range(2):
            with pytest.raises(DatabaseUnwritable, match="can't be used"):
                enqueue(database, b"b")
        with pytest.raises(DatabaseUnwritable):
            database.ensure_writable()
        with database.transaction():
            pass  # that nothing is refused where nothing is written says nothing
        assert database.trouble is not None
    assert len(told) == 1, "told once, when it begins"
    database.ensure_writable()
    assert database.trouble is None
    enqueue(database, b"b")
    database.close()
    assert_no_loss(path, clean=True)


def test_a_stop_on_a_full_disk_is_no_loss(path: Path) -> None:
    database = opened(path)
    enqueue(database, b"a")
    with full_disk(log_bytes(path)):
        database.close()
    assert path.with_name("queue.db-wal").exists()
    assert_no_loss(path, clean=False)


@pytest.mark.heavy
def test_kill_9_at_any_instant_of_opening_using_and_closing_is_no_loss(path: Path) -> None:
    """A process opens, uses and closes the database as fast as it can; it is killed at 40 instants spread over that."""
    code = f"""
import sys
from pathlib import Path
from tests.jobs.test_loss import enqueue
from tusd_agent.jobs.database import Database
number = 0
while True:
    database = Database(Path({str(path)!r}))
    database.open()
    if database.loss is not None:
        sys.exit(database.loss)
    enqueue(database, b"%d" % number)
    database.close()
    number += 1
    print(number, flush=True)
"""
    for round_number in range(40):
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        # From the very first opening on, and then anywhere: how far it comes in 0 to 40 ms is a matter of chance.
        if round_number % 4:
            child.stdout.readline()
        else:
            wait_for(lambda: list(path.parent.iterdir()), PATIENCE_SECONDS, "something of the database")
        with_delay = round_number * 0.001
        try:
            child.wait(with_delay)
        except subprocess.TimeoutExpired:
            child.kill()
        _, said = child.communicate()
        assert child.returncode == -signal.SIGKILL, said
        if round_number % 8 == 4:
            shutil.rmtree(path.parent)  # and once more from nothing
            path.parent.mkdir()
    database = Database(path)
    database.open()
    assert (database.loss, database.incomplete_since) == (None, None)
    database.close()
