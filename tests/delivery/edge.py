"""Endpoints at the edge of the world, and a delivery to several of them in which time passes only as it is told to.

The network is what is not real here: what a week without a server does to queue, breaker and backoff is the same
whatever the bytes went over.
"""

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tusd_agent.delivery.pool import Pool
from tusd_agent.delivery.rules import DeleteProof, EndpointRules, FolderRules
from tusd_agent.jobs.claims import Claims
from tusd_agent.jobs.database import Database
from tusd_agent.jobs.ledger import Ledger
from tusd_agent.jobs.model import Fingerprint, Found, Job, Place
from tusd_agent.jobs.orders import Orders
from tusd_agent.jobs.reader import Reader
from tusd_agent.jobs.selection import Selection
from tusd_agent.jobs.states import State
from tusd_agent.tus import TUSClient
from tusd_agent.tus.errors import UploadInterrupted

from .living import Clock


class Edge:
    """What a `TUSClient` is to the delivery, without a network. `names` are the files that came whole, in order.

    `answer(name)` is called for each attempt and may raise what a client would, or wait; `started_at` are the instants
    of all attempts.
    """

    def __init__(self, clock: Callable[[], float], answer: Callable[[str], object] = lambda name: None) -> None:
        self.answer = answer
        self.names: list[str] = []
        self.started_at: list[float] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.renewed = 0
        self._clock = clock
        self._lock = threading.Lock()

    def send(self, source: Any, *, metadata: Mapping[str, Any], on_created: Callable[[str], None], **_: Any) -> None:
        name = os.fsdecode(metadata["filename"])
        with self._lock:
            self.started_at.append(self._clock())
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            self.answer(name)
            on_created(f"http://edge/files/{name}")
            with self._lock:
                self.names.append(name)
        finally:
            with self._lock:
                self.in_flight -= 1

    def fresh_connections(self) -> None:
        self.renewed += 1

    def get_upload_info(self, url: str, **_: Any) -> Any:
        return SimpleNamespace(complete=True)

    def starts_per(self, seconds: float) -> Counter[int]:
        """How many attempts there were in each such stretch of time."""
        return Counter(int(at // seconds) for at in self.started_at)


def down(name: str) -> None:
    raise UploadInterrupted(f"{name}: nobody answers")


class Crowd:
    """Watched folders below `base`, endpoints by name, and a pool whose steps the test takes."""

    def __init__(
        self,
        base: Path,
        folders: Mapping[str, Mapping[str, Any]],
        edges: Mapping[str, Edge],
        clock: Clock,
        *,
        workers: int = 4,
        small_file_bytes: int = 16 << 20,
        most: Mapping[str, int] | None = None,
        delete_proof: DeleteProof = "head",
    ) -> None:
        self.base, self.clock, self.edges = base, clock, edges
        self.database = Database(base / "queue.db")
        self.database.open()
        self.claims = Claims(self.database, small_file_bytes)
        self.claims.fit(by_age=True)
        self.ledger = Ledger(self.database)
        self.orders = Orders(self.database)
        self.reader = Reader(self.database.path)
        for folder in folders:
            (base / folder).mkdir()
        self.pool = Pool(
            self.claims,
            [
                EndpointRules(
                    name,
                    "http://edge/files/",
                    cast(TUSClient, edge),
                    digest=False,
                    delete_proof=delete_proof,
                    max_concurrent=(most or {}).get(name, 0),
                )
                for name, edge in edges.items()
            ],
            [FolderRules(str(base / folder), **rules) for folder, rules in folders.items()],
            lambda path: None,
            workers=workers,
            clock=clock,
            monotonic=clock.monotonic,
            rng=random.Random(1),
        )

    def put(self, folder: str, names: list[str], endpoint: str = "default", size: int = 1) -> None:
        """Writes the files and queues them, in this order."""
        batch = []
        for name in names:
            path = self.base / folder / name
            with path.open("wb") as file:
                file.truncate(size)
            fingerprint = Fingerprint.of(path.stat())
            batch.append(Found(Place.below(str(self.base / folder), os.fsencode(name)), fingerprint, endpoint))
        self.ledger.enqueue(batch, self.clock())

    def live(self, seconds: float) -> int:
        """Takes steps for so long, and lets time pass when there is nothing to do; returns how many it took."""
        end, steps = self.clock() + seconds, 0
        while (now := self.clock()) < end:
            before = now, self.clock.monotonic()
            if self.pool.run_once():
                steps += 1
                continue
            idle = self.pool.idle_seconds(*before)
            self.clock.go(min(end - now, idle) if idle is not None else end - now)
        return steps

    def jobs(self) -> list[Job]:
        """All jobs, the oldest first."""
        return sorted(self.reader.page(Selection(), limit=10_000).jobs, key=lambda job: job.id)

    def states(self) -> dict[State, int]:
        """How many jobs are in each state."""
        counts: Counter[State] = Counter()
        for count in self.reader.counts():
            counts[count.state] += count.jobs
        return dict(counts)


@contextmanager
def crowd(
    base: Path, folders: Mapping[str, Mapping[str, Any]], edges: Mapping[str, Edge], clock: Clock, **settings: Any
) -> Iterator[Crowd]:
    """What a test uses; its pool is stopped and its queue closed at the end."""
    it = Crowd(base, folders, edges, clock, **settings)
    try:
        yield it
    finally:
        assert it.pool.stop(10), "a worker does not end"
        it.database.close()
