"""The storm's course: writers start, the agent is stalled now and then, the writers end, the agent comes to rest."""

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from tests.support.agent import Agent
from tests.support.files import wait_for

from .ledger import Ledger
from .writers import Signals, run

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
LONGEST_QUEUE = 100_000
"""Where the kernel holds more events than that, no stall makes it lose any within reasonable time."""

SECONDS_WITHOUT_READER = 1.0
FLOOD_SECONDS = 60


@dataclass(frozen=True)
class Plan:
    """How long, how many writers at what pace, and how often the agent is stopped with SIGSTOP.

    With `overflow` each stall lasts until more events have happened than the kernel keeps for the stalled reader.
    """

    seconds: float
    seed: int
    writers: int = 4
    acts_per_second: float = 25.0
    stalls: int = 4
    overflow: bool = True


@dataclass(frozen=True)
class Blown:
    """What there was: the books, about how many events, and for how long the writers wrote."""

    ledger: Ledger
    events: int
    seconds: float


def watched(base: Path) -> Path:
    """The folder that the agent is to watch."""
    return base / "in"


def agent_settings(base: Path) -> dict[str, Any]:
    """What the agent of a storm is made with: short settle times, and a slow way on which files change meanwhile."""
    return {
        "folders": [{"path": watched(base), "settle_seconds": 0.3, "renamed": "same"}],
        "endpoint": {"chunk_size": "64KiB", "rate_limit": "4MiB/s"},
        # No scan by the clock: what events do not tell of, scans after lost events have to find.
        "rescan_interval_seconds": 3600,
    }


def overflow_can_be_had() -> bool:
    return int(QUEUE.read_text()) <= LONGEST_QUEUE


def blow(base: Path, agent: Agent, plan: Plan) -> Blown:
    """Has the writers write below `base`, as planned, while the agent runs; returns when they have ended."""
    context = multiprocessing.get_context("spawn")
    signals = Signals(context.Event(), context.Event(), context.Value("i", 0))
    logs = [base / f"w{number}.log" for number in range(plan.writers)]
    writers = [
        context.Process(
            target=run, args=(base, log, log.stem, plan.seed, plan.acts_per_second, signals), name=log.stem, daemon=True
        )
        for log in logs
    ]
    begun = time.monotonic()
    for writer in writers:
        writer.start()
    try:
        wait_for(lambda: signals.caused() or _dead(writers), 60, "the writers have begun")
        begun = time.monotonic()
        for number in range(plan.stalls):
            _blow_until(begun + plan.seconds * (number + 0.5) / plan.stalls, writers)
            _stall(agent, plan, signals, writers)
        _blow_until(begun + plan.seconds, writers)
    finally:
        signals.flood.clear()
        signals.stop.set()
        for writer in writers:
            writer.join(60)
            writer.kill()
    seconds = time.monotonic() - begun
    assert not _dead(writers), f"writers have failed: {_dead(writers)}"
    return Blown(Ledger(logs), signals.caused(), seconds)


def _blow_until(end: float, writers: Sequence[SpawnProcess]) -> None:
    while time.monotonic() < end:
        assert not _dead(writers), f"writers have failed: {_dead(writers)}"
        time.sleep(0.1)


def _stall(agent: Agent, plan: Plan, signals: Signals, writers: Sequence[SpawnProcess]) -> None:
    """Nobody reads: first at the writers' pace, then in a flood, then at their pace again with the queue full."""
    limit = int(QUEUE.read_text())
    os.kill(agent.pid, signal.SIGSTOP)
    try:
        _blow_until(time.monotonic() + SECONDS_WITHOUT_READER, writers)
        if plan.overflow and overflow_can_be_had():
            before = signals.caused()
            signals.flood.set()
            wait_for(lambda: signals.caused() - before > limit * 1.5 or _dead(writers), FLOOD_SECONDS, "a flood")
            signals.flood.clear()
            _blow_until(time.monotonic() + SECONDS_WITHOUT_READER, writers)
    finally:
        os.kill(agent.pid, signal.SIGCONT)


def _dead(writers: Sequence[SpawnProcess]) -> list[str]:
    return [f"{writer.name}: exit status {writer.exitcode}" for writer in writers if writer.exitcode]


def wait_for_rest(agent: Agent, seconds: float) -> dict[str, Any]:
    """The status when two scans, one begun after the other's end, have left the agent nothing to do and nothing new."""
    known = -1
    deadline = time.monotonic() + seconds
    while True:
        asked_at = time.time()
        code, answer = agent.ask("POST", "/v1/rescan")
        assert code == 200, answer
        status = agent.wait_until(
            lambda status, asked_at=asked_at: _is_at_rest(status, asked_at),  # type: ignore[misc]
            max(1.0, deadline - time.monotonic()),
            "the agent has nothing to do",
        )
        before, known = known, sum(status["jobs"].values())
        if before == known:
            return status


def _is_at_rest(status: dict[str, Any], scanned_since: float) -> bool:
    busy = ("pending", "uploading", "delivered", "disposing")
    return (
        not any(status["jobs"][state] for state in busy)
        and not status["in_flight"]
        and all(
            not folder["scanning"] and not folder["settling"] and _scan_begun_at(folder) > scanned_since
            for folder in status["folders"]
        )
    )


def _scan_begun_at(folder: dict[str, Any]) -> float:
    """When the last complete scan began, in seconds since the epoch; 0 before the first."""
    return float((folder["last_scan_at"] or 0) - (folder["last_scan_seconds"] or 0))
