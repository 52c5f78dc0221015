"""Sent already, size and mtime as before, but the ctime moved: only the digest can tell."""

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.intake.living import PATIENCE_SECONDS, Living, living
from tests.support.files import wait_for
from tusd_agent.intake.doubts import Doubts
from tusd_agent.jobs.model import Fingerprint, Found, Job
from tusd_agent.jobs.states import State

CONTENT = b"content" * 1000


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Living]:
    with living(tmp_path) as it:
        (it.path / "a").write_bytes(CONTENT)
        it.start()
        it.wait_for_names(b"a")
        it.send_all({b"a": hashlib.sha256(CONTENT).digest()})
        it.wait_for_scan()
        yield it


def restored(path: Path, content: bytes) -> None:
    """Writes other content of the same size into the file, and its old mtime back."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_file_that_was_only_touched_is_not_sent_again(it: Living) -> None:
    (it.path / "a").chmod(0o640)
    it.rescan()
    changed_at = (it.path / "a").stat().st_ctime_ns
    wait_for(lambda: it.jobs()[0].fingerprint.ctime_ns == changed_at, PATIENCE_SECONDS, "the new ctime")
    assert [job.state for job in it.jobs()] == [State.DONE]
    assert it.jobs()[0].not_before < 1e12


def test_other_content_with_size_and_mtime_put_back_is_sent(it: Living) -> None:
    restored(it.path / "a", CONTENT[::-1])
    it.wait_for_names(b"a")
    assert [job.state for job in it.jobs()] == [State.DONE, State.PENDING]
    assert it.jobs()[0].fingerprint.same_identity(it.jobs()[1].fingerprint)


def test_the_same_content_written_again_is_not_sent_again(it: Living) -> None:
    restored(it.path / "a", CONTENT)
    changed_at = (it.path / "a").stat().st_ctime_ns
    wait_for(lambda: it.jobs()[0].fingerprint.ctime_ns == changed_at, PATIENCE_SECONDS, "the new ctime")
    assert [job.state for job in it.jobs()] == [State.DONE]


def doubt(it: Living) -> tuple[Doubts, Job, Found, list[bytes]]:
    """A doubt about the file as it is now, and the list of what is noted."""
    it.stop()
    (job,) = it.jobs()
    noted: list[bytes] = []
    found = Found(job.place, Fingerprint.of((it.path / "a").stat()), "default")
    return Doubts(it.ledger, noted.append, lambda: 1e9), job, found, noted


def test_a_file_that_changed_again_meanwhile_is_noted_again(it: Living) -> None:
    doubts, job, found, noted = doubt(it)
    (it.path / "a").write_bytes(b"still other")
    doubts.add(job, found)
    assert doubts.run_once(threading.Event())
    assert noted == [os.fsencode(it.path / "a")]
    assert not doubts.run_once(threading.Event())


def test_a_file_that_is_gone_meanwhile_or_no_file_any_more_is_left_alone(it: Living) -> None:
    doubts, job, found, noted = doubt(it)
    (it.path / "a").unlink()
    doubts.add(job, found)
    assert doubts.run_once(threading.Event())
    os.mkfifo(it.path / "a")
    doubts.add(job, found)
    assert doubts.run_once(threading.Event())
    assert noted == []
    assert it.names(State.DONE) == [b"a"]


def test_a_stop_ends_the_reading(it: Living) -> None:
    doubts, job, found, noted = doubt(it)
    (it.path / "a").chmod(0o640)
    doubts.add(job, Found(found.place, Fingerprint.of((it.path / "a").stat()), "default"))
    stop = threading.Event()
    stop.set()
    assert doubts.run_once(stop)
    assert noted == []
    assert it.jobs() == [job]


def test_a_queue_that_cant_be_written_has_the_file_looked_at_again(it: Living) -> None:
    doubts, job, _, noted = doubt(it)
    (it.path / "a").chmod(0o640)
    with it.database.reading() as connection:
        connection.execute("PRAGMA query_only = ON")
    doubts.add(job, Found(job.place, Fingerprint.of((it.path / "a").stat()), "default"))
    assert doubts.run_once(threading.Event())
    with it.database.reading() as connection:
        connection.execute("PRAGMA query_only = OFF")
    assert noted == [os.fsencode(it.path / "a")]
