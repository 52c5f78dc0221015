"""What `tests.benchmarks.intake` measures: each case starts agents of its own, and says what it found."""

import os
import random
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.agent import Agent
from tests.support.files import wait_for
from tests.support.ports import HOST, ReservedPort

from . import trees
from .measure import ROOT
from .sink import Sink

LATENCY_LIMIT_SECONDS = 0.05
IDLE_LIMIT_PERCENT = 0.1
RSS_LIMIT_MIB = 70
RSS_LIMIT_MANY_MIB = 85
SCAN_LIMIT = 2.5
SCAN_RSS_LIMIT_MIB = 60

_SETTLE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 0.5
_PATIENCE_SECONDS = 1200.0
_LOOK_SECONDS = 0.5
_MIB = 1 << 20
_END = b"end"


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured; the numbers are those of the command line. Trees that may be used again lie in `kept`."""

    work: Path
    kept: Path
    rounds: int
    files: int
    flat: int
    directories: int
    created: int
    pace: int
    closed: int
    idle_seconds: float


@dataclass(frozen=True, slots=True)
class Bar:
    said: str
    held: bool


@dataclass(slots=True)
class Finding:
    """The lines of a case's table, and the bars that were set for it."""

    title: str
    lines: list[str] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    def hold(self, said: str, held: bool) -> None:
        self.bars.append(Bar(said, held))


@contextmanager
def _running(
    base: Path, folder: Path, *, url: str = "", notify_socket: str = "", settings: Mapping[str, object] | None = None
) -> Iterator[Agent]:
    """An agent that watches the folder and is through with its first scan. Without a URL its server is down."""
    port = ReservedPort()
    down = f"http://{HOST}:{port.number}/files/"
    environment = {"PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": notify_socket}
    agent = Agent(
        base, url or down, [{"path": folder, **(settings or {})}], environment=environment, log_level="warning"
    )
    try:
        agent.start()
        _wait(agent, lambda status: _folder(status)["last_scan_at"] is not None, "the first scan")
        yield agent
        agent.stop()
    finally:
        agent.close()
        port.release()


@contextmanager
def _systemd() -> Iterator[str]:
    """A socket as systemd has it for its services, and somebody who reads it: under systemd an agent does more."""
    name = f"@tusd-agent-benchmark-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0"))

        def read() -> None:
            while listener.recv(4096) != _END:
                pass

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield name
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ending:
                ending.sendto(_END, name.replace("@", "\0"))
            thread.join()


def _wait(agent: Agent, holds: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    """The first status for which it holds. Asking takes CPU time of the agent's: some milliseconds a second."""
    found: dict[str, Any] = {}

    def look() -> bool:
        nonlocal found
        found = agent.status()
        if not holds(found):
            time.sleep(_LOOK_SECONDS)
            return False
        return True

    wait_for(look, _PATIENCE_SECONDS, what)
    return found


def _folder(status: dict[str, Any]) -> dict[str, Any]:
    (folder,) = status["folders"]
    assert isinstance(folder, dict)
    return folder


def _cpu_seconds(agent: Agent) -> float:
    """User and system time of all its threads so far, to the nanosecond; the clock is as the kernel numbers it."""
    return time.clock_gettime(~agent.pid << 3 | 2)


def latency(extent: Extent) -> Finding:
    """From the return of close(2) to the claim, by the clock of the machine and what the rows say."""
    finding = Finding(f"{extent.closed} files one at a time, with pauses; beyond settle_seconds = {_SETTLE_SECONDS:g}")
    for after_upload in ("keep", "move"):
        took = _latencies(extent, after_upload)
        for event, seconds in took.items():
            figures = [statistics.median(seconds), *(seconds[int(len(seconds) * part)] for part in (0.9, 0.99))]
            columns = zip(("median", "p90", "p99", "longest"), [*figures, seconds[-1]], strict=True)
            line = "   ".join(f"{name} {1e3 * figure:6.1f} ms" for name, figure in columns)
            finding.lines.append(f"{after_upload}, to the {event:6}{line}")
        median = statistics.median(took["claim"])
        finding.hold(
            f"latency, {after_upload}: median {1e3 * median:.1f} ms from close to claim, "
            f"below {1e3 * LATENCY_LIMIT_SECONDS:g} ms",
            median < LATENCY_LIMIT_SECONDS,
        )
    return finding


def _latencies(extent: Extent, after_upload: str) -> dict[str, list[float]]:
    """Seconds beyond the settle time, sorted: to the row, which is in the queue by then or just after, and the claim.

    What becomes of files that have arrived matters, for that too is seen as events.
    """
    base = extent.work / f"latency-{after_upload}"
    folder = base / "out"
    pauses = random.Random(1)
    closed_at: dict[str, float] = {}
    settings: dict[str, object] = {"after_upload": after_upload, "settle_seconds": _SETTLE_SECONDS}
    if after_upload == "move":
        settings["move_to"] = base / "moved"
    with Sink() as sink, _running(base, folder, url=sink.endpoint, settings=settings) as agent:
        for number in range(extent.closed):
            name = f"file-{number:05}.dat"
            with (folder / name).open("wb") as file:
                file.write(b"content")
            closed_at[name] = time.time()
            time.sleep(pauses.uniform(0.0, _LONGEST_PAUSE_SECONDS))
        _wait(agent, lambda status: status["jobs"]["done"] == extent.closed, "all files to arrive")
        jobs = agent.jobs()
    assert len(jobs) == len(closed_at)
    return {
        event: sorted(job[instant] - closed_at[job["relative_path"]] - _SETTLE_SECONDS for job in jobs)
        for event, instant in (("row", "created_at"), ("claim", "claimed_at"))
    }


def creates(extent: Extent) -> Finding:
    """From the first create until every file has its row; sending does not disturb, for the server is down."""
    finding = Finding(f"{extent.created} files created in {extent.directories // 20} directories; the server is down")
    for pace in (0, extent.pace):
        base = extent.work / f"creates-{pace}"
        places = trees.directories(base / "out", extent.directories // 20)
        with _running(base, base / "out") as agent:
            before, began_at = _cpu_seconds(agent), time.monotonic()
            trees.create(places, extent.created, pace)
            created_seconds = time.monotonic() - began_at
            status = _wait(agent, lambda status: _queued(status) >= extent.created, "a row for each file")
            took_seconds = time.monotonic() - began_at
            cpu_seconds = _cpu_seconds(agent) - before
            assert _queued(status) == extent.created
            peak = agent.peak_rss_bytes() / _MIB
        rate = extent.created / took_seconds
        finding.lines.append(
            f"{f'{pace} a second' if pace else 'at once':16}created in {created_seconds:6.1f} s, all queued after "
            f"{took_seconds:6.1f} s: {rate:6.0f} a second; CPU {1e6 * cpu_seconds / extent.created:4.0f} µs a file; "
            f"peak RSS {peak:.0f} MiB; the kernel's queue overflowed {status['watcher']['overflows']} times"
        )
    return finding


def _queued(status: dict[str, Any]) -> int:
    return sum(status["jobs"].values())


def idle(extent: Extent) -> Finding:
    """Nothing happens but what the agent does by itself: it looks after its folders, sends a canary, tells systemd."""
    finding = Finding(f"nothing happens for {extent.idle_seconds:g} s, between rescans; as under systemd")
    for count, rss_limit in ((0, RSS_LIMIT_MIB), (extent.directories, RSS_LIMIT_MANY_MIB)):
        base = extent.work / f"idle-{count}"
        trees.directories(base / "out", count)
        with _systemd() as notify_socket, _running(base, base / "out", notify_socket=notify_socket) as agent:
            watches = _wait(agent, lambda status: status["watcher"]["canary_at"] is not None, "a canary")["watcher"]
            before, began_at = _cpu_seconds(agent), time.monotonic()
            time.sleep(extent.idle_seconds)
            cpu_seconds, seconds = _cpu_seconds(agent) - before, time.monotonic() - began_at
            rss = agent.rss_bytes() / _MIB
            after = agent.status()
            assert _folder(after)["last_scan_at"] < after["now"] - seconds, "there was a scan"
            canaries = after["watcher"]["canary_at"] != watches["canary_at"]
        percent = 100 * cpu_seconds / seconds
        what = f"{count} directories" if count else "one folder"
        finding.lines.append(
            f"{what:20}CPU {1e3 * cpu_seconds:6.1f} ms, {percent:.3f} % of a core; RSS {rss:.1f} MiB; "
            f"{after['watcher']['watches']} watches, {'a canary' if canaries else 'no canary'}"
        )
        finding.hold(f"idle, {what}: CPU {percent:.3f} %, below {IDLE_LIMIT_PERCENT:g} %", percent < IDLE_LIMIT_PERCENT)
        finding.hold(f"idle, {what}: RSS {rss:.1f} MiB, below {rss_limit}", rss < rss_limit)
    return finding


def rescan(extent: Extent) -> Finding:
    """A scan of files that are all done, beside the bare walk."""
    finding = Finding(f"{extent.files} files in {extent.directories} directories, all done")
    cpu, wall, rss = _rescans(finding, extent, "tree", extent.directories, extent.files)
    for what, ratio in (("wall", wall), ("CPU", cpu)):
        finding.hold(f"rescan: {ratio:.2f} times the bare walk ({what}), at most {SCAN_LIMIT:g}", ratio <= SCAN_LIMIT)
    finding.hold(f"rescan: {rss:.1f} MiB above an idle agent, at most {SCAN_RSS_LIMIT_MIB}", rss <= SCAN_RSS_LIMIT_MIB)
    return finding


def flat(extent: Extent) -> Finding:
    """One directory so large that its rows are asked for in batches: no bar."""
    finding = Finding(f"{extent.flat} files in one directory, all done")
    _rescans(finding, extent, "flat", 0, extent.flat)
    return finding


def _rescans(finding: Finding, extent: Extent, name: str, directories: int, files: int) -> tuple[float, float, float]:
    """Medians of the ratios, CPU and wall, and how far the memory ever rose above that of an idle agent, in MiB."""
    with _running(extent.work / f"{name}-idle", extent.work / f"{name}-idle" / "out") as agent:
        idle_rss = agent.rss_bytes()
    base = extent.kept / f"{name}-{files}-{directories}"
    top = base / "out"
    if not (base / "known").exists():
        trees.fill(trees.directories(top, directories), files)
        trees.know(top, base / "state")
        (base / "known").touch()
    trees.walk(top)
    cpu, wall = [], []
    with _running(base, top) as agent:
        after_start = agent.rss_bytes()
        for number in range(extent.rounds):
            walk = trees.walk(top)
            seen, cpu_seconds, wall_seconds = _rescan(agent)
            assert (walk.files, seen) == (files, files)
            cpu.append(cpu_seconds / walk.cpu_seconds)
            wall.append(wall_seconds / walk.wall_seconds)
            finding.lines.append(
                f"pair {number + 1}: walk {walk.wall_seconds:6.2f} s, CPU {walk.cpu_seconds:6.2f} s; "
                f"rescan {wall_seconds:6.2f} s, CPU {cpu_seconds:6.2f} s; {wall[-1]:.2f} and {cpu[-1]:.2f} times"
            )
        jobs = agent.status()["jobs"]
        assert jobs["done"] == sum(jobs.values()) == files
        rss, peak = agent.rss_bytes(), agent.peak_rss_bytes()
    finding.lines.append(
        f"medians: wall {statistics.median(wall):.2f}, CPU {statistics.median(cpu):.2f} times the walk; "
        f"RSS {after_start / _MIB:.1f} MiB after the first scan, {rss / _MIB:.1f} after the last, peak "
        f"{peak / _MIB:.1f} since the start; an agent with one empty folder {idle_rss / _MIB:.1f}"
    )
    return statistics.median(cpu), statistics.median(wall), (peak - idle_rss) / _MIB


def _rescan(agent: Agent) -> tuple[int, float, float]:
    """Has the folder scanned once more: how many files were seen, CPU and wall seconds."""
    before_at, before = _folder(agent.status())["last_scan_at"], _cpu_seconds(agent)
    code, answer = agent.ask("POST", "/v1/rescan")
    assert code == 200, answer

    def is_over(status: dict[str, Any]) -> bool:
        return bool(_folder(status)["last_scan_at"] != before_at)

    folder = _folder(_wait(agent, is_over, "a scan"))
    return folder["files_seen"], _cpu_seconds(agent) - before, folder["last_scan_seconds"]


CASES: dict[str, Callable[[Extent], Finding]] = {case.__name__: case for case in (latency, creates, idle, rescan, flat)}
