"""The queue on a real SQLite file: enqueueing, claiming, every verb, and claims that have gone stale."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tusd_agent.jobs.causes import FOLDER_REMOVED
from tusd_agent.jobs.claims import MAX_RESTARTS, Claims
from tusd_agent.jobs.database import Database, DatabaseUnusable, NewerDatabase
from tusd_agent.jobs.ledger import Ledger, Verdict
from tusd_agent.jobs.model import Fingerprint, Found, Job, Lane, Place, Sent
from tusd_agent.jobs.moves import StaleClaim
from tusd_agent.jobs.orders import NoSuchJob, Orders
from tusd_agent.jobs.reader import Reader
from tusd_agent.jobs.selection import Selection
from tusd_agent.jobs.states import FINISHED_WITH_SERVER_ERROR, TOO_OLD, IllegalMove, State
from tusd_agent.jobs.waiting import KINDS, Head, Kind

LANE = Lane("/srv/out", "default")
URL = "http://localhost/files/1"


def found(relative: bytes = b"a/file", *, size: int = 10, mtime: int = 1, ctime: int = 1, inode: int = 7) -> Found:
    return Found(Place.below("/srv/out", relative), Fingerprint(size, mtime, ctime, inode), "default")


SENT = Sent(found().fingerprint, None)


class Queue:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = Database(path)
        self.ready = 0
        self.revoked: list[int] = []
        self.ledger = Ledger(self.database, self.note_ready, self.revoked.append)
        self.claims = Claims(self.database)
        self.orders = Orders(self.database, self.note_ready, self.revoked.append)
        self.reader = Reader(path)

    def note_ready(self) -> None:
        self.ready += 1

    def claimed(self, now: float = 100.0) -> Job:
        job = self.claims.claim(LANE, now)
        assert job is not None
        return job

    def states(self) -> dict[str, int]:
        return {str(count.state): count.jobs for count in self.reader.counts()}


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path / "queue.db")
    queue.database.open()
    yield queue
    queue.database.close()


def test_the_way_of_a_kept_file(queue: Queue) -> None:
    assert queue.ledger.enqueue([found()], 100.0) == 1
    assert queue.ready == 1
    assert queue.claims.heads() == [Head(LANE, Kind(tried=False, large=False), 100.0)]
    job = queue.claimed()
    assert (job.state, job.attempts, job.claim_id, job.place.relative) == (State.UPLOADING, 1, 1, b"a/file")
    job = queue.claims.created(job, URL)
    job = queue.claims.progress(job, 4, b"d" * 32)
    assert job.whole_digest is None
    job = queue.claims.finish(job, 101.0, sent=Sent(found(ctime=4).fingerprint, b"e" * 32))
    row = queue.reader.job(job.id)
    assert row is not None
    assert row == job
    assert (row.state, row.upload_url, row.offset_bytes, row.whole_digest) == (State.DONE, URL, 10, b"e" * 32)
    assert row.fingerprint.ctime_ns == 4
    assert queue.states() == {"done": 1}
    assert queue.claims.heads() == []


def test_a_known_content_is_not_queued_again_whatever_its_state(queue: Queue) -> None:
    queue.ledger.enqueue([found()], 1.0)
    assert queue.ledger.enqueue([found()], 2.0) == 0
    job = queue.claimed()
    assert queue.ledger.enqueue([found()], 2.0) == 0
    queue.claims.finish(job, 3.0)
    assert queue.ledger.enqueue([found()], 4.0) == 0
    assert queue.states() == {"done": 1}


def test_newer_content_supersedes_what_waits_and_terminates_its_upload(queue: Queue) -> None:
    queue.ledger.enqueue([found()], 1.0)
    job = queue.claims.created(queue.claimed(), URL)
    queue.claims.defer(job, 50.0, "the network is down")
    assert queue.ledger.enqueue([found(mtime=2)], 60.0) == 1
    assert queue.states() == {"superseded": 1, "pending": 1}
    leftover = queue.claims.leftovers.take(60.0, ["default"])
    assert leftover is not None
    assert (leftover.upload_url, leftover.endpoint) == (URL, "default")
    queue.claims.leftovers.settle(leftover, 90.0)
    assert queue.claims.leftovers.take(89.0, ["default"]) is None
    again = queue.claims.leftovers.take(90.0, ["default"])
    assert again is not None
    assert again.attempts == 1
    queue.claims.leftovers.settle(again, None)
    assert queue.claims.leftovers.take(1e9, ["default"]) is None


def test_newer_content_revokes_the_upload_that_is_running(queue: Queue) -> None:
    queue.ledger.enqueue([found()], 1.0)
    job = queue.claimed()
    queue.ledger.enqueue([found(mtime=2)], 2.0)
    assert queue.revoked == [job.id]
    with pytest.raises(StaleClaim):
        queue.claims.created(job, URL)
    with pytest.raises(StaleClaim):
        queue.claims.finish(job, 3.0)
    assert queue.states() == {"superseded": 1, "pending": 1}


def test_an_old_claim_cant_finish_a_newer_one(queue: Queue) -> None:
    queue.ledger.enqueue([found()], 1.0)
    old = queue.claimed()
    queue.claims.interrupt(old)
    new = queue.claimed()
    assert new.claim_id == old.claim_id + 1
    with pytest.raises(StaleClaim):
        queue.claims.finish(old, 2.0)
    assert queue.claims.finish(new, 3.0).state is State.DONE


def test_of_one_path_one_job_at_a_time_in_order_of_age(queue: Queue) -> None:
    queue.ledger.enqueue([found()], 1.0)
    first = queue.claims.deliver(queue.claimed(), 2.0, SENT)
    queue.ledger.enqueue([found(mtime=2)], 3.0)
    assert queue.claims.claim(LANE, 100.0) is None
    queue.claims.defer(first, 50.0, "the disk is full")
    newer = queue.claimed(40.0)
    assert newer.fingerprint.mtime_ns == 2, "the older one is on the server: it holds up nothing"
    assert queue.claims.claim(LANE, 60.0) is None, "nobody touches the file while its newer content is sent"
    queue.claims.defer(newer, 70.0, "cut")
    first = queue.claimed(60.0)
    assert first.state is State.DISPOSING
    queue.claims.finish(first, 61.0)
    queue.ledger.enqueue([found(b"b", inode=9)], 62.0)
    queue.claims.defer(queue.claimed(63.0), 90.0, "cut")
    queue.ledger.enqueue([found(b"b", inode=9, mtime=2)], 64.0)
    assert queue.claimed(65.0).place.name == b"b"


def test_jobs_are_claimed_by_the_instant_they_became_ready(queue: Queue) -> None:
    queue.ledger.enqueue([found(b"a", inode=1)], 1.0)
    queue.ledger.enqueue([found(b"b", inode=2)], 2.0)
    first = queue.claimed(3.0)
    assert first.place.name == b"a"
    queue.claims.defer(first, 10.0, "busy")
    assert queue.claimed(11.0).place.name == b"b"
    assert queue.claimed(11.0).place.name == b"a"
    assert queue.claims.claim(LANE, 11.0) is None


def test_defer_counts_attempts_anew_when_the_offset_advanced(queue: Queue) -> None:
    queue.ledger.enqueue([found()], 1.0)
    job = queue.claims.defer(queue.claimed(), 2.0, "cut")
    assert (job.attempts, job.state, job.last_error) == (1, State.PENDING, "cut")
    job = queue.claims.defer(queue.claimed(), 3.0, "cut", advanced=True)
    assert job.attempts == 0


def test_after_the_clock_was_set_back_nothing_waits_for_it_to_catch_up(queue: Queue) -> None:
    queue.ledger.enqueue([found(b"a", inode=1), found(b"b", inode=2)], 1.0)
    queue.claims.defer(queue.claimed(), 100_000.0, "down")
    queue.claims.defer(queue.claimed(), 150.0, "down")
    assert queue.claims.clamp(100.0, 3600.0, lambda: True) == 0, "there is no time for it at a stop"
    assert queue.claims.clamp(100.0, 3600.0) == 1
    assert queue.claims.heads() == [Head(LANE, Kind(tried=True, large=False), 100.0)]
    assert queue.claimed(100.0).fingerprint.inode == 1


def test_a_clock_set_back_is_clamped_in_steps(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tusd_agent.jobs.claims.CLAMP_STEP_JOBS", 3)
    queue.ledger.enqueue([found(b"%d" % number, inode=number + 1) for number in range(10)], 100_000.0)
    commits: list[str] = []
    with queue.database.reading() as connection:
        connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    assert queue.claims.clamp(100.0, 3600.0) == 10
    assert len(commits) == 4
    assert [queue.claimed(100.0) for _ in range(10)]


def test_interrupt_counts_no_attempt(queue: Queue) -> None:
    queue.ledger.enqueue([found()], 1.0)
    assert queue.claims.interrupt(queue.claimed()).attempts == 0


def test_an_upload_that_the_server_loses_again_and_again_fails(queue: Queue) -> None:
    queue.ledger.enqueue([found()], 1.0)
    for number in range(MAX_RESTARTS):
        job = queue.claims.restart(queue.claims.created(queue.claimed(), URL), 2.0, "404")
        assert (job.state, job.restarts, job.upload_url) == (State.PENDING, number + 1, None)
    job = queue.claims.restart(queue.claims.created(queue.claimed(), URL), 2.0, "404")
    assert job.state is State.FAILED
    assert job.reason is not None
    assert "lost" in job.reason


def test_recover_puts_back_what_a_crash_left(queue: Queue) -> None:
    queue.ledger.enqueue([found(b"a", inode=1), found(b"b", inode=2)], 1.0)
    uploading = queue.claims.created(queue.claimed(), URL)
    queue.claims.deliver(queue.claimed(), 2.0, SENT)
    assert queue.claims.recover() == 2
    assert queue.states() == {"pending": 1, "delivered": 1}
    row = queue.reader.job(uploading.id)
    assert row is not None
    assert (row.upload_url, row.attempts) == (URL, 0)


def test_replace_queues_the_newer_content_in_the_same_commit(queue: Queue) -> None:
    queue.ledger.enqueue([found()], 1.0)
    job = queue.claims.created(queue.claimed(), URL)
    made = queue.claims.replace(job, found(mtime=2), 2.0, 9.0)
    assert queue.states() == {"superseded": 1, "pending": 1}
    assert queue.claims.claim(LANE, 8.0) is None, "it has to settle first"
    assert queue.claimed().id == made
    assert queue.claims.leftovers.take(2.0, ["default"]) is not None
    with pytest.raises(StaleClaim):
        queue.claims.replace(job, found(mtime=3), 3.0, 3.0)
    assert queue.states() == {"superseded": 1, "uploading": 1}


def test_a_vanished_file_that_is_seen_again_is_pending_again(queue: Queue) -> None:
    queue.ledger.enqueue([found()], 1.0)
    job = queue.claims.vanish(queue.claimed(), 2.0)
    assert job.state is State.VANISHED
    assert queue.ledger.enqueue([found(ctime=9)], 3.0) == 1
    again = queue.claimed()
    assert (again.id, again.fingerprint.ctime_ns) == (job.id, 9)


def test_a_moved_ctime_is_in_doubt_only_where_a_digest_can_decide(queue: Queue) -> None:
    queue.ledger.enqueue([found(b"with", inode=1), found(b"without", inode=2)], 1.0)
    queue.claims.finish(queue.claimed(), 2.0, sent=Sent(found(inode=1).fingerprint, b"d" * 32))
    queue.claims.finish(queue.claimed(), 2.0)
    with_digest = queue.ledger.look(found(b"with", inode=1, ctime=5))
    assert with_digest.verdict is Verdict.DOUBT
    without = queue.ledger.look(found(b"without", inode=2, ctime=5))
    assert without.verdict is Verdict.CTIME_MOVED
    assert with_digest.job is not None
    queue.ledger.refresh(with_digest.job.id, found(ctime=5, inode=1).fingerprint, 3.0)
    assert queue.ledger.look(found(b"with", inode=1, ctime=5)).verdict is Verdict.KNOWN
    assert queue.ledger.enqueue([found(b"with", inode=1, ctime=6)], 4.0) == 1, "the digest said: another content"


def test_refresh_lets_a_deferred_job_try_at_once(queue: Queue) -> None:
    queue.ledger.enqueue([found()], 1.0)
    job = queue.claims.defer(queue.claimed(), 9000.0, "permission denied")
    queue.ledger.refresh(job.id, found(ctime=8).fingerprint, 200.0)
    again = queue.claimed(200.0)
    assert (again.id, again.fingerprint.ctime_ns) == (job.id, 8)


def test_the_row_follows_a_renamed_file(queue: Queue) -> None:
    queue.ledger.enqueue([found(b"a")], 1.0)
    queue.claims.finish(queue.claimed(), 2.0)
    look = queue.ledger.look(found(b"sub/b", ctime=5))
    assert look.verdict is Verdict.NEW
    assert [twin.place.relative for twin in look.twins] == [b"a"]
    assert queue.ledger.rename(look.twins[0].id, Place.below("/srv/out", b"sub/b"), found(ctime=5).fingerprint, 3.0)
    assert queue.ledger.look(found(b"sub/b", ctime=5)).verdict is Verdict.KNOWN
    assert queue.reader.at(Place.below("/srv/out", b"a")) == []


def test_an_older_file_renamed_over_a_newer_one_is_the_newest_of_that_path(queue: Queue) -> None:
    queue.ledger.enqueue([found(b"a", inode=1)], 1.0)
    queue.claims.finish(queue.claimed(), 2.0)
    queue.ledger.enqueue([found(b"b", inode=2)], 3.0)
    queue.claims.finish(queue.claimed(), 4.0)
    queue.ledger.enqueue([found(b"b", inode=3, mtime=3)], 5.0)
    waiting = queue.claimed()
    (older,) = queue.ledger.look(found(b"b", inode=1, ctime=9)).twins
    assert queue.ledger.rename(older.id, Place.below("/srv/out", b"b"), found(inode=1, ctime=9).fingerprint, 6.0)
    assert queue.ledger.look(found(b"b", inode=1, ctime=9)).verdict is Verdict.KNOWN
    assert queue.revoked == [waiting.id]
    assert queue.states() == {"done": 2, "superseded": 1}
    queue.ledger.enqueue([found(b"b", inode=4)], 7.0)
    assert queue.ledger.look(found(b"b", inode=4)).verdict is Verdict.KNOWN


def test_directories_with_unsent_files(queue: Queue) -> None:
    queue.ledger.enqueue([found(b"a/1", inode=1), found(b"b/1", inode=2), found(b"1", inode=3)], 1.0)
    queue.claims.finish(queue.claimed(), 2.0)
    queue.claims.fail(queue.claimed(), "no", 2.0, "refused")
    assert sorted(queue.ledger.unsent_directories("/srv/out")) == [b"", b"b"]
    assert queue.ledger.unsent_directories("/other") == []


def test_known_gives_a_directory_and_no_other(queue: Queue) -> None:
    queue.ledger.enqueue([found(b"a/1", inode=1), found(b"a/\xff", inode=2), found(b"b/1", inode=3)], 1.0)
    known = queue.ledger.known("/srv/out", b"a", limit=2)
    assert known is not None
    assert sorted(known) == [b"1", b"\xff"]
    assert queue.ledger.known("/srv/out", b"", limit=2) == {}
    assert queue.ledger.known("/srv/out", b"a", limit=1) is None
    assert queue.ledger.known_among("/srv/out", b"a", [b"\xff", b"no"]) == {b"\xff": known[b"\xff"]}


def test_known_gives_the_newest_row_of_a_name(queue: Queue) -> None:
    for size in (1, 2, 3):
        queue.ledger.enqueue([found(b"a/1", size=size)], 1.0)
    for known in (queue.ledger.known("/srv/out", b"a", limit=9), queue.ledger.known_among("/srv/out", b"a", [b"1"])):
        assert known is not None
        assert [row[1] for row in known.values()] == [3]


def test_vanish_is_for_what_waits_only(queue: Queue) -> None:
    queue.ledger.enqueue([found()], 1.0)
    job = queue.claimed()
    assert not queue.ledger.vanish(job.id, 2.0)
    queue.claims.created(job, URL)
    queue.claims.recover()
    assert queue.ledger.vanish(job.id, 2.0)
    assert queue.claims.leftovers.take(2.0, ["default"]) is not None


def test_the_operators_verbs(queue: Queue) -> None:
    queue.ledger.enqueue([found()], 1.0)
    job = queue.claimed()
    assert queue.orders.hold(job.id, 2.0).state is State.HELD
    assert queue.revoked == [job.id]
    assert queue.orders.release(job.id, 3.0).state is State.PENDING
    job = queue.claims.created(queue.claimed(), URL)
    assert queue.orders.cancel(job.id, 4.0).state is State.CANCELLED
    assert queue.claims.leftovers.take(4.0, ["default"]) is not None
    again = queue.orders.retry(job.id, 5.0)
    assert (again.state, again.upload_url, again.attempts) == (State.PENDING, None, 0)
    with pytest.raises(IllegalMove):
        queue.orders.resend(job.id, 6.0)
    with pytest.raises(NoSuchJob):
        queue.orders.cancel(999, 6.0)


def test_retry_begins_anew_only_after_a_finished_upload_was_refused(queue: Queue) -> None:
    queue.ledger.enqueue([found()], 1.0)
    job = queue.claims.fail(queue.claims.created(queue.claimed(), URL), "500: hook", 2.0, "server refused")
    assert queue.orders.retry(job.id, 3.0).upload_url == URL
    job = queue.claims.fail(queue.claimed(), "500: hook", 4.0, FINISHED_WITH_SERVER_ERROR)
    assert queue.orders.retry(job.id, 5.0).upload_url is None


def test_what_is_held_of_a_removed_folder_when_the_agent_stops_is_gone_on_with_at_the_next_start(queue: Queue) -> None:
    queue.ledger.enqueue([found(b"%d" % number, inode=number) for number in range(1, 1501)], 1.0)
    stopping = iter([False, True])
    assert queue.orders.hold_orphans(set(), {"default"}, 2.0, lambda: next(stopping)) == 1000
    assert queue.orders.hold_orphans(set(), {"default"}, 2.0, lambda: True) == 0
    assert queue.orders.hold_orphans(set(), {"default"}, 2.0) == 500


def test_jobs_of_a_removed_folder_are_held_and_come_back_with_it(queue: Queue) -> None:
    queue.ledger.enqueue([found(b"a", inode=1), found(b"b", inode=2)], 1.0)
    delivered = queue.claims.defer(queue.claims.deliver(queue.claimed(), 2.0, SENT), 3.0, "disk full")
    assert queue.orders.hold_orphans({"/other"}, {"default"}, 4.0) == 1
    assert queue.states() == {"held": 1, "done": 1}
    row = queue.reader.job(delivered.id)
    assert row is not None
    assert row.reason is not None
    assert FOLDER_REMOVED in row.reason
    assert queue.orders.hold_orphans({"/srv/out"}, {"default"}, 5.0) == 0
    assert queue.states() == {"pending": 1, "done": 1}


def test_counters_equal_a_count_of_the_rows(queue: Queue) -> None:
    for number in range(20):
        queue.ledger.enqueue([found(b"f%d" % number, inode=number + 1, size=number)], 1.0)
    for number in range(12):
        job = queue.claimed()
        if number % 3 == 0:
            queue.claims.finish(job, 2.0)
        elif number % 3 == 1:
            queue.claims.fail(job, "no", 2.0, "refused")
    with sqlite3.connect(queue.path) as connection:
        rows = connection.execute("SELECT state, COUNT(*), SUM(size_bytes) FROM jobs GROUP BY state").fetchall()
    assert {(str(c.state), c.jobs, c.bytes) for c in queue.reader.counts()} == set(rows)


def test_pages_go_from_newest_to_oldest_without_gaps(queue: Queue) -> None:
    queue.ledger.enqueue([found(b"f%d" % n, inode=n + 1) for n in range(25)], 1.0)
    seen: list[int] = []
    cursor: int | None = None
    while True:
        page = queue.reader.page(Selection(states=(State.PENDING,)), limit=10, cursor=cursor)
        seen += [job.id for job in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 25


def test_pages_of_states_hold_these_and_no_others(queue: Queue) -> None:
    queue.ledger.enqueue([found(b"f%d" % n, inode=n + 1) for n in range(4)], 1.0)
    failed = queue.claims.fail(queue.claimed(), "no", 2.0, "refused")
    held = queue.orders.hold(queue.claimed().id, 2.0)
    assert [job.id for job in queue.reader.page(Selection(states=(State.FAILED,))).jobs] == [failed.id]
    assert [job.id for job in queue.reader.page(Selection(states=(State.FAILED, State.HELD))).jobs] == [
        held.id,
        failed.id,
    ]
    assert [job.id for job in queue.reader.page(Selection(states=(State.FAILED, State.HELD)), cursor=held.id).jobs] == [
        failed.id
    ]
    assert len(queue.reader.page(Selection(states=(State.FAILED, State.PENDING))).jobs) == 3


def test_what_is_asked_often_is_answered_by_an_index(queue: Queue) -> None:
    queue.claims.fit(by_age=True)
    queue.ledger.enqueue([found()], 1.0)
    asked: list[str] = []
    with queue.database.reading() as connection:
        connection.set_trace_callback(asked.append)
    (head,) = queue.claims.heads()
    queue.claims.next_ready_at(head, 0.0)
    queue.claims.clamp(0.0, 10.0)
    queue.claims.oldest_at("/srv/out")
    assert queue.claims.too_old("/srv/out", 0.5, 1.0, "old") == []
    queue.claimed()
    queue.claims.recover()
    with queue.database.reading() as connection:
        connection.set_trace_callback(None)
        for query in asked:
            if query.startswith(("SELECT", "UPDATE jobs INDEXED")):
                plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]
                assert not any(step.startswith(("SCAN jobs", "SCAN j ", "USE TEMP B-TREE")) for step in plan), (
                    query,
                    plan,
                )
    assert len([query for query in asked if "jobs_waiting" in query]) >= 4
    assert any("uploading" in query for query in asked)


def test_the_indexes_follow_the_settings(queue: Queue) -> None:
    queue.ledger.enqueue([found(b"small", inode=1, size=10), found(b"large", inode=2, size=11)], 1.0)
    for limit, kinds in ((10, [False, True]), (11, [False]), (9, [True])):
        claims = Claims(queue.database, small_file_bytes=limit)
        claims.fit(by_age=False)
        assert [head.kind.large for head in claims.heads()] == kinds
    with pytest.raises(sqlite3.Error):
        claims.oldest_at("/srv/out")


def test_a_kind_is_claimed_apart_from_the_others(queue: Queue) -> None:
    claims = Claims(queue.database, small_file_bytes=10)
    claims.fit(by_age=False)
    queue.ledger.enqueue([found(b"large", inode=1, size=11)], 1.0)
    queue.ledger.enqueue([found(b"tried", inode=2)], 2.0)
    claims.interrupt(claims.claim(LANE, 100.0, Kind(tried=False, large=False)) or pytest.fail("there is one"))
    queue.ledger.enqueue([found(b"small", inode=3)], 3.0)
    names = {kind: job.place.name for kind in KINDS if (job := claims.claim(LANE, 100.0, kind)) is not None}
    assert names == {
        Kind(tried=False, large=False): b"small",
        Kind(tried=False, large=True): b"large",
        Kind(tried=True, large=False): b"tried",
    }


def test_a_job_that_waited_too_long_fails_and_retry_lets_it_wait_anew(queue: Queue) -> None:
    queue.claims.fit(by_age=True)
    queue.ledger.enqueue([found(b"a", inode=1)], 1.0)
    queue.ledger.enqueue([found(b"b", inode=2)], 5.0)
    job = queue.claims.created(queue.claimed(), URL)
    queue.claims.defer(job, 900.0, "the network is down")
    assert queue.claims.oldest_at("/srv/out") == 1.0
    (old,) = queue.claims.too_old("/srv/out", 4.0, 104.0, "it waited for 100 s")
    assert (old.id, old.state, old.reason) == (job.id, State.FAILED, TOO_OLD)
    assert old.last_error == "it waited for 100 s; the network is down"
    again = queue.orders.retry(job.id, 200.0)
    assert (again.state, again.upload_url, again.waiting_since) == (State.PENDING, URL, 200.0)
    assert queue.claims.oldest_at("/srv/out") == 5.0
    assert [each.place.name for each in queue.claims.too_old("/srv/out", 199.0, 250.0, "old")] == [b"b"]
    assert queue.claims.oldest_at("/srv/out") == 200.0


def test_a_clean_stop_is_told_from_a_crash(tmp_path: Path) -> None:
    database = Database(tmp_path / "queue.db")
    assert database.open()
    crashed = Database(tmp_path / "queue.db")
    assert not crashed.open(), "the first one is still open: to the second it looks like a crash"
    crashed.close()
    database.close()
    assert Database(tmp_path / "queue.db").open()


def test_the_database_is_for_its_owner_only(queue: Queue) -> None:
    assert queue.path.stat().st_mode & 0o777 == 0o600


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(NewerDatabase, match=r"schema 99"):
        Database(path).open()
    assert path.read_bytes() == before
    with pytest.raises(DatabaseUnusable, match=r"schema 99"):
        Reader(path).counts()


def test_no_database_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match="has not run here"):
        Reader(tmp_path / "queue.db").counts()
