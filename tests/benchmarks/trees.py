"""Trees of many files, their rows in a ledger, and the bare walk beside which a scan is measured.

``python -m tests.benchmarks.trees walk FOLDER``, ``… know FOLDER STATE_DIR`` and ``… create COUNT PACE`` are what the
functions here start as processes of their own, so that the time and memory of one are not those of another.
"""

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from .measure import ROOT

DIRECTORIES_IN_ONE = 200
_ROWS_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Walk:
    """A bare walk: every name from `os.scandir`, and ``lstat(2)`` of every file."""

    files: int
    wall_seconds: float
    cpu_seconds: float


def directories(top: Path, count: int) -> list[Path]:
    """Makes `count` directories below `top`, two levels deep, itself not counted; returns the lower ones.

    0: there is none, files lie in `top` itself.
    """
    top.mkdir(parents=True, exist_ok=True)
    upper_count = -(-count // (DIRECTORIES_IN_ONE + 1))
    lower = [top / f"d{number % upper_count:04}" / f"e{number:06}" for number in range(count - upper_count)]
    for path in lower:
        path.mkdir(parents=True, exist_ok=True)
    return lower or [top]


def fill(places: list[Path], files: int) -> None:
    """Puts empty files into the directories, equally many into each; one that is there is left alone."""
    for number in range(files):
        path = places[number % len(places)] / f"file-{number:07}.dat"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def know(top: Path, state_dir: Path) -> None:
    """Makes the ledger in `state_dir` know every file below `top` as done: in a process of its own.

    The rows are the agent's own (`Ledger.enqueue`, thousands in a commit); one UPDATE then says that they were sent.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    _start("know", str(top), str(state_dir))


def walk(top: Path) -> Walk:
    """The bare walk, in a process of its own, whose start does not count."""
    return Walk(**json.loads(_start("walk", str(top))))


def create(places: list[Path], count: int, pace: int) -> None:
    """Creates `count` files in turn in each of the directories, `pace` of them a second; 0: as fast as it can."""
    _start("create", str(count), str(pace), said="\n".join(map(str, places)))


def _start(*words: str, said: str = "") -> str:
    command = [sys.executable, "-m", "tests.benchmarks.trees", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, input=said, encoding="utf-8"
    )
    return ran.stdout


def _walk(top: str) -> Walk:
    began_at, began_cpu = time.perf_counter(), time.process_time()
    files = 0
    stack = [top]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    files += 1
    return Walk(files, time.perf_counter() - began_at, time.process_time() - began_cpu)


def _create(places: list[str], count: int, pace: int) -> None:
    began_at = time.monotonic()
    for number in range(count):
        if pace and (early := began_at + number / pace - time.monotonic()) > 0:
            time.sleep(early)
        with open(f"{places[number % len(places)]}/file-{number:06}.dat", "wb") as file:
            file.write(b"content")


def _know(top: str, state_dir: Path) -> None:
    from tusd_agent.jobs.database import Database
    from tusd_agent.jobs.ledger import Ledger
    from tusd_agent.jobs.model import Fingerprint, Found, Place

    def found() -> Iterator[Found]:
        root = os.fsencode(top)
        for path, _, names in os.walk(root):
            directory = path[len(root) + 1 :]
            for name in names:
                status = os.lstat(os.path.join(path, name))
                assert stat.S_ISREG(status.st_mode)
                yield Found(Place(top, directory, name), Fingerprint.of(status), "default")

    database = Database(state_dir / "queue.db")
    database.open()
    try:
        ledger = Ledger(database)
        all_found = found()
        while batch := list(islice(all_found, _ROWS_AT_ONCE)):
            ledger.enqueue(batch, time.time())
        with database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'done', finished_at = created_at, delivered_at = created_at, "
                "upload_url = 'http://127.0.0.1/files/' || hex(uuid), digest = randomblob(32), "
                "digest_bytes = size_bytes WHERE state = 'pending'"
            )
    finally:
        database.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case "walk", top:
            done = _walk(top)
            sys.stdout.write(json.dumps({name: getattr(done, name) for name in Walk.__slots__}))
        case "know", top, state_dir:
            _know(top, Path(state_dir))
        case "create", count, pace:
            _create(sys.stdin.read().splitlines(), int(count), int(pace))
