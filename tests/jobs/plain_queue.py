"""The queue once more, as plain values and without a database: what the store is held against.

It says what each verb does to state, claim, place, upload and leftovers; it knows the table of states, and no SQL.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tusd_agent.jobs.causes import FOLDER_REMOVED
from tusd_agent.jobs.claims import MAX_RESTARTS
from tusd_agent.jobs.model import Entry, Fingerprint, Job, Place
from tusd_agent.jobs.moves import StaleClaim
from tusd_agent.jobs.orders import Verb
from tusd_agent.jobs.states import (
    FINISHED_WITH_SERVER_ERROR,
    SUPERSEDABLE,
    TABLE,
    TOO_OLD,
    WAITING,
    WORKING,
    Event,
    State,
    target,
)

ENTRY_EVENTS = {Entry.QUEUE: Event.ENQUEUE, Entry.HOLD: Event.HOLD, Entry.IGNORE: Event.CANCEL}
NEWEST_ONLY = frozenset({Verb.RETRY, Verb.RELEASE, Verb.RESEND})


@dataclass
class Row:
    """A job. `age` orders the rows of a path, `failures` are the claims that failed."""

    id: int
    place: Place
    fingerprint: Fingerprint
    state: State
    not_before: float
    age: tuple[int, int]
    claim_id: int = 0
    attempts: int = 0
    restarts: int = 0
    url: str | None = None
    has_digest: bool = False
    reason: str | None = None
    failures: list[int] = field(default_factory=list)


@dataclass
class PlainQueue:
    """All rows by id, and the uploads that are to be terminated."""

    rows: dict[int, Row] = field(default_factory=dict)
    leftovers: list[str] = field(default_factory=list)
    arrived: int = 0
    failed: int = 0

    # The intake's.

    def enqueue(self, place: Place, found: Fingerprint, entry: Entry, now: float) -> int:
        newest = next((row for row in self.at(place) if row.state is not State.SUPERSEDED), None)
        if newest is not None and newest.fingerprint.same_identity(found):
            if newest.state is State.VANISHED:
                self._move(newest, Event.ENQUEUE)
                newest.attempts, newest.not_before, newest.fingerprint, newest.reason = 0, now, found, None
                return 1
            doubt = newest.state is State.DONE and newest.has_digest
            if not doubt or newest.fingerprint.ctime_ns == found.ctime_ns:
                return 0
        self._insert(place, found, entry, now)
        return int(entry is Entry.QUEUE)

    def rename(self, row_id: int, place: Place, found: Fingerprint) -> bool:
        row = self.rows[row_id]
        if row.state is State.SUPERSEDED:
            return False
        self._supersede_at(place)
        self._move(row, Event.RENAME)
        there = self.at(place)
        row.age = (there[0].age[0] + 1 if there else 0, row.id)
        row.place = place
        self._note_fingerprint(row, found)
        return True

    def vanish(self, row_id: int) -> bool:
        row = self.rows[row_id]
        if row.state not in (State.PENDING, State.FAILED, State.HELD):
            return False
        self._vanish(row)
        return True

    def refresh(self, row_id: int, found: Fingerprint, now: float) -> None:
        row = self.rows[row_id]
        self._note_fingerprint(row, found)
        if row.state is State.PENDING:
            row.not_before = min(row.not_before, now)

    # The workers'. Each takes the job as the worker has it.

    def claimable(self, now: float) -> list[Row]:
        """Those that are next, the longest ready: one of them it must be."""
        ready = [row for row in self.rows.values() if row.state in WAITING and row.not_before <= now]
        free = [row for row in ready if not any(self._goes_first(other, row) for other in self.at(row.place))]
        first = min((row.not_before for row in free), default=0.0)
        return [row for row in free if row.not_before == first]

    def claim(self, row_id: int) -> None:
        row = self.rows[row_id]
        self._move(row, Event.CLAIM)
        row.attempts += 1
        row.claim_id += 1

    def held_by(self, job: Job) -> Row:
        """The row of a worker's job; raises `StaleClaim` when it is no longer the worker's."""
        row = self.rows[job.id]
        if (row.state, row.claim_id) != (job.state, job.claim_id):
            raise StaleClaim
        return row

    def created(self, job: Job, url: str) -> None:
        row = self.held_by(job)
        self._move(row, Event.CREATED)
        row.url, row.has_digest = url, False

    def forget_url(self, job: Job) -> None:
        row = self.held_by(job)
        self._abandon(row)
        self._move(row, Event.PROGRESS)
        row.url, row.has_digest = None, False

    def progress(self, job: Job) -> None:
        self._move(self.held_by(job), Event.PROGRESS)

    def defer(self, job: Job, not_before: float, advanced: bool) -> None:
        row = self.held_by(job)
        self._move(row, Event.DEFER)
        row.failures.append(row.claim_id)
        row.not_before = not_before
        if advanced:
            row.attempts = row.restarts = 0

    def interrupt(self, job: Job, not_before: float | None = None) -> None:
        row = self.held_by(job)
        self._move(row, Event.INTERRUPT)
        row.attempts = max(row.attempts - 1, 0)
        row.not_before = row.not_before if not_before is None else not_before

    def restart(self, job: Job, not_before: float) -> None:
        row = self.held_by(job)
        row.failures.append(row.claim_id)
        if row.restarts >= MAX_RESTARTS:
            self._move(row, Event.FAIL)
            self.failed += 1
            return
        self._move(row, Event.RESTART)
        row.url, row.has_digest, row.restarts, row.not_before = None, False, row.restarts + 1, not_before

    def end(self, job: Job, event: Event, sent: Fingerprint | None = None, digest: bool = False) -> None:
        """FAIL, HOLD, FINISH and DELIVER; with what was sent where that is told."""
        row = self.held_by(job)
        self._move(row, event)
        if event is Event.HOLD:
            row.attempts = max(row.attempts - 1, 0)
        if event is Event.DELIVER:
            row.attempts = 0
        if sent is not None:
            row.fingerprint, row.has_digest = sent, digest
            self.arrived += 1

    def fail(self, job: Job, reason: str) -> None:
        self.end(job, Event.FAIL)
        row = self.rows[job.id]
        row.reason = reason
        row.failures.append(row.claim_id)
        self.failed += 1

    def vanish_claimed(self, job: Job) -> None:
        row = self.held_by(job)
        if row.place != job.place:
            self.interrupt(job)
        else:
            self._vanish(row)

    def put_back(self, job: Job, found: Fingerprint) -> None:
        self.held_by(job).fingerprint = found

    def replace(self, job: Job, found: Fingerprint, not_before: float) -> int | None:
        row = self.held_by(job)
        if row.place != job.place:
            self.interrupt(job)
            return row.id
        others = [other for other in self.at(row.place) if other is not row and other.state is not State.SUPERSEDED]
        known = bool(others) and others[0].fingerprint.same_identity(found)
        elsewhere = any(
            other.place != row.place and other.state is not State.SUPERSEDED
            for other in self.rows.values()
            if other.fingerprint.same_identity(found)
        )
        if known and others[0].state in (State.DONE, State.PENDING):
            self._supersede(row)
            return others[0].id
        if elsewhere:
            self._supersede(row)
            return None  # none was queued
        if row.url is None:
            self.interrupt(job, not_before)
            row.fingerprint = found
            return row.id
        return self._insert(row.place, found, Entry.QUEUE, not_before)

    def expire(self) -> None:
        for row in self.rows.values():
            if row.state is State.PENDING:
                self._move(row, Event.EXPIRE)
                row.reason = TOO_OLD
                self.failed += 1

    def recover(self) -> int:
        working = [row for row in self.rows.values() if row.state in WORKING]
        for row in working:
            self._move(row, Event.RECOVER)
            row.attempts = max(row.attempts - 1, 0)
        return len(working)

    # The operator's.

    def order(self, row_id: int, verb: Verb, now: float) -> None:
        row = self.rows[row_id]
        was = row.state
        self._move(row, Event(verb))
        match verb:
            case Verb.CANCEL if was is not State.DELIVERED:
                self._abandon(row)
            case Verb.RETRY if was in WAITING:
                row.not_before = now
            case Verb.RETRY | Verb.RELEASE | Verb.RESEND:
                row.attempts, row.not_before = 0, now
                if verb is not Verb.RELEASE:
                    row.restarts = 0
                fresh = was is State.CANCELLED or row.reason == FINISHED_WITH_SERVER_ERROR
                if verb is Verb.RESEND or (verb is Verb.RETRY and fresh):
                    row.url, row.has_digest = None, False
                row.reason = None
        if verb is Verb.HOLD:
            row.reason = "held by the operator"

    def apply(self, verb: Verb, chosen: Callable[[Row], bool], now: float) -> tuple[set[int], set[int]]:
        """The ids of those that were changed and of those whose state does not allow it."""
        rows = [row for row in self.rows.values() if chosen(row)]
        if verb in NEWEST_ONLY:
            rows = [row for row in rows if self.at(row.place)[0] is row]
        changed = {row.id for row in rows if can(row.state, Event(verb))}
        for row_id in changed:
            self.order(row_id, verb, now)
        return changed, {row.id for row in rows} - changed

    def hold_orphans(self, now: float, *, removed: bool) -> None:
        for row in self.rows.values():
            if removed and row.state is State.PENDING:
                self._move(row, Event.HOLD)
                row.reason = FOLDER_REMOVED
            elif removed and row.state is State.DELIVERED:
                self._move(row, Event.CANCEL)
            elif not removed and row.state is State.HELD and row.reason == FOLDER_REMOVED:
                self._move(row, Event.RELEASE)
                row.not_before, row.reason = now, None

    def at(self, place: Place) -> list[Row]:
        """The rows of a path, the newest first."""
        return sorted((row for row in self.rows.values() if row.place == place), key=lambda row: row.age, reverse=True)

    def _move(self, row: Row, event: Event) -> None:
        row.state = target(row.state, event)

    def _insert(self, place: Place, found: Fingerprint, entry: Entry, not_before: float) -> int:
        self._supersede_at(place)
        made, there = max(self.rows, default=0) + 1, self.at(place)
        age = (there[0].age[0] if there else 0, made)
        self.rows[made] = Row(made, place, found, target(None, ENTRY_EVENTS[entry]), not_before, age)
        return made

    def _supersede_at(self, place: Place) -> None:
        for row in self.at(place):
            if row.state in SUPERSEDABLE:
                self._supersede(row)

    def _supersede(self, row: Row) -> None:
        self._abandon(row)
        self._move(row, Event.SUPERSEDE)

    def _vanish(self, row: Row) -> None:
        self._abandon(row)
        self._move(row, Event.VANISH)
        row.url = None

    def _abandon(self, row: Row) -> None:
        if row.url is not None:
            self.leftovers.append(row.url)

    def _note_fingerprint(self, row: Row, found: Fingerprint) -> None:
        partly_sent = row.url is not None and row.state is not State.DONE
        row.fingerprint = replace(found, ctime_ns=row.fingerprint.ctime_ns) if partly_sent else found

    def _goes_first(self, other: Row, row: Row) -> bool:
        older = other.age < row.age and other.state is State.PENDING
        return other is not row and (older or other.state in WORKING)


def can(state: State, event: Event) -> bool:
    """Whether the table has such a move."""
    return (state, event) in TABLE
