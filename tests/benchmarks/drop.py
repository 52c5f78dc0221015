"""``python -m tests.benchmarks.drop``: small files dropped into a folder, until all have arrived.

The agent as it comes (each file exactly once), and with the fast path (at least once), beside what one would write
without it: watchdog with tuspy, and chokidar with tus-js-client. Within a round each runs once, against the same sink;
CPU is that of the whole process from its start to its end, wall time that from the first file dropped to the last one
arrived, for the agent also noted as done. Ends with 1 when a bar is not held.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from tests.servers.install import NotInstalled
from tests.support.agent import Agent
from tests.support.files import wait_for

from .contenders import node
from .measure import Run, bare_environment
from .sink import Sink

SIZE_BYTES = 4096
LIMIT_SECONDS = 600
OURS, FAST, TUSPY, JS = "tusd-agent", "with the fast path", "watchdog + tuspy", "chokidar + tus-js-client"
BARS = ((OURS, "cpu_seconds", 0.9), (OURS, "wall_seconds", 0.8), (FAST, "cpu_seconds", 0.6))
"""Ours takes at most so much of what watchdog with tuspy takes."""


def drop(folder: Path, count: int) -> None:
    block = bytes(range(256)) * (SIZE_BYTES // 256)
    for number in range(count):
        (folder / f"run-{number:06}.dat").write_bytes(block)


def ended(pid: int, began_at: float, arrived_at: float) -> Run:
    """Ends the process; what it took."""
    os.kill(pid, signal.SIGTERM)
    _, _, usage = os.wait4(pid, 0)
    return Run(usage.ru_utime + usage.ru_stime, arrived_at - began_at, usage.ru_maxrss / 1024)


def measured(sink: Sink, folder: Path, count: int, pid: int, is_done: Callable[[], bool]) -> Run:
    """Drops the files for the process `pid`, which watches, and waits until it has done all it should."""
    sink.forget()
    began_at = time.monotonic()
    drop(folder, count)
    wait_for(lambda: sink.finished >= count, LIMIT_SECONDS, "all files have arrived")
    wait_for(is_done, LIMIT_SECONDS, "all is noted")
    arrived_at = time.monotonic()
    if (sink.finished, sink.received_bytes) != (count, count * SIZE_BYTES):
        raise RuntimeError(f"{sink.finished} uploads with {sink.received_bytes} bytes arrived: that is no comparison")
    return ended(pid, began_at, arrived_at)


def run_agent(base: Path, sink: Sink, count: int, fast_path_bytes: int) -> Run:
    folder = base / "folder"
    settings = {"small_file_fast_path_bytes": fast_path_bytes}
    agent = Agent(base / "agent", sink.endpoint, [{"path": folder}], endpoint=settings)
    try:
        agent.start()
        agent.wait_until(lambda status: status["folders"][0]["last_scan_at"] is not None, 60, "the first scan is over")
        return measured(sink, folder, count, agent.pid, lambda: agent.status()["jobs"]["done"] == count)
    finally:
        agent.close()


def run_script(base: Path, sink: Sink, count: int, command: list[str]) -> Run:
    folder = base / "folder"
    folder.mkdir()
    environment = bare_environment(Path())
    script = subprocess.Popen([*command, sink.endpoint, str(folder)], stdout=subprocess.PIPE, env=environment)
    try:
        if script.stdout is None or script.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{command[0]} does not watch")
        found = measured(sink, folder, count, script.pid, lambda: True)
        script.returncode = -signal.SIGTERM
        return found
    finally:
        script.kill()


def contenders() -> dict[str, Callable[[Path, Sink, int], Run]]:
    all_of_them: dict[str, Callable[[Path, Sink, int], Run]] = {
        OURS: lambda base, sink, count: run_agent(base, sink, count, 0),
        FAST: lambda base, sink, count: run_agent(base, sink, count, 64 << 10),
        TUSPY: lambda base, sink, count: run_script(
            base, sink, count, [sys.executable, "-m", "tests.benchmarks.watching"]
        ),
    }
    try:
        command = node("watch.mjs")
        all_of_them[JS] = lambda base, sink, count: run_script(base, sink, count, command)
    except NotInstalled as missing:
        sys.stdout.write(f"left out: {missing}\n")
    return all_of_them


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.drop", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=10_000, help=f"number of files of {SIZE_BYTES} bytes")
    given = parser.parse_args()
    results: defaultdict[str, list[Run]] = defaultdict(list)
    with Sink(takes_bodies=True) as sink:
        for number in range(given.rounds):
            for name, run in contenders().items():
                base = Path(tempfile.mkdtemp(prefix="benchmark-"))
                try:
                    results[name].append(run(base, sink, given.files))
                finally:
                    shutil.rmtree(base, ignore_errors=True)
            sys.stderr.write(f"round {number + 1} of {given.rounds}\n")
    sys.stdout.write(f"{given.files} files of {SIZE_BYTES} bytes; medians of {given.rounds} rounds\n")
    sys.stdout.write(f"{'':26}{'CPU s':>8}{'wall s':>8}{'RSS MiB':>9}\n")
    for name, runs in results.items():
        cpu, wall = (statistics.median(getattr(run, what) for run in runs) for what in ("cpu_seconds", "wall_seconds"))
        sys.stdout.write(f"{name:26}{cpu:8.2f}{wall:8.2f}{max(run.peak_rss_mib for run in runs):9.1f}\n")
    good = True
    for name, what, limit in BARS:
        pairs = zip(results[name], results[TUSPY], strict=True)
        ratio = statistics.median(getattr(ours, what) / getattr(theirs, what) for ours, theirs in pairs)
        good = good and ratio <= limit
        said = f"{what.partition('_')[0]} of {name} {ratio:.2f} of {TUSPY}'s, at most {limit:g}"
        sys.stdout.write(f"{'held' if ratio <= limit else 'NOT HELD':9}{said}\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
