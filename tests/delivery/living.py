"""A delivery with a real queue and a clock of its own: what the tests of the hard cases are made with."""

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tusd_agent.delivery.pool import Pool
from tusd_agent.delivery.rules import EndpointRules, FolderRules
from tusd_agent.jobs.claims import Claims
from tusd_agent.jobs.database import Database
from tusd_agent.jobs.ledger import Ledger
from tusd_agent.jobs.model import Fingerprint, Found, Job, Lane, Place
from tusd_agent.jobs.orders import Orders
from tusd_agent.jobs.reader import Reader
from tusd_agent.jobs.selection import Selection
from tusd_agent.jobs.states import State
from tusd_agent.tus import TUSClient

NOWHERE = "http://127.0.0.1:1/files/"
"""Nobody listens there: every connection is refused at once."""

LONGER_THAN_ANY_BACKOFF_SECONDS = 3601.0


class Clock:
    """Wall clock and monotonic clock; both pass by `go` only, and the wall clock may be set."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self._monotonic = 1000.0

    def __call__(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self._monotonic

    def go(self, seconds: float) -> None:
        self.now += seconds
        self._monotonic += seconds


class Delivery:
    """A watched folder `out`, its queue, and a pool whose steps the test takes.

    `present` is what the intake would say of the folder; `noted` are the paths that the pool told the intake of.
    """

    def __init__(
        self,
        base: Path,
        url: str = NOWHERE,
        *,
        digest: bool = True,
        digest_metadata: str = "",
        fast_path_bytes: int = 0,
        claims: type[Claims] = Claims,
        **rules: Any,
    ) -> None:
        self.folder = base / "out"
        self.folder.mkdir()
        self.clock = Clock()
        self.database = Database(base / "queue.db")
        self.database.open()
        self.claims = claims(self.database)
        self.ledger = Ledger(self.database)
        self.orders = Orders(self.database)
        self.client = TUSClient(url, max_retries=0, retry_delay=0.0, min_retry_delay=0.0, timeout=10.0)
        self.lane = Lane(str(self.folder), "default")
        self.present = True
        self.noted: list[bytes] = []
        self._reader = Reader(self.database.path)
        self.endpoint = EndpointRules(
            "default",
            url,
            self.client,
            digest=digest,
            digest_metadata=digest_metadata,
            fast_path_bytes=fast_path_bytes,
        )
        self.rules = FolderRules(str(self.folder), **rules)
        self.pool = self._new_pool()

    def _new_pool(self) -> Pool:
        return Pool(
            self.claims,
            [self.endpoint],
            [self.rules],
            self.noted.append,
            lambda folder: self.present,
            workers=1,
            clock=self.clock,
            monotonic=self.clock.monotonic,
            rng=random.Random(1),
        )

    def next_life(self) -> None:
        """The agent was killed and starts again: of what was not in the database nothing is left."""
        self.claims.recover()
        self.pool = self._new_pool()

    def found(self, name: bytes, endpoint: str = "default") -> Found:
        """What the intake finds at this path now."""
        place = Place.below(str(self.folder), name)
        return Found(place, Fingerprint.of(os.lstat(place.path)), endpoint)

    def put(self, name: bytes, data: bytes, endpoint: str = "default") -> None:
        """Writes a file and queues it."""
        with open(Place.below(str(self.folder), name).path, "wb") as file:
            file.write(data)
        self.ledger.enqueue([self.found(name, endpoint)], self.clock())

    def claimed(self, lane: Lane | None = None) -> Job:
        """The next job, in a worker's hands."""
        job = self.claims.claim(lane or self.lane, self.clock())
        assert job is not None
        return job

    def half_sent(self, job: Job, data: bytes, *, noted_bytes: int = 0, digest: bool = True) -> Job:
        """What a killed agent leaves of a claimed job: an upload with `data`, of which the row knows less."""
        url = self.client.create(job.size_bytes, {"filename": job.place.name, "filetype": "text/plain"})
        headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        assert requests.patch(url, data, headers=headers, timeout=10).status_code == 204
        job = self.claims.created(job, url)
        if noted_bytes:
            noted = hashlib.sha256(data[:noted_bytes]).digest() if digest else None
            job = self.claims.progress(job, noted_bytes, noted)
        self.claims.recover()
        return job

    def run(self, steps: int = 12, seconds: float = LONGER_THAN_ANY_BACKOFF_SECONDS) -> None:
        """Takes steps, `seconds` apart."""
        for _ in range(steps):
            self.pool.run_once()
            self.clock.go(seconds)

    def jobs(self) -> list[Job]:
        """All jobs, the oldest first."""
        return sorted(self._reader.page(Selection(), limit=1000).jobs, key=lambda job: job.id)

    def states(self) -> list[State]:
        """The states of all jobs, the oldest first."""
        return [job.state for job in self.jobs()]

    def only(self) -> Job:
        """The one job there is."""
        (job,) = self.jobs()
        return job


@contextmanager
def delivering(base: Path, url: str = NOWHERE, **settings: Any) -> Iterator[Delivery]:
    """What a test uses; its pool is stopped and its queue closed at the end."""
    it = Delivery(base, url, **settings)
    try:
        yield it
    finally:
        assert it.pool.stop(), "a worker does not end"
        it.client.close()
        it.database.close()


def rewrite_with_times_put_back(path: Path, data: bytes) -> None:
    """Other content of the same size and mtime, as ``rsync --times --inplace`` may leave: only the ctime tells."""
    before = path.stat()
    assert len(data) == before.st_size
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
