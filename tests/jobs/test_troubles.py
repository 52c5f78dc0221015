"""The attempts that failed, the jobs in trouble by their cause, the totals, and the age of what waits."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tusd_agent.jobs import totals, troubles
from tusd_agent.jobs.causes import HELD_BY_OPERATOR, HINTS, OTHER, UPLOAD_LOST, hint_of
from tusd_agent.jobs.claims import Claims
from tusd_agent.jobs.database import Database
from tusd_agent.jobs.history import KEPT_FAILURES, Failure
from tusd_agent.jobs.ledger import Ledger
from tusd_agent.jobs.model import Entry, Fingerprint, Found, Job, Lane, Place, Sent
from tusd_agent.jobs.orders import Orders
from tusd_agent.jobs.reader import Reader
from tusd_agent.jobs.retention import Retention
from tusd_agent.jobs.states import LEDGER_LOST, State
from tusd_agent.jobs.totals import BUCKET_SECONDS, KEPT_SECONDS, Total
from tusd_agent.jobs.waiting import oldest

FOLDER, OTHER_FOLDER = "/srv/out", "/srv/b"
QUARTER = 1000 * BUCKET_SECONDS
"""The beginning of one."""


class Queue:
    def __init__(self, path: Path) -> None:
        self.database = Database(path)
        self.database.open()
        self.claims = Claims(self.database)
        self.ledger = Ledger(self.database)
        self.orders = Orders(self.database)
        self.reader = Reader(path)
        self.made = 0

    def put(self, *, folder: str = FOLDER, size: int = 10, now: float = 1.0, entry: Entry = Entry.QUEUE) -> None:
        self.made += 1
        content = Fingerprint(size, self.made, 1, self.made)
        self.ledger.enqueue([Found(Place.below(folder, b"%d" % self.made), content, "default", entry)], now)

    def claimed(self, now: float = QUARTER, *, folder: str = FOLDER) -> Job:
        job = self.claims.claim(Lane(folder, "default"), now)
        assert job is not None
        return job

    def arrive(self, now: float, *, folder: str = FOLDER, dispose: bool = False) -> Job:
        job = self.claims.created(self.claimed(now, folder=folder), "http://localhost/1")
        sent = Sent(job.fingerprint, None)
        return self.claims.deliver(job, now, sent) if dispose else self.claims.finish(job, now, sent=sent)

    def causes(self) -> dict[tuple[str, str], int]:
        return {(each.cause, str(each.state)): each.jobs for each in self.reader.troubles()}


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path / "queue.db")
    yield queue
    queue.database.close()


def test_the_last_failed_attempts_are_kept_and_go_with_the_job(queue: Queue) -> None:
    queue.put()
    for number in range(KEPT_FAILURES + 3):
        job = queue.claims.defer(queue.claimed(), number, f"error {number}", now=100.0 + number, cause="busy")
    kept = queue.reader.failures(job.id)
    assert len(kept) == KEPT_FAILURES
    assert (kept[0], kept[-1]) == (Failure(103.0, "busy", "error 3"), Failure(112.0, "busy", "error 12"))
    queue.claims.restart(queue.claims.created(queue.claimed(50.0), "http://localhost/1"), 0.0, "404")
    queue.claims.fail(queue.claimed(), "x" * 1000, 200.0, "refused", "refused 422")
    lost, failed = queue.reader.failures(job.id)[-2:]
    assert lost == Failure(50.0, UPLOAD_LOST, "404"), "the instant of the claim stands for one that is not told"
    assert (failed.at, failed.cause, len(failed.words)) == (200.0, "refused 422", 500)
    queue.orders.cancel(job.id, 201.0)
    queue.put()  # the row with the highest id is not forgotten
    assert Retention(queue.database).forget([job.id]) == 1
    assert queue.reader.failures(job.id) == []


def test_what_goes_through_or_is_interrupted_leaves_no_trace(queue: Queue) -> None:
    queue.put()
    job = queue.claims.interrupt(queue.claimed())
    queue.arrive(QUARTER)
    assert (queue.reader.failures(job.id), queue.reader.troubles()) == ([], [])


def test_trouble_is_counted_by_cause_until_it_is_over(queue: Queue) -> None:
    for _ in range(5):
        queue.put()
    queue.put(entry=Entry.HOLD)
    queue.put(entry=Entry.IGNORE)
    refused = [queue.claims.fail(queue.claimed(), f"no {n}", 2.0, "refused", "refused 413") for n in range(2)]
    deferred = queue.claims.defer(queue.claimed(), 1e12, "the network is down", cause="out of reach")
    queue.claims.interrupt(queue.claimed(), not_before=QUARTER, error="down", cause="out of reach")
    held = queue.orders.hold(queue.claimed().id, 3.0)
    assert queue.causes() == {
        ("refused 413", "failed"): 2,
        ("out of reach", "pending"): 2,
        (HELD_BY_OPERATOR, "held"): 1,
        (LEDGER_LOST, "held"): 1,
    }
    examples = {each.cause: each.example for each in queue.reader.troubles()}
    assert examples["refused 413"] == refused[1], "the newest"
    claimed = queue.claimed()
    assert (claimed.cause, queue.causes()[("out of reach", "pending")]) == ("out of reach", 1), "it has another chance"
    queue.claims.finish(claimed, QUARTER, sent=Sent(claimed.fingerprint, None))
    for job in refused:
        queue.orders.retry(job.id, 4.0)
    queue.orders.release(held.id, 4.0)
    assert set(queue.causes()) == {("out of reach", "pending"), (LEDGER_LOST, "held")}
    queue.orders.hold(deferred.id, 5.0)
    queue.orders.adopt(6, 5.0)
    assert queue.causes() == {(HELD_BY_OPERATOR, "held"): 1}


def test_disposals_that_wait_are_in_trouble_too(queue: Queue) -> None:
    queue.put()
    queue.claims.defer(queue.arrive(QUARTER, dispose=True), 1e12, "permission denied")
    assert queue.causes() == {(OTHER, "delivered"): 1}


def test_of_very_many_the_count_ends_somewhere(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "MAX_COUNTED", 2)
    monkeypatch.setattr(troubles, "MAX_GROUPS", 2)
    for number in range(6):
        queue.put()
        queue.claims.fail(queue.claimed(), "no", 2.0, ("a", "a", "a", "b", "c", "d")[number])
    assert [(each.cause, each.jobs, each.counted_all) for each in queue.reader.troubles()] == [
        ("a", 2, False),
        ("b", 1, True),
    ]


def test_hints() -> None:
    assert hint_of("refused 422") == HINTS["refused"]
    assert hint_of("file: Permission denied") == HINTS["file"]
    assert hint_of("refusedly") == hint_of("whatever") == HINTS[OTHER]


def test_totals_by_folder_since_an_instant(queue: Queue) -> None:
    for now, folder, size in ((QUARTER - 1, FOLDER, 1), (QUARTER, FOLDER, 20), (QUARTER + 950, OTHER_FOLDER, 300)):
        queue.put(folder=folder, size=size)
        queue.arrive(now, folder=folder, dispose=folder == OTHER_FOLDER)
    queue.put()
    queue.claims.fail(queue.claimed(), "no", QUARTER + 2000, "refused")
    queue.claims.fit(by_age=True)
    queue.put()
    queue.claims.too_old(FOLDER, 10.0, QUARTER + 2000, "it waited for too long")
    ours, theirs = (
        {tally.folder: tally for tally in queue.reader.overview((QUARTER + 1, QUARTER + 900)).tallies}[folder]
        for folder in (FOLDER, OTHER_FOLDER)
    )
    assert (ours.endpoint, ours.ever) == ("default", Total(2, 21, 2))
    assert ours.since == (Total(1, 20, 2), Total(0, 0, 2)), "from the quarter on that the instant lies in"
    assert (theirs.ever, theirs.since) == (Total(1, 300, 0), (Total(1, 300, 0), Total(1, 300, 0)))
    assert ours.ever + theirs.ever == Total(3, 321, 2)


def test_what_is_older_than_two_days_is_one_sum(queue: Queue) -> None:
    for number in range(4):
        queue.put()
        queue.arrive(QUARTER + number * BUCKET_SECONDS)
    queue.put()
    queue.arrive(QUARTER + 2 * BUCKET_SECONDS + KEPT_SECONDS)
    with queue.database.reading() as connection:
        buckets = [row[0] for row in connection.execute("SELECT bucket FROM totals ORDER BY 1")]
    assert buckets == [0, *(QUARTER + n * BUCKET_SECONDS for n in (2, 3)), QUARTER + 2 * BUCKET_SECONDS + KEPT_SECONDS]
    (tally,) = queue.reader.overview((QUARTER,)).tallies
    assert (tally.ever.arrived, tally.since[0].arrived) == (5, 3)
    queue.put()
    queue.arrive(QUARTER + 9 * KEPT_SECONDS)
    (tally,) = queue.reader.overview(()).tallies
    assert tally.ever == Total(6, 60, 0)


def test_the_clock_may_stand_at_its_beginning(queue: Queue) -> None:
    queue.put(now=0.0)
    queue.arrive(0.0)
    assert queue.reader.overview((-5.0,)).tallies[0].since == (Total(1, 10, 0),)
    assert totals.bucket_of(-1.0) > 0


def test_since_when_the_oldest_waits(queue: Queue) -> None:
    assert queue.reader.overview(()).oldest_at == {}
    queue.put(now=100.0)
    queue.put(now=50.0, size=10**9)
    queue.put(now=70.0, folder=OTHER_FOLDER)
    assert queue.reader.overview(()).oldest_at == {FOLDER: 50.0, OTHER_FOLDER: 70.0}
    queue.claims.defer(queue.claimed(), 1e12, "later")
    assert queue.reader.overview(()).oldest_at[FOLDER] == 50.0, "it has waited all the same"
    queue.orders.cancel(2, 60.0)
    assert queue.reader.overview(()).oldest_at[FOLDER] == 100.0
    queue.orders.cancel(3, 60.0)
    assert FOLDER in queue.reader.overview(()).oldest_at
    assert OTHER_FOLDER not in queue.reader.overview(()).oldest_at


def test_none_of_it_looks_at_every_row(queue: Queue) -> None:
    """At a million jobs too: each question is answered by an index."""
    queue.put()
    queue.claims.fail(queue.claimed(), "no", 2.0, "refused")
    queue.put()
    asked: list[str] = []
    with queue.database.reading() as connection:
        connection.set_trace_callback(asked.append)
        troubles.troubles(connection)
        totals.tallies(connection, (0.0, QUARTER))
        oldest(connection)
        connection.set_trace_callback(None)
        plans = [
            detail
            for query in asked
            if query.startswith("SELECT") and "sqlite_schema" not in query
            for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {query}")
        ]
    assert State.FAILED in {each.state for each in queue.reader.troubles()}
    scans = [plan for plan in plans if plan.startswith("SCAN") and "jobs" in plan and "INDEX" not in plan]
    assert scans == []
    assert any("jobs_in_trouble (cause=? AND state=?)" in plan for plan in plans)
    assert any("jobs_tried_by_age" in plan for plan in plans)
