"""``python -m tests.benchmarks.queue``: what a million waiting jobs cost, beside a thousand.

Rows are made by the ledger itself, in directories of 2,000 files, with paths of 60 bytes below the watched folder; some
of the files are really there, so that an agent has something to send. Ends with 1 when a bar is not held.
"""

import argparse
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.support.agent import Agent
from tests.support.files import wait_for
from tusd_agent.jobs.claims import Claims
from tusd_agent.jobs.database import Database
from tusd_agent.jobs.ledger import Ledger
from tusd_agent.jobs.model import Fingerprint, Found, Lane, Place, Sent
from tusd_agent.jobs.reader import Reader

from .sink import Sink

FEW = 1000
BATCH = 1000
REAL_FILES = 6000
IN_A_DIRECTORY = 2000
PATH_BYTES = 60
NOW = time.time()


@dataclass(frozen=True)
class Result:
    """One measured figure and the most that it may be."""

    what: str
    value: float
    limit: float
    unit: str

    @property
    def held(self) -> bool:
        return self.value <= self.limit

    def __str__(self) -> str:
        return (
            f"{'held' if self.held else 'NOT HELD':9}{self.what:58}{self.value:10.2f} {self.unit:6}"
            f" at most {self.limit:g}"
        )


def relative(number: int) -> bytes:
    directory = f"instrument-{number // IN_A_DIRECTORY:05}/"
    return f"{directory}{f'run-{number:012}':-<{PATH_BYTES - len(directory) - 4}}.tif".encode()


def founds(folder: Path, count: int, real: int) -> Iterator[Found]:
    """The contents to be queued, of which the first `real` are files."""
    for number in range(count):
        place = Place.below(str(folder), relative(number))
        if number < real:
            path = Path(os.fsdecode(place.path))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
            fingerprint = Fingerprint.of(path.stat())
        else:
            written_ns = int(NOW - 86400) * 10**9 + 123_456_789 + number * 1_000_003
            fingerprint = Fingerprint(number * 7919 % 50_000_000, written_ns, written_ns + 5001, 10_000_000 + number)
        yield Found(place, fingerprint, "default")


class Queue:
    """A database, filled."""

    def __init__(self, path: Path, folder: Path, count: int, real: int = 0) -> None:
        self.count = count
        self.database = Database(path)
        self.database.open()
        self.claims = Claims(self.database)
        self.claims.fit(by_age=False)
        self.lane = Lane(str(folder), "default")
        ledger, batch, began_at = Ledger(self.database), list[Found](), time.monotonic()
        for number, found in enumerate(founds(folder, count, real), 1):
            batch.append(found)
            if len(batch) == BATCH or number == count:
                ledger.enqueue(batch, NOW - 7200 + number / BATCH)
                batch.clear()
        self.rows_per_second = count / (time.monotonic() - began_at)

    def claim(self) -> None:
        """One claim as the pool makes it."""
        head = self.claims.heads()[0]
        job = self.claims.claim(head.lane, NOW, head.kind)
        assert job is not None

    def bytes_per_job(self) -> float:
        """After a checkpoint, all that lies on the disk."""
        with self.database.reading() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self.database.size_bytes / self.count


def seconds(step: Callable[[], object]) -> float:
    began_at = time.perf_counter()
    step()
    return time.perf_counter() - began_at


def of_claims(many: Queue, few: Queue, rounds: int = 300) -> Iterable[Result]:
    """In turn, so that what else the machine does meets both alike."""
    times: dict[Queue, list[float]] = {many: [], few: []}
    for _ in range(rounds):
        for queue, found in times.items():
            found.append(seconds(queue.claim))
    medians = {queue: statistics.median(found) for queue, found in times.items()}
    say([f"claim and commit: {medians[few] * 1e3:.3f} ms at {few.count}, {medians[many] * 1e3:.3f} ms at {many.count}"])
    yield Result("claim and commit, of what it takes at a thousand", medians[many] / medians[few], 1.5, "x")
    yield Result("recover", seconds(many.claims.recover) * 1e3, 1000, "ms")
    yield Result("recover with nothing to do", seconds(many.claims.recover) * 1e3, 20, "ms")
    yield Result("clamp with nothing to do", seconds(lambda: many.claims.clamp(NOW, 3600.0)) * 1e3, 20, "ms")
    yield from of_a_clamp(many)
    counts = statistics.median(seconds(Reader(many.database.path).counts) for _ in range(20))
    yield Result("counts, read from the database", counts * 1e3, 50, "ms")


def of_a_clamp(many: Queue) -> Iterable[Result]:
    """The clock was set back a year, and all that waits with it; how long others wait for the queue meanwhile."""
    waits: list[float] = []
    over = threading.Event()

    def wait_for_the_queue() -> None:
        while not over.is_set():
            waits.append(seconds(many.claims.heads))

    with ThreadPoolExecutor(1) as beside:
        watching = beside.submit(wait_for_the_queue)
        try:
            took = seconds(lambda: many.claims.clamp(NOW - 365 * 86400, 3600.0))
        finally:
            over.set()
        watching.result()
    say([f"clamp of all: {took:.1f} s"])
    yield Result("clamp of all: the longest that others wait", max(waits) * 1e3, 1000, "ms")


def of_done(path: Path, folder: Path, count: int) -> Iterable[Result]:
    queue = Queue(path, folder, count)
    for number in range(count):
        job = queue.claims.claim(queue.lane, NOW)
        assert job is not None
        # What tusd's URLs look like: 32 digits and, with some stores, a second part; here the former.
        job = queue.claims.created(job, f"http://localhost:1080/files/{os.urandom(16).hex()}")
        queue.claims.finish(job, NOW + number / 7, sent=Sent(job.fingerprint, os.urandom(32)))
    yield Result("bytes of database per done job", queue.bytes_per_job(), 450, "B")
    queue.database.close()


def wait_for_more(sink: Sink) -> None:
    """Until an upload has arrived that had not before."""
    before = sink.finished
    wait_for(lambda: sink.finished > before, 60, "the first upload")


def of_the_agent(agent: Agent, sink: Sink) -> Iterable[Result]:
    """From the start, after a clean stop and after a kill, until something has arrived; what it takes and answers."""
    # After a power cut the whole file is checked first: reading it all, and a second of processor time.
    for words, starts, most in (("a clean stop", 1, 3), ("a kill", 3, 3), ("a kill and a reboot", 3, 6)):
        took = []
        for _ in range(starts):
            if agent.running:
                agent.kill()
            with closing(sqlite3.connect(agent.state_dir / "queue.db")) as connection:
                if words == "a kill and a reboot":
                    connection.execute("UPDATE agent SET value = 'another' WHERE key = 'boot'")
                    connection.commit()
                began_at = time.monotonic()
                agent.start(wait=False)
                wait_for_more(sink)
                took.append(time.monotonic() - began_at)
        say([f"after {words}: {', '.join(f'{seconds:.2f}' for seconds in took)} s"])
        yield Result(f"from the start to the first upload, after {words}", min(took), most, "s")
        agent.wait_until(lambda status: status["in_flight"], 30)
        asked = sorted(seconds(agent.status) for _ in range(40))
        yield Result("status at the socket, while it uploads, 95 of 100", asked[37] * 1e3, 50, "ms")
        yield Result("the agent's memory at its most (VmHWM)", agent.peak_rss_bytes() / (1 << 20), 120, "MiB")
    agent.kill()
    say([f"load average (1 min) {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"])


def check_pages(path: Path) -> None:
    """Where the bytes lie; needs an SQLite with dbstat."""
    connection = sqlite3.connect(path)
    try:
        (rows,) = connection.execute("SELECT COUNT(*) FROM jobs").fetchone()
        parts = connection.execute(
            "SELECT name, SUM(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT 7"
        ).fetchall()
    except sqlite3.Error:
        return
    finally:
        connection.close()
    say([f"  {name:28}{size / rows:8.1f} bytes per job" for name, size in parts])


def say(lines: Iterable[object]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.queue", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--done", type=int, default=10_000, help="how many jobs to bring to their end")
    given = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="benchmark-"))
    results: list[Result] = []

    def note(found: Iterable[Result]) -> None:
        for result in found:
            results.append(result)
            say([result])

    try:
        folder = base / "out"
        with Sink() as sink:
            # The guard file is missing: for the agent the folder's disk is away, and no job vanishes with its file.
            agent = Agent(base / "agent", sink.endpoint, [{"path": folder, "guard_file": "guard"}])
            few = Queue(base / "few.db", folder, FEW)
            many = Queue(agent.state_dir / "queue.db", folder, given.jobs, real=min(REAL_FILES, given.jobs))
            say([f"{given.jobs} jobs queued, {many.rows_per_second:.0f} per second"])
            note([Result("bytes of database per pending job", many.bytes_per_job(), 350, "B")])
            check_pages(many.database.path)
            note(of_claims(many, few))
            few.database.close()
            many.database.close()
            try:
                note(of_the_agent(agent, sink))
            finally:
                agent.close()
        note(of_done(base / "done.db", folder, given.done))
        check_pages(base / "done.db")
    finally:
        shutil.rmtree(base, ignore_errors=True)
    say(["", *results])
    return 0 if all(result.held for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
