"""What intake, workers and operators do to the queue, as rules of a state machine (hypothesis)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from tusd_agent.jobs.model import Entry, Fingerprint, Found, Job, Lane, Place, Sent
from tusd_agent.jobs.orders import Verb
from tusd_agent.jobs.selection import Selection
from tusd_agent.jobs.states import FINISHED_WITH_SERVER_ERROR, Event, State

from .plain_queue import PlainQueue
from .queues import Queues

FOLDER, ENDPOINT = "/srv/out", "default"
LANE = Lane(FOLDER, ENDPOINT)
PLACES = [Place.below(FOLDER, path) for path in (b"a", b"d/a")]
UPLOADING, DISPOSING = State.UPLOADING, State.DISPOSING
MOST_IN_HANDS = 6

places = st.sampled_from(PLACES)
contents = st.builds(
    lambda mtime, ctime, inode: Fingerprint(10 * mtime, mtime, ctime, inode),
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(1, 4),
)
choices = st.integers(0, 30)
"""Which of those that there are."""
kills = st.one_of(*[st.none()] * 5, st.integers(1, 14))
"""At which statement the process is killed; most often at none."""
ends = st.sampled_from([None, None, Event.FAIL, Verb.CANCEL, Verb.HOLD])
ctimes = st.integers(1, 2)
later = st.sampled_from([0.0, 50.0])


def works(*states: State) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Of a worker: with such a job in its hands."""
    return precondition(lambda self: any(job.state in states for job in self.hands))


class Work(Queues):
    """All that is done, by whomever. Workers may go on with claims that no longer hold."""

    now = 1000.0
    answers = 0

    @initialize(begun=st.lists(st.tuples(places, contents, st.integers(1, 5), st.booleans(), ends), max_size=4))
    def begin(self, begun: list[tuple[Place, Fingerprint, int, bool, Verb | Event | None]]) -> None:
        """Jobs that have come some steps of their way, beyond the delivery too, or have left it."""
        for place, content, steps, deliver, end in begun:
            way: list[Callable[[], None]] = [
                partial(self.enqueue, place, content, Entry.QUEUE, None),
                partial(self.claim, None),
                partial(self.created, 0, None),
                partial(self.arrive, 0, 1, True, deliver, None),
                partial(self.defer, 0, 0.0, False, None),
            ]
            for step in way[:steps]:
                step()
            if isinstance(end, Verb):
                self.order(0, end, None)
            elif end is Event.FAIL:
                self.fail(0, "refused", None)

    # The intake.

    @rule(place=places, content=contents, entry=st.sampled_from([Entry.QUEUE, Entry.QUEUE, *Entry]), kill=kills)
    def enqueue(self, place: Place, content: Fingerprint, entry: Entry, kill: int | None) -> None:
        found, now = Found(place, content, ENDPOINT, entry), self.now
        self.both(kill, lambda: self.ledger.enqueue([found], now), lambda p: p.enqueue(place, content, entry, now))

    @precondition(lambda self: self.plain.rows)
    @rule(choice=choices, place=places, ctime=ctimes, kill=kills)
    def rename(self, choice: int, place: Place, ctime: int, kill: int | None) -> None:
        row, now = self.row(choice), self.now
        content = replace(row.fingerprint, ctime_ns=ctime)
        if row.place != place:  # nobody calls that a new name
            self.both(
                kill,
                lambda: self.ledger.rename(row.id, place, content, now),
                lambda p: p.rename(row.id, place, content),
            )

    @precondition(lambda self: self.plain.rows)
    @rule(choice=choices, kill=kills)
    def vanish(self, choice: int, kill: int | None) -> None:
        row, now = self.row(choice), self.now
        self.both(kill, lambda: self.ledger.vanish(row.id, now), lambda p: p.vanish(row.id))

    @precondition(lambda self: self.plain.rows)
    @rule(choice=choices, ctime=ctimes, kill=kills)
    def refresh(self, choice: int, ctime: int, kill: int | None) -> None:
        row, now = self.row(choice), self.now
        content = replace(row.fingerprint, ctime_ns=ctime)
        self.both(kill, lambda: self.ledger.refresh(row.id, content, now), lambda p: p.refresh(row.id, content, now))

    # The workers.

    @rule(kill=kills)
    def claim(self, kill: int | None) -> None:
        ready = {row.id for row in self.plain.claimable(self.now)}

        def effect(plain: PlainQueue) -> None:
            """Of several that are ready alike, the store chooses."""
            claimed = {job.id for job in self.stored() if job.claim_id != plain.rows[job.id].claim_id}
            assert len(claimed) == bool(ready)
            assert claimed <= ready
            for row_id in claimed:
                plain.claim(row_id)

        job = self.both(kill, lambda: self.claims.claim(LANE, self.now), effect)
        if isinstance(job, Job):
            self.hands = [*self.hands[1 - MOST_IN_HANDS :], job]

    @works(UPLOADING)
    @rule(choice=choices, kill=kills)
    def created(self, choice: int, kill: int | None) -> None:
        if job := self.held(choice, UPLOADING, with_url=False):
            self.answers += 1
            url, now, is_stale = f"http://server/files/{self.answers}", self.now, self.is_stale(job)
            self.work(job, kill, lambda: self.claims.created(job, url), lambda p: p.created(job, url))
            if is_stale and job in self.hands:  # not killed: the upload just made is the worker's to terminate
                self.both(
                    None, lambda: self.claims.leftovers.add(ENDPOINT, url, now), lambda p: p.leftovers.append(url)
                )
            # An answer that was not recorded any more is the one thing that may be forgotten.
            self.urls |= {url} & ({row.url for row in self.plain.rows.values()} | set(self.plain.leftovers))

    @works(UPLOADING)
    @rule(choice=choices, kill=kills)
    def forget_url(self, choice: int, kill: int | None) -> None:
        if job := self.held(choice, UPLOADING, with_url=True):
            self.work(job, kill, lambda: self.claims.forget_url(job, self.now), lambda p: p.forget_url(job))

    @works(UPLOADING)
    @rule(choice=choices, kill=kills)
    def progress(self, choice: int, kill: int | None) -> None:
        if job := self.held(choice, UPLOADING, with_url=True):
            self.work(job, kill, lambda: self.claims.progress(job, 5, None), lambda p: p.progress(job))

    @works(UPLOADING, DISPOSING)
    @rule(choice=choices, wait=later, advanced=st.booleans(), kill=kills)
    def defer(self, choice: int, wait: float, advanced: bool, kill: int | None) -> None:
        if job := self.held(choice, UPLOADING, DISPOSING):
            at = self.now + wait
            self.work(
                job,
                kill,
                lambda: self.claims.defer(job, at, "no", advanced=advanced),
                lambda p: p.defer(job, at, advanced),
            )

    @works(UPLOADING, DISPOSING)
    @rule(choice=choices, behind=st.booleans(), kill=kills)
    def interrupt(self, choice: int, behind: bool, kill: int | None) -> None:
        if job := self.held(choice, UPLOADING, DISPOSING):
            at = self.now if behind else None
            self.work(job, kill, lambda: self.claims.interrupt(job, not_before=at), lambda p: p.interrupt(job, at))

    @works(UPLOADING)
    @rule(choice=choices, wait=later, kill=kills)
    def restart(self, choice: int, wait: float, kill: int | None) -> None:
        if job := self.held(choice, UPLOADING, with_url=True):
            at = self.now + wait
            self.given_up |= {job.upload_url or ""}
            self.work(job, kill, lambda: self.claims.restart(job, at, "lost"), lambda p: p.restart(job, at))

    @works(UPLOADING)
    @rule(choice=choices, reason=st.sampled_from(["refused", FINISHED_WITH_SERVER_ERROR]), kill=kills)
    def fail(self, choice: int, reason: str, kill: int | None) -> None:
        if job := self.held(choice, UPLOADING):
            self.work(job, kill, lambda: self.claims.fail(job, "no", self.now, reason), lambda p: p.fail(job, reason))

    @works(UPLOADING)
    @rule(choice=choices, kill=kills)
    def hold(self, choice: int, kill: int | None) -> None:
        if job := self.held(choice, UPLOADING):
            self.work(job, kill, lambda: self.claims.hold(job, "why"), lambda p: p.end(job, Event.HOLD))

    @works(UPLOADING)
    @rule(choice=choices, ctime=ctimes, digest=st.booleans(), deliver=st.booleans(), kill=kills)
    def arrive(self, choice: int, ctime: int, digest: bool, deliver: bool, kill: int | None) -> None:
        if job := self.held(choice, UPLOADING, with_url=True):
            content = replace(job.fingerprint, ctime_ns=ctime)
            sent, now = Sent(content, b"d" * 32 if digest else None), self.now
            event = Event.DELIVER if deliver else Event.FINISH
            self.work(
                job,
                kill,
                lambda: self.claims.deliver(job, now, sent) if deliver else self.claims.finish(job, now, sent=sent),
                lambda p: p.end(job, event, content, digest),
            )

    @works(UPLOADING)
    @rule(choice=choices, kill=kills)
    def find_it_gone(self, choice: int, kill: int | None) -> None:
        if job := self.held(choice, UPLOADING):
            self.work(job, kill, lambda: self.claims.vanish(job, self.now), lambda p: p.vanish_claimed(job))

    @works(UPLOADING)
    @rule(choice=choices, content=contents, wait=later, kill=kills)
    def replace(self, choice: int, content: Fingerprint, wait: float, kill: int | None) -> None:
        if job := self.held(choice, UPLOADING):
            found, now = Found(job.place, content, ENDPOINT), self.now
            self.work(
                job,
                kill,
                lambda: self.claims.replace(job, found, now, now + wait),
                lambda p: p.replace(job, content, now + wait),
            )

    @works(DISPOSING)
    @rule(choice=choices, kill=kills)
    def dispose(self, choice: int, kill: int | None) -> None:
        if job := self.held(choice, DISPOSING):
            self.work(job, kill, lambda: self.claims.finish(job, self.now), lambda p: p.end(job, Event.FINISH))

    @works(DISPOSING)
    @rule(choice=choices, ctime=ctimes, kill=kills)
    def put_back(self, choice: int, ctime: int, kill: int | None) -> None:
        if job := self.held(choice, DISPOSING):
            content = replace(job.fingerprint, ctime_ns=ctime)
            self.work(job, kill, lambda: self.claims.put_back(job, content), lambda p: p.put_back(job, content))

    @rule(kill=kills, gone=st.booleans())
    def terminate(self, kill: int | None, gone: bool) -> None:
        """One upload that has lost its job is terminated on the server, or can't be yet."""
        leftover = self.claims.leftovers.take(self.now, [ENDPOINT])
        if leftover is not None:
            at = None if gone else self.now
            self.given_up |= {leftover.upload_url}
            self.both(
                kill,
                lambda: self.claims.leftovers.settle(leftover, at),
                lambda p: p.leftovers.remove(leftover.upload_url) if gone else None,
            )

    # The operator, and time.

    @precondition(lambda self: self.plain.rows)
    @rule(choice=choices, verb=st.sampled_from(Verb), kill=kills)
    def order(self, choice: int, verb: Verb, kill: int | None) -> None:
        row, now = self.row(choice), self.now
        self._give_up(verb)
        self.both(kill, lambda: getattr(self.orders, verb)(row.id, now), lambda p: p.order(row.id, verb, now))

    @rule(verb=st.sampled_from(Verb), states=st.sets(st.sampled_from(State)), place=st.none() | places, kill=kills)
    def order_many(self, verb: Verb, states: set[State], place: Place | None, kill: int | None) -> None:
        selection = Selection(states=tuple(sorted(states)), paths=() if place is None else (place.path,))
        self._give_up(verb)

        def apply() -> tuple[set[int], set[int]]:
            applied = self.orders.apply(verb, selection, self.now, limit=1000)
            return {job.id for job in applied.changed}, {job.id for job in applied.refused}

        self.both(
            kill,
            apply,
            lambda p: p.apply(
                verb, lambda row: (not states or row.state in states) and place in (None, row.place), self.now
            ),
        )

    def _give_up(self, verb: Verb) -> None:
        """Sending anew gives up what the job had: it was whole, or refused as a whole, or is terminated already."""
        if verb in (Verb.RESEND, Verb.RETRY):
            ended = (State.DONE, State.CANCELLED, State.FAILED)
            whole = [row for row in self.plain.rows.values() if row.state in ended and row.url is not None]
            self.given_up |= {
                row.url or ""
                for row in whole
                if row.state is not State.FAILED or row.reason == FINISHED_WITH_SERVER_ERROR
            }

    @rule(removed=st.booleans(), kill=kills)
    def read_other_settings(self, removed: bool, kill: int | None) -> None:
        folders, now = [] if removed else [FOLDER], self.now
        self.both(
            kill,
            lambda: self.orders.hold_orphans(folders, [ENDPOINT], now),
            lambda p: p.hold_orphans(now, removed=removed),
        )

    @rule(kill=kills)
    def expire(self, kill: int | None) -> None:
        """As if all that waits had waited too long."""
        self.both(kill, lambda: self.claims.too_old(FOLDER, self.now + 1, self.now, "too old"), PlainQueue.expire)

    @rule(seconds=st.sampled_from([1.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def stop_and_start(self) -> None:
        self.database.close()
        self.open(clean=True)
        self.recover()
