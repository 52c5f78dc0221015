"""The store beside the queue of plain values: doing the same to both, killing the process, and what always holds."""

import copy
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from hypothesis.stateful import RuleBasedStateMachine, invariant

from tusd_agent.jobs import moves
from tusd_agent.jobs.claims import Claims
from tusd_agent.jobs.database import Database
from tusd_agent.jobs.history import KEPT_FAILURES
from tusd_agent.jobs.ledger import Ledger
from tusd_agent.jobs.model import Job
from tusd_agent.jobs.moves import StaleClaim
from tusd_agent.jobs.orders import Orders
from tusd_agent.jobs.rows import SELECT_JOB, job_of
from tusd_agent.jobs.states import WORKING, Event, IllegalMove, State, target

from .crashing import Crash, crashing_connections, killed_at
from .plain_queue import PlainQueue, Row

MEMORY = Path("/dev/shm")
"""Where syncs cost nothing; what they are worth is not asked here."""

Do = Callable[[], object]
Effect = Callable[[PlainQueue], object]
Taken = set[tuple[State | None, Event]]


class Queues(RuleBasedStateMachine):
    """Both queues, and the jobs in workers' hands: those that this process has claimed, stale or not."""

    def __init__(self) -> None:
        super().__init__()
        base = Path(tempfile.mkdtemp(prefix="queues-", dir=MEMORY if MEMORY.is_dir() else None))
        self.stack = ExitStack()
        self.stack.callback(shutil.rmtree, base)
        self.stack.enter_context(crashing_connections())
        self.plain = PlainQueue()
        self.hands: list[Job] = []
        self.urls: set[str] = set()
        """All that a row has ever had."""
        self.given_up: set[str] = set()
        """Those of them that the server has lost, or whose content is to be sent anew."""
        self.taken: Taken = set()
        """What of the table of states was taken."""
        self._claim_ids: dict[int, int] = {}
        self._moved: Taken = set()
        self._target = target
        self.stack.enter_context(patch.object(moves, "target", self._noted_target))
        self._folder = base / "0"
        self._folder.mkdir()
        self.open(clean=True)

    def teardown(self) -> None:
        self.database.close()
        self.stack.close()

    def open(self, *, clean: bool) -> None:
        self.database = Database(self._folder / "queue.db")
        assert self.database.open() is clean
        assert (self.database.loss, self.database.incomplete_since) == (None, None)
        self.ledger, self.claims, self.orders = Ledger(self.database), Claims(self.database), Orders(self.database)
        self.claims.fit(by_age=True)
        self.hands = []

    def both(self, kill: int | None, act: Do, effect: Effect) -> object | None:
        """Does the same to both and compares how it ends. One that is killed is done as a whole or not at all.

        Returns what the store did, `None` where it refused or was killed.
        """
        self._moved = set()
        left_behind = self._folder.with_name(str(int(self._folder.name) + 1))
        try:
            with killed_at(kill, self.database.path, left_behind):
                outcome, did = _outcome(act)
        except Crash as crash:
            self._begin_anew(left_behind)
            if crash.committed:
                effect(self.plain)
                self.taken.update(self._moved)
            self.recover()
            return None
        after = copy.deepcopy(self.plain)
        expected, returned = _outcome(lambda: effect(after))
        assert outcome == expected
        if outcome != "done":
            return None
        assert returned is None or did == returned
        self.plain = after
        self.taken.update(self._moved)
        return did

    def recover(self) -> None:
        self.both(None, self.claims.recover, PlainQueue.recover)

    def work(self, job: Job, kill: int | None, act: Do, effect: Effect) -> None:
        """What a worker does with its job; what it has of it then takes the place of what it had."""
        done = self.both(kill, act, effect)
        if isinstance(done, Job) and done.state in WORKING:
            self.hands[self.hands.index(job)] = done

    def row(self, choice: int) -> Row:
        """A row: of each state that there is as often as of any other. The latest is 0."""
        if choice == 0:
            return self.plain.rows[max(self.plain.rows)]
        states = sorted({row.state for row in self.plain.rows.values()})
        number, state = divmod(choice, len(states))
        rows = [row for row in self.plain.rows.values() if row.state is states[state]]
        return rows[-1 - number % len(rows)]

    def held(self, choice: int, *states: State, with_url: bool | None = None) -> Job | None:
        """A job in some worker's hands, and rather one that nobody has decided about meanwhile; the latest is 0."""
        held = [job for job in self.hands if job.state in states and with_url in (None, job.upload_url is not None)]
        valid = [job for job in held if not self.is_stale(job)]
        chosen = valid if valid and choice % 4 != 3 else held
        return chosen[-1 - choice % len(chosen)] if chosen else None

    def is_stale(self, job: Job) -> bool:
        return _outcome(lambda: self.plain.held_by(job))[0] != "done"

    def stored(self) -> list[Job]:
        with self.database.reading() as connection:
            return [job_of(row) for row in connection.execute(f"{SELECT_JOB} ORDER BY j.id")]

    def _begin_anew(self, left_behind: Path) -> None:
        """Another process goes on with what was on the disk."""
        connection, self.database._connection = self.database._connection, None
        assert connection is not None
        connection.close()
        shutil.rmtree(self._folder)
        self._folder = left_behind
        self.open(clean=False)

    def _noted_target(self, state: State | None, event: Event) -> State:
        to = self._target(state, event)
        self._moved.add((state, event))
        return to

    @invariant()
    def the_rows_agree(self) -> None:
        stored = {
            job.id: (
                job.state, job.place, job.fingerprint, job.claim_id, job.attempts, job.restarts, job.not_before,
                job.upload_url,
            )
            for job in self.stored()
        }  # fmt: skip
        plain = {
            row.id: (
                row.state, row.place, row.fingerprint, row.claim_id, row.attempts, row.restarts, row.not_before,
                row.url,
            )
            for row in self.plain.rows.values()
        }  # fmt: skip
        assert stored == plain, [
            (row, stored.get(row), plain.get(row))
            for row in stored.keys() | plain.keys()
            if stored.get(row) != plain.get(row)
        ]

    @invariant()
    def the_counters_are_what_is_counted(self) -> None:
        counted: Counter[tuple[str, State]] = Counter()
        for job in self.stored():
            counted[job.endpoint, job.state] += 1
        with self.database.reading() as connection:
            kept = connection.execute("SELECT endpoint, state, jobs, bytes FROM counters WHERE jobs <> 0").fetchall()
            grouped = connection.execute(
                "SELECT endpoint, state, COUNT(*), SUM(size_bytes) FROM jobs GROUP BY folder_id, endpoint, state"
            ).fetchall()
        assert sorted(kept) == sorted(grouped)
        assert {(endpoint, State(state)): jobs for endpoint, state, jobs, _ in kept} == counted

    @invariant()
    def what_arrived_and_what_failed_is_counted(self) -> None:
        with self.database.reading() as connection:
            totals = connection.execute("SELECT COALESCE(SUM(arrived), 0), COALESCE(SUM(failed), 0) FROM totals")
            assert totals.fetchone() == (self.plain.arrived, self.plain.failed)
            for row in self.plain.rows.values():
                kept = connection.execute("SELECT claim_id FROM failures WHERE job_id = ? ORDER BY 1", (row.id,))
                assert [claim_id for (claim_id,) in kept] == row.failures[-KEPT_FAILURES:]

    @invariant()
    def no_upload_is_forgotten(self) -> None:
        of_rows = {job.upload_url for job in self.stored()}
        with self.database.reading() as connection:
            leftovers = [url for (url,) in connection.execute("SELECT upload_url FROM leftovers ORDER BY id")]
        assert leftovers == self.plain.leftovers
        assert self.urls <= of_rows | set(leftovers) | self.given_up

    @invariant()
    def claims_only_grow(self) -> None:
        for job in self.stored():
            assert job.claim_id >= self._claim_ids.get(job.id, 0)
            self._claim_ids[job.id] = job.claim_id


def _outcome(act: Do) -> tuple[str, object]:
    """How it ended, and what it returned."""
    try:
        return "done", act()
    except StaleClaim:
        return "stale", None
    except IllegalMove:
        return "illegal", None
