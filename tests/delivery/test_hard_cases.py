"""Surroundings that turn on the delivery: crashes, clocks, odd names, other people's hands on files and rows."""

import hashlib
import os
import socket
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.servers import KINDS, NotInstalled, Server
from tests.support.files import wait_for
from tests.support.relay import Relay
from tests.tus.fault_server import Fault, FaultServer
from tusd_agent import beneath
from tusd_agent.config import load
from tusd_agent.delivery import uploader, worker
from tusd_agent.delivery.breaker import BreakerState
from tusd_agent.delivery.disposal import PutBack, dispose
from tusd_agent.delivery.rules import FolderRules
from tusd_agent.jobs.causes import ENDPOINT_REMOVED, FOLDER_REMOVED
from tusd_agent.jobs.claims import Claims
from tusd_agent.jobs.database import Database, DatabaseUnwritable
from tusd_agent.jobs.ledger import Ledger, Verdict
from tusd_agent.jobs.leftovers import LEASE_SECONDS
from tusd_agent.jobs.lock import StateLock
from tusd_agent.jobs.model import Fingerprint, Found, Job, Lane, Place, Sent
from tusd_agent.jobs.orders import Orders
from tusd_agent.jobs.states import FINISHED_WITH_SERVER_ERROR, State
from tusd_agent.jobs.waiting import Head
from tusd_agent.service import Service, StartError

from .living import NOWHERE, Delivery, delivering, rewrite_with_times_put_back

GO_ON = threading.Event()
DATA = bytes(range(250)) * 4

Delivering = Callable[..., AbstractContextManager[Delivery]]


@pytest.fixture(scope="module")
def any_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """As the fixture of that name of all tests, but one for all tests here: most are shorter than a start."""
    running = KINDS[request.param](tmp_path_factory.mktemp(request.param))
    try:
        running.start()
    except NotInstalled as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))
    yield running
    running.close()


@pytest.fixture
def server(any_server: Server) -> Server:
    """A running server that has no uploads yet."""
    for path in any_server.uploads.iterdir():
        if path.is_file():
            path.unlink()
    return any_server


@pytest.fixture
def here(tmp_path: Path) -> Delivering:
    """Deliveries in the test's own folder: ``with here(server.url, after_upload="delete") as d:``."""
    return partial(delivering, tmp_path)


def complete(server: Server) -> list[bytes]:
    """The contents that the server has whole."""
    return [upload.path.read_bytes() for upload in server.stored() if upload.complete]


def delivered(d: Delivery, url: str = NOWHERE, *, lane: Lane | None = None, wait_seconds: float = 10.0) -> Job:
    """The next job as it is once the server has it all and its disposal had to be put off."""
    job = d.claims.created(d.claimed(lane), url)
    job = d.claims.deliver(job, d.clock(), Sent(job.fingerprint, None))
    return d.claims.defer(job, d.clock() + wait_seconds, "not now")


# Uploads that have lost their job.


@pytest.mark.parametrize("ended", ["killed before the row says done", "refused after the last byte"])
@pytest.mark.parametrize("arrived_bytes", [len(DATA), len(DATA) // 2])
def test_an_upload_is_terminated_unless_it_arrived_whole(
    server: Server, here: Delivering, ended: str, arrived_bytes: int
) -> None:
    with here(server.url) as d:
        d.put(b"a", DATA)
        job = d.half_sent(d.claimed(), DATA[:arrived_bytes])
        if ended == "refused after the last byte":
            d.claims.fail(d.claimed(), "500: the hook said no", d.clock(), FINISHED_WITH_SERVER_ERROR)
        (d.folder / "a").unlink()
        if ended == "refused after the last byte":
            d.ledger.vanish(job.id, d.clock())
        d.run(3)
        assert d.only().state is State.VANISHED
        assert d.claims.leftovers.next_at(["default"]) is None, "looked at and settled"
    assert complete(server) == ([DATA] if arrived_bytes == len(DATA) else [])
    assert len(server.stored()) == len(complete(server)), "the unfinished one is gone"


def test_an_empty_mount_point_ends_no_job_and_terminates_no_upload(server: Server, here: Delivering) -> None:
    with here(server.url) as d:
        d.put(b"a", DATA)
        d.half_sent(d.claimed(), DATA[:400])
        disk = d.folder.with_name("disk")
        d.folder.rename(disk)
        d.folder.mkdir()
        d.present = False
        d.run(4)
        assert d.only().state is State.PENDING
        assert "not there" in (d.only().last_error or "")
        assert d.claims.leftovers.next_at(["default"]) is None
        (upload,) = server.stored()
        d.folder.rmdir()
        disk.rename(d.folder)
        d.present = True
        d.run(1)
        assert d.only().state is State.DONE
        assert [each.id for each in server.stored()] == [upload.id], "the half that was there is gone on with"
        assert complete(server) == [DATA]


def test_two_callers_are_never_given_the_same_leftover(here: Delivering) -> None:
    with here() as d:
        d.claims.leftovers.add("default", "http://localhost/1", 1.0)
        d.claims.leftovers.add("default", "http://localhost/2", 2.0)
        first, second, third = (d.claims.leftovers.take(10.0, ["default"]) for _ in range(3))
        assert first is not None
        assert second is not None
        assert (first.upload_url, second.upload_url) == ("http://localhost/1", "http://localhost/2")
        assert third is None
        assert d.claims.leftovers.next_at(["default"]) == 10.0 + LEASE_SECONDS
        assert d.claims.leftovers.next_at(["other"]) is None
        after_a_kill = Claims(d.database).leftovers.take(10.0, ["default"])
        assert after_a_kill == first
        again = d.claims.leftovers.take(10.0 + LEASE_SECONDS, ["default"])
        assert again is not None, "whoever had it hangs: somebody else gets it"
        assert again.attempts == 0
        d.claims.leftovers.settle(again, 5000.0)
        assert d.claims.leftovers.next_at(["default"]) == 2.0, "the other one's"


def test_a_leftover_waits_while_the_breaker_of_its_endpoint_is_open(
    server: Server, relay: Callable[[Server], Relay], here: Delivering
) -> None:
    network = relay(server)
    with here(network.url_for(server)) as d:
        lost = d.client.create(100, {"filename": "lost", "filetype": "text/plain"})
        network.cut()
        network.refuse = True
        for name in (b"a", b"b", b"c"):
            d.put(name, name)
        for _ in range(3):
            assert d.pool.run_once()
        (endpoint,) = d.pool.endpoint_states()
        assert endpoint.breaker is BreakerState.OPEN
        d.claims.leftovers.add("default", lost, d.clock())
        assert not d.pool.run_once(), "neither a job nor the leftover may go there"
        assert d.claims.leftovers.next_at(["default"]) == d.clock(), "nobody was given it"
        network.refuse = False
        d.run(8, seconds=61.0)
        assert d.states() == [State.DONE] * 3
        assert d.claims.leftovers.next_at(["default"]) is None
    assert sorted(complete(server)) == [b"a", b"b", b"c"]
    assert len(server.stored()) == 3


class Overtaken(Database):
    """A database in which somebody else commits just before the next transaction begins."""

    before_next: Callable[[], object] | None = None

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        first, self.before_next = self.before_next, None
        if first is not None:
            first()
        with super().transaction(durable=durable) as connection:
            yield connection


def test_a_cancel_that_a_delivery_overtakes_terminates_no_finished_upload(tmp_path: Path, here: Delivering) -> None:
    with here() as d:
        d.put(b"a", DATA)
        job = d.claims.created(d.claimed(), "http://localhost/1")
        overtaken = Overtaken(tmp_path / "queue.db")
        overtaken.open()
        overtaken.before_next = lambda: d.claims.interrupt(
            d.claims.deliver(job, d.clock(), Sent(job.fingerprint, None))
        )
        assert Orders(overtaken).cancel(job.id, d.clock()).state is State.DONE
        overtaken.close()
        assert d.claims.leftovers.next_at(["default"]) is None


# Names, times and inodes that are legal and rare.


@pytest.mark.parametrize("seconds", [-10_000_000_000, -1, 10_413_792_000, 400_000_000_000])
def test_a_file_from_a_far_past_or_future_is_sent_and_known_again(
    server: Server, here: Delivering, seconds: int
) -> None:
    with here(server.url) as d:
        path = d.folder / "a"
        path.write_bytes(DATA)
        os.utime(path, (0, seconds))
        d.ledger.enqueue([d.found(b"a")], d.clock())
        d.run(1)
        assert d.only().state is State.DONE
        assert d.ledger.look(d.found(b"a")).verdict is Verdict.KNOWN
    assert complete(server) == [DATA]


def test_an_inode_of_64_bits_is_kept_and_told_from_others(here: Delivering) -> None:
    with here() as d:
        place = Place.below(str(d.folder), b"a")
        times = {"st_mtime_ns": 1, "st_ctime_ns": 1}

        def found(inode: int) -> Found:  # as mergerfs, NFS, CIFS and overlayfs give them
            return Found(place, Fingerprint.of(os.stat_result((0, inode, 0, 1, 0, 0, 5, 0, 0, 0), times)), "default")

        d.ledger.enqueue([found(2**63 + 5)], d.clock())
        assert d.ledger.look(found(2**63 + 5)).verdict is Verdict.KNOWN
        assert d.ledger.look(found(2**64 - 1)).verdict is Verdict.NEW


def test_a_name_that_is_no_utf8_is_moved_under_its_exact_bytes(here: Delivering, tmp_path: Path) -> None:
    sent = os.fsencode(tmp_path / "sent")
    with FaultServer() as server, here(server.endpoint, after_upload="move", move_to=os.fsdecode(sent)) as d:
        d.put(b"n\xff\x1b", DATA)
        d.run(2)
        assert d.only().state is State.DONE
        assert d.only().reason == f"moved to {os.fsdecode(sent)}/n\\xff\\x1b"
        assert os.listdir(os.fsencode(d.folder)) == []
    assert os.listdir(sent) == [b"n\xff\x1b"]


# Several contents of one path.


def test_newer_content_is_sent_while_the_older_cant_be_disposed_of(server: Server, here: Delivering) -> None:
    with here(server.url, after_upload="delete") as d:
        d.put(b"a", b"older")
        gone = d.client.create(5, {"filename": "a", "filetype": "text/plain"})
        d.client.delete_upload(gone)  # some servers take finished uploads away: nothing can be proven any more
        delivered(d, gone)
        (d.folder / "a").unlink()
        d.put(b"a", b"newer!")
        d.run(4)
        assert d.states() == [State.DELIVERED, State.DONE]
        assert "can't be proven" in (d.jobs()[0].last_error or "")
    assert complete(server) == [b"newer!"]


def test_an_endpoint_that_left_the_settings_holds_up_nothing(server: Server, here: Delivering) -> None:
    with here(server.url) as d:
        old = Lane(str(d.folder), "old")
        d.put(b"sent", b"sent", "old")
        delivered(d, lane=old)
        d.put(b"waits", b"waits", "old")
        assert d.orders.hold_orphans([old.folder], ["default"], d.clock()) == 1
        sent, waits = d.jobs()
        assert sent.state is State.DONE
        assert sent.reason == f"file left in place: {ENDPOINT_REMOVED}"
        assert (waits.state, waits.reason) == (State.HELD, ENDPOINT_REMOVED)
        d.put(b"sent", b"newer!")
        d.run(1)
        assert d.states() == [State.DONE, State.HELD, State.DONE]
        assert d.orders.hold_orphans([old.folder], ["default", "old"], d.clock()) == 0
        assert d.claimed(old).place.name == b"waits", "it is back with its endpoint"
    assert complete(server) == [b"newer!"]


def test_retrying_the_older_job_of_a_path_sends_nothing_twice(server: Server, here: Delivering) -> None:
    with here(server.url) as d:
        d.put(b"a", b"older")
        d.orders.cancel(1, d.clock())
        d.put(b"a", b"newer!")
        d.run(1)
        d.orders.retry(1, d.clock())
        d.run(4)
        assert d.states() == [State.SUPERSEDED, State.DONE]
    assert complete(server) == [b"newer!"]


def test_a_file_that_keeps_growing_leaves_no_trail_of_rows(server: Server, here: Delivering) -> None:
    with here(server.url) as d:
        d.put(b"a", b"x")
        for _ in range(20):
            with (d.folder / "a").open("ab") as file:
                file.write(b"y")
            d.run(1, seconds=2.0)
        assert len(d.jobs()) < 5
        assert server.stored() == [], "it was never at rest"
        d.run(1)
        assert d.jobs()[-1].state is State.DONE
    assert complete(server) == [b"x" + b"y" * 20]


def test_a_file_that_is_being_written_when_its_turn_comes_waits_for_its_writer(
    server: Server, here: Delivering
) -> None:
    with here(server.url) as d:
        d.put(b"a", b"before")
        with (d.folder / "a").open("ab") as file:
            file.write(b" half")
            file.flush()
            d.run(3)
            assert server.stored() == []
            assert d.only().state is State.PENDING
            assert d.only().attempts == 0
            assert "open for writing" in (d.only().last_error or "")
            file.write(b" whole")
        d.run(2)
        assert d.only().state is State.DONE
        assert d.only().last_error is None
    assert complete(server) == [b"before half whole"]


def test_a_file_sent_already_that_was_renamed_over_a_waiting_one_is_not_sent_again(
    server: Server, here: Delivering
) -> None:
    with here(server.url) as d:
        d.put(b"sent", b"sent")
        d.run(1)
        d.put(b"waits", b"waits")
        (d.folder / "sent").rename(d.folder / "waits")  # and the worker is faster than the intake
        d.run(3)
        assert d.states() == [State.DONE, State.SUPERSEDED]
        assert d.noted == [os.fsencode(d.folder / "waits")]
        assert d.ledger.look(d.found(b"waits")).twins == (d.jobs()[0],), "by which the intake follows the rename"
    assert complete(server) == [b"sent"]


# What the server has is continued only with the bytes that belong to it.


def only_rewritten(d: Delivery, job: Job) -> bytes:
    return b"a"


def rewritten_and_its_ctime_noted(d: Delivery, job: Job) -> bytes:
    assert d.ledger.look(d.found(b"a")).verdict is Verdict.CTIME_MOVED
    d.ledger.refresh(job.id, d.found(b"a").fingerprint, d.clock())
    return b"a"


def rewritten_and_renamed(d: Delivery, job: Job) -> bytes:
    (d.folder / "a").rename(d.folder / "b")
    assert d.ledger.rename(job.id, d.found(b"b").place, d.found(b"b").fingerprint, d.clock())
    return b"b"


@pytest.mark.parametrize("digest", [True, False])
@pytest.mark.parametrize("noted_bytes", [0, 100])
@pytest.mark.parametrize("happened", [only_rewritten, rewritten_and_its_ctime_noted, rewritten_and_renamed])
def test_a_rewrite_with_times_put_back_is_never_spliced_on(
    server: Server, here: Delivering, happened: Callable[[Delivery, Job], bytes], digest: bool, noted_bytes: int
) -> None:
    with here(server.url, digest=digest) as d:
        d.put(b"a", b"A" * 1000)
        ctime_ns = d.only().fingerprint.ctime_ns
        # Noted once a second, then killed: the server has more than the row, and its digest, know of.
        job = d.half_sent(d.claimed(), b"A" * 600, noted_bytes=noted_bytes, digest=digest)
        new = b"A" * 100 + b"B" * 900
        rewrite_with_times_put_back(d.folder / "a", new)
        name = happened(d, job)
        assert d.only().fingerprint.ctime_ns == ctime_ns, "the doubt is kept in the row"
        d.run(6)
        assert d.jobs()[-1].state is State.DONE
        assert d.jobs()[-1].place.name == name
    assert complete(server) == [new]


def test_a_change_after_the_last_byte_sends_the_newer_content_too(server: Server, here: Delivering) -> None:
    with here(server.url) as d:
        d.put(b"a", b"A" * 1000)
        d.half_sent(d.claimed(), b"A" * 1000, noted_bytes=1000)
        rewrite_with_times_put_back(d.folder / "a", b"B" * 1000)
        d.run(6)
        assert d.states() == [State.SUPERSEDED, State.DONE]
    assert b"B" * 1000 in complete(server)


def test_an_upload_with_more_bytes_than_its_length_is_begun_anew(here: Delivering) -> None:
    with FaultServer() as server, here(server.endpoint) as d:
        d.put(b"a", DATA)
        broken = server.add(len(DATA), b"x" * (len(DATA) + 200))  # as a server that was killed may leave it
        d.claims.interrupt(d.claims.created(d.claimed(), broken))
        d.run(4)
        assert d.only().state is State.DONE
        assert [bytes(upload.data) for upload in server.uploads.values()][1:] == [DATA]


def test_an_attempt_that_moved_the_offset_counts_as_the_first(here: Delivering) -> None:
    with FaultServer() as server, here(server.endpoint) as d:
        d.put(b"a", DATA)
        url = server.add(len(DATA), DATA[:100])
        for _ in range(5):
            job = d.claimed()
            job = d.claims.created(job, url) if job.upload_url is None else job
            # 600 bytes were handed to the kernel, of which 100 arrived.
            job = d.claims.progress(job, 600, hashlib.sha256(DATA[:600]).digest())
            d.claims.defer(job, d.clock(), "cut")
        assert d.only().attempts == 5
        server.fail("PATCH", Fault(keep=400), *[Fault(keep=0, drop=True)] * 4)  # 100 → 500, then cut
        d.run(1, seconds=0.0)
        assert len(server.only().data) == 500
        assert d.only().attempts == 0
        assert d.only().not_before - d.clock() <= 5.0
        server.fail("PATCH", *[Fault(keep=0, drop=True)] * 4)
        d.run(1)
        d.run(1, seconds=0.0)
        assert d.only().attempts >= 1, "this one moved nothing"


# A file that is renamed while a worker holds its job.


def renamed(d: Delivery, job: Job) -> Found:
    (d.folder / "a").rename(d.folder / "b")
    found = d.found(b"b")
    assert d.ledger.rename(job.id, found.place, found.fingerprint, d.clock())
    return found


def test_a_file_that_was_renamed_has_not_vanished(server: Server, here: Delivering) -> None:
    with here(server.url) as d:
        d.put(b"a", DATA)
        job = d.claimed()
        renamed(d, job)
        assert d.claims.vanish(job, d.clock()).state is State.PENDING
        d.run(1)
        assert (d.only().state, d.only().place.name) == (State.DONE, b"b")
    assert complete(server) == [DATA]


def test_a_file_that_was_renamed_is_looked_at_again_under_its_new_name(here: Delivering) -> None:
    with here() as d:
        d.put(b"a", DATA)
        job = d.claims.created(d.claimed(), "http://localhost/1")
        found = renamed(d, job)
        as_the_worker_sees_it = Found(job.place, found.fingerprint, "default")
        assert d.claims.replace(job, as_the_worker_sees_it, d.clock(), d.clock()) == job.id
        assert (d.only().state, d.only().place.name) == (State.PENDING, b"b")
        assert d.claims.leftovers.next_at(["default"]) is None, "its upload is still its own"


def test_a_file_that_was_renamed_before_the_last_answer_is_disposed_of_under_its_new_name(here: Delivering) -> None:
    with here() as d:
        d.put(b"a", DATA)
        job = d.claimed()
        renamed(d, job)
        sent = Sent(Fingerprint.of((d.folder / "b").stat()), hashlib.sha256(DATA).digest())
        job = d.claims.deliver(job, d.clock(), sent)
        assert job.place.name == b"b"
        assert dispose(job, FolderRules(str(d.folder), after_upload="delete"), GO_ON).words == "deleted"
        assert os.listdir(d.folder) == []


# Disposal.


def test_without_a_digest_a_rewrite_with_times_put_back_is_kept(server: Server, here: Delivering) -> None:
    with here(server.url, digest=False, after_upload="delete") as d:
        d.put(b"a", DATA)
        url = d.half_sent(d.claimed(), DATA).upload_url
        assert url is not None
        delivered(d, url)
        rewrite_with_times_put_back(d.folder / "a", DATA[::-1])
        d.run(2)
        assert d.only().state is State.DONE
        assert (d.only().reason or "").startswith("kept: it was touched since")
        assert (d.folder / "a").read_bytes() == DATA[::-1]


@pytest.mark.parametrize("digest", [True, False])
def test_a_move_that_fails_puts_the_file_back_and_is_carried_out_later(
    server: Server, here: Delivering, tmp_path: Path, digest: bool
) -> None:
    target = tmp_path / "sent"
    target.write_bytes(b"a file where the folder should be")
    with here(server.url, digest=digest, after_upload="move", move_to=str(target)) as d:
        d.put(b"a", DATA)
        for _ in range(3):
            d.run(1)
            assert os.listdir(d.folder) == ["a"], "not hidden until the next attempt"
            assert d.only().state is State.DELIVERED
            assert d.only().fingerprint == d.found(b"a").fingerprint, "or it would look touched"
            assert "sent" in (d.only().last_error or "")
        target.unlink()
        d.run(1)
        assert d.only().reason == f"moved to {target}/a"
        assert os.listdir(d.folder) == []
    assert (target / "a").read_bytes() == DATA


class WritesMeanwhile:
    """Looks like a flag that is never set; who asks it gives another process the time to write to the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_set(self) -> bool:
        with self._path.open("r+b") as file:
            file.write(b"NEW")
        return False

    def wait(self, timeout: float | None = None) -> bool:
        return False


@pytest.mark.parametrize("digest", [True, False])
def test_a_file_that_changes_while_it_is_copied_elsewhere_stays(
    here: Delivering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: bool
) -> None:
    monkeypatch.setattr(beneath, "at_rest", lambda descriptor: None)  # another user's file: no lease can be had
    shared_memory = Path("/dev/shm")
    if not shared_memory.is_dir() or shared_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    with here() as d, tempfile.TemporaryDirectory(dir=shared_memory) as target:
        path = d.folder / "a"
        data = b"A" * 3_000_000
        path.write_bytes(data)
        os.utime(path, (0, 1_600_000_000))
        d.ledger.enqueue([d.found(b"a")], d.clock())
        job = d.claimed()
        sent = Sent(job.fingerprint, hashlib.sha256(data).digest() if digest else None)
        job = d.claims.deliver(job, d.clock(), sent)
        rules = FolderRules(str(d.folder), after_upload="move", move_to=target)
        aside = path.with_name(os.fsdecode(job.aside_name))
        with pytest.raises(PutBack) as raised:
            dispose(job, rules, WritesMeanwhile(aside))
        assert isinstance(raised.value.__cause__, OSError)
        assert os.listdir(d.folder) == ["a"]
        assert path.read_bytes() == b"NEW" + data[3:]
        assert os.listdir(target) == []


def test_disposals_that_cant_reach_the_endpoint_open_its_breaker(here: Delivering) -> None:
    with here(after_upload="delete") as d:
        for name in (b"a", b"b", b"c"):
            d.put(name, name)
            delivered(d)
        d.clock.go(11.0)
        for _ in range(3):
            assert d.pool.run_once()
        (endpoint,) = d.pool.endpoint_states()
        assert endpoint.breaker is BreakerState.OPEN
        assert not d.pool.run_once()
        assert d.states() == [State.DELIVERED] * 3
        assert d.jobs()[-1].attempts == 0, "waiting for the breaker burns none"


# Time.


def test_what_is_ready_but_blocked_by_its_path_is_waited_for_and_not_spun_on(here: Delivering) -> None:
    with here() as d:
        d.put(b"a", b"older")
        d.orders.cancel(1, d.clock())
        d.put(b"a", b"newer!")
        d.orders.retry(1, d.clock())  # two contents of a path wait; the older one's turn is first
        d.claims.defer(d.claimed(), d.clock() + 300.0, "its file can't be read")
        for name in (b"x", b"y", b"z"):
            d.put(name, name)
        for _ in range(3):
            assert d.pool.run_once()
        (endpoint,) = d.pool.endpoint_states()
        assert endpoint.breaker is BreakerState.OPEN
        for job in d.jobs()[2:]:
            d.orders.cancel(job.id, d.clock())
        d.clock.go(5.0)  # a probe is due, and there is none to send
        before = d.clock(), d.clock.monotonic()
        assert not d.pool.run_once()
        idle_seconds = d.pool.idle_seconds(*before)
        assert idle_seconds is not None
        assert idle_seconds > 200.0


def test_a_job_that_becomes_ready_between_look_and_wait_is_not_missed(here: Delivering) -> None:
    with here() as d:
        d.put(b"a", DATA)
        d.claims.defer(d.claimed(), d.clock() + 10.0, "cut")
        d.clock.go(9.9999)
        before = d.clock(), d.clock.monotonic()
        assert not d.pool.run_once()
        d.clock.go(0.0002)  # a lock, a query, a switch of threads
        idle_seconds = d.pool.idle_seconds(*before)
        assert idle_seconds is not None
        assert idle_seconds < 0.01


@pytest.mark.parametrize("running", [True, False])
def test_a_clock_that_is_set_back_keeps_no_job_waiting(server: Server, here: Delivering, running: bool) -> None:
    with here(server.url) as d:
        if running:
            assert not d.pool.run_once()
        d.put(b"a", DATA)
        d.clock.now -= 30 * 86400.0
        assert d.pool.run_once()
        assert d.only().state is State.DONE


# What fails in a way that nobody foresaw.


class FullDisk(Claims):
    """A queue that can't note progress, as on a full disk."""

    def progress(self, job: Job, offset_bytes: int, digest: bytes | None, digest_bytes: int | None = None) -> Job:
        raise sqlite3.OperationalError("database or disk is full")


def test_an_upload_does_not_end_because_its_progress_cant_be_noted(
    server: Server, here: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploader, "PROGRESS_SECONDS", 0.0)
    with here(server.url, claims=FullDisk) as d:
        d.put(b"a", DATA)
        assert d.pool.run_once()
        assert d.only().state is State.DONE
    assert complete(server) == [DATA]


class FullAtTheCreation(Claims):
    """A queue on a disk that is full when the first upload was made."""

    is_full = True

    def created(self, job: Job, upload_url: str, digest: bytes | None = None) -> Job:
        was_full, self.is_full = self.is_full, False
        if was_full:
            raise DatabaseUnwritable("database or disk is full")
        return super().created(job, upload_url, digest)


def test_a_job_that_a_full_disk_did_not_take_is_held_with_its_folder(server: Server, here: Delivering) -> None:
    """It was nobody's to put back when the folder went from the settings."""
    with here(server.url, claims=FullAtTheCreation) as d:
        d.put(b"a", DATA)
        with pytest.raises(DatabaseUnwritable):
            d.pool.run_once()
        d.pool.on_orphan = lambda: d.orders.hold_orphans([], ["default"], d.clock())
        d.pool.use([d.endpoint], [], workers=1)
        assert d.states() == [State.UPLOADING]
        assert not d.pool.run_once()
        assert (d.only().state, d.only().reason) == (State.HELD, FOLDER_REMOVED)
        assert d.only().upload_url is not None


def test_an_error_of_the_program_defers_the_disposal(here: Delivering, monkeypatch: pytest.MonkeyPatch) -> None:
    def prove(*arguments: object) -> None:
        raise ValueError("anything")

    with here(after_upload="delete") as d:
        d.put(b"a", DATA)
        delivered(d, wait_seconds=0.0)
        monkeypatch.setattr(worker, "prove", prove)
        assert d.pool.run_once()
        assert d.only().state is State.DELIVERED
        assert d.only().not_before > d.clock()
        assert "anything" in (d.only().last_error or "")


class FailsOnce(Claims):
    """A queue with a mistake that shows at the first look."""

    looked = False

    def heads(self) -> list[Head]:
        if not self.looked:
            self.looked = True
            raise ValueError("anything")
        return super().heads()


def test_a_worker_outlives_an_error_of_the_program(server: Server, here: Delivering) -> None:
    with here(server.url, claims=FailsOnce) as d:
        d.put(b"a", DATA)
        d.pool.start()
        wait_for(lambda: "anything" in (d.pool.problem or ""), 10, "the problem is shown")

        def done() -> bool:
            d.pool.wake()
            return d.only().state is State.DONE

        wait_for(done, 10, "the job is done")
        wait_for(lambda: d.pool.problem is None, 10, "the problem is over")


# The service.


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose sockets have short paths, as unix(7) asks."""
    with tempfile.TemporaryDirectory(prefix="ta-") as folder:
        yield Path(folder)


def service(base: Path, short: Path, environ: dict[str, str] | None = None) -> Service:
    (base / "out").mkdir(exist_ok=True)
    config = base / "config.toml"
    config.write_text(
        f'[agent]\nstate_dir = "{base}/state"\nsocket = "{short}/control.sock"\n'
        f'[endpoint.default]\nurl = "{NOWHERE}"\n[[watch]]\npath = "{base}/out"\n'
    )
    return Service(load(config, {}), environ or {})


def test_a_database_that_cant_be_read_for_a_moment_does_not_end_the_service(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tusd_agent.service.service.NOTIFY_SECONDS", 0.05)
    stop = threading.Event()
    database = tmp_path / "state" / "queue.db"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(short / "notify"))
        systemd.settimeout(10.0)
        running = service(tmp_path, short, {"NOTIFY_SOCKET": str(short / "notify")})
        thread = threading.Thread(target=running.run, args=(stop,))
        thread.start()

        def wait_for_status(words: str) -> None:
            wait_for(lambda: words in systemd.recv(4096).decode(), 20, words)

        try:
            wait_for_status("0 jobs waiting")
            database.rename(short / "queue.db")
            wait_for_status("there is no database")
            (short / "queue.db").rename(database)
            wait_for_status("0 jobs waiting")
            assert thread.is_alive()
        finally:
            stop.set()
            thread.join(20)
    assert not thread.is_alive()


def test_a_start_that_the_database_refuses_is_undone(tmp_path: Path, short: Path) -> None:
    made = service(tmp_path, short)
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    database = Database(state_dir / "queue.db")
    database.open()
    place = Place.below(str(tmp_path / "out"), b"a")
    Ledger(database).enqueue([Found(place, Fingerprint(1, 1, 1, 1), "default")], 1.0)
    assert Claims(database).claim(Lane(place.folder, "default"), 1.0), "what a crash leaves, to be recovered"
    with database.transaction() as connection:
        connection.execute("CREATE TRIGGER full BEFORE UPDATE ON jobs BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(StartError, match="disk full"):
        made.start()
    lock = StateLock(state_dir / "lock")
    lock.acquire()
    lock.release()
    with database.transaction() as connection:
        connection.execute("DROP TRIGGER full")
    database.close()
    again = service(tmp_path, short)
    again.start()
    again.stop()
