"""``python -m tests.benchmarks.status``: what `tusd-agent status` takes as a whole process.

Beside `python -c "import click, json, http.client"`, in turn, so that what else the machine does meets both alike. The
agent is a real one with jobs in its database. Ends with 1 when the bar is not held.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.agent import ROOT, Agent

LIMIT = 1.5
BARE = [sys.executable, "-c", "import click, json, http.client"]


def seconds(command: list[str]) -> float:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began_at = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, cwd=ROOT, env=environment)
    return time.perf_counter() - began_at


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.status", description=__doc__)
    parser.add_argument("--pairs", type=int, default=40)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as base:
        agent = Agent(Path(base) / "agent", "http://127.0.0.1:9/files/", [{"path": Path(base) / "out"}])
        try:
            agent.start()
            for number in range(50):
                (Path(base) / "out" / f"{number}.dat").write_bytes(b"x")
            agent.wait_until(lambda status: sum(status["jobs"].values()) == 50, 60)
            status = [sys.executable, "-m", "tusd_agent", "status", "--socket", str(agent.socket)]
            for command in (status, BARE):
                seconds(command)  # bytecode is written, files are read
            pairs = [(seconds(status), seconds(BARE)) for _ in range(given.pairs)]
        finally:
            agent.close()
    ratio = statistics.median(ours / bare for ours, bare in pairs)
    ours, bare = (statistics.median(times) * 1e3 for times in zip(*pairs, strict=True))
    sys.stdout.write(
        f"status {ours:.0f} ms, bare imports {bare:.0f} ms\n"
        f"{'held' if ratio <= LIMIT else 'NOT HELD':9}status, of the bare imports {ratio:.2f} x at most {LIMIT:g}\n"
    )
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
