"""``python -m tests.benchmarks.endpoints``: what a healthy endpoint loses to a dead, a slow and a busy one beside it.

In pairs: the agent sends the files of one folder to the healthy endpoint alone, and the same with three more folders
whose endpoints refuse connections, take a third of a second for each answer, and answer 429 with Retry-After. Each
answer of the healthy one takes `--delay` seconds, so that the workers, and not the machine, are what is short. Ends
with 1 when the bar is not held.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.support.agent import Agent
from tests.support.files import wait_for
from tests.support.ports import HOST, ReservedPort
from tests.tus.fault_server import FaultServer
from tests.tus.right_server import Request

from .sink import Sink

BAR = 0.8
SLOW_SECONDS = 0.3


class LateSink(Sink):
    """A sink each of whose answers takes a while, as those of a server far away do."""

    def __init__(self, delay_seconds: float) -> None:
        super().__init__()
        self.delay_seconds = delay_seconds

    def _answer(self, method: str, target: str, fields: dict[str, str], length: int) -> bytes:
        time.sleep(self.delay_seconds)
        return super()._answer(method, target, fields, length)


class Busy(FaultServer):
    """A server that always asks for a pause."""

    def right_answer(self, request: Request, body: bytes, sent: int) -> tuple[int, dict[str, str]]:
        return 429, {"Content-Length": "0", "Retry-After": "2"}


def files(folder: Path, count: int, size_bytes: int) -> None:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:05}.dat").write_bytes(bytes(size_bytes))


def files_per_second(base: Path, sink: Sink, others: dict[str, str], count: int) -> float:
    """From the first file that arrives at the healthy endpoint to the last."""
    folders = [{"path": base / "healthy", "endpoint": "default", "settle_seconds": 0.1}]
    folders += [{"path": base / name, "endpoint": name, "settle_seconds": 0.1} for name in others]
    sink.forget()
    state = Path(tempfile.mkdtemp(dir=base))
    agent = Agent(state, sink.endpoint, folders, endpoints={name: {"url": url} for name, url in others.items()})
    try:
        agent.start()
        wait_for(lambda: sink.finished > count // 10, 60, "the first files")
        begun, began_at = sink.finished, time.monotonic()
        wait_for(lambda: sink.finished >= count, 600, "all files")
        return (sink.finished - begun) / (time.monotonic() - began_at)
    finally:
        agent.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.endpoints", description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--delay", type=float, default=0.02)
    given = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="benchmark-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        sink, slow = stack.enter_context(LateSink(given.delay)), stack.enter_context(LateSink(SLOW_SECONDS))
        busy = stack.enter_context(Busy())
        nobody = ReservedPort()
        stack.callback(nobody.release)
        others = {
            "dead": f"http://{HOST}:{nobody.number}/files/",
            "slow": slow.endpoint,
            "busy": busy.endpoint,
        }
        for name in ("healthy", *others):
            files(base / name, given.files, 4096)
        ratios = []
        for _ in range(given.pairs):
            alone = files_per_second(base, sink, {}, given.files)
            together = files_per_second(base, sink, others, given.files)
            ratios.append(together / alone)
            if not slow.finished:
                raise RuntimeError("the slow endpoint got nothing: that is no comparison")
            sys.stdout.write(f"alone {alone:7.1f} files/s, beside the others {together:7.1f}: {ratios[-1]:.2f}\n")
            sys.stdout.flush()
    ratio = statistics.median(ratios)
    held = ratio >= BAR
    said = f"{ratio:.2f} of what it has alone (median of {len(ratios)} pairs), at least {BAR:g}"
    sys.stdout.write(f"{'held' if held else 'NOT HELD':9}beside a dead, a slow and a busy endpoint: {said}\n")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
