"""``python -m tests.benchmarks.intake``: what the watching costs and how quick it is, measured on the real agent.

The agent runs as a process; its CPU time and memory are the kernel's figures (clock_getcpuclockid(3), proc(5)). Needs
nothing but the package; with all the files it takes some twenty minutes and 3 GB of disk. Ends with 1 when a bar is
not held.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .intake_cases import CASES, Extent, Finding


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.intake", description=__doc__)
    parser.add_argument("--cases", default="", help=f"of {', '.join(CASES)} (without: all)")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of a bare walk and a rescan")
    parser.add_argument("--files", type=int, default=1_000_000, help="of the tree that is scanned")
    parser.add_argument("--flat", type=int, default=200_000, help="files of the flat directory")
    parser.add_argument("--directories", type=int, default=20_000, help="of the trees")
    parser.add_argument("--created", type=int, default=100_000, help="files that are created before a running agent")
    parser.add_argument("--pace", type=int, default=2000, help="files a second where they are created at a pace")
    parser.add_argument("--closed", type=int, default=300, help="files whose latency is measured")
    parser.add_argument("--idle-seconds", type=float, default=61.0, help="how long the agent is idle (a canary: 60)")
    parser.add_argument("--base", type=Path, help="a folder to work in, which is kept: trees in it are used again")
    given = vars(parser.parse_args())
    chosen = [name for name in given.pop("cases").split(",") if name] or list(CASES)
    base = given.pop("base")
    findings = []
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=base) as temporary:
        extent = Extent(work=Path(temporary), kept=base or Path(temporary), **given)
        for name in CASES:
            if name in chosen:
                findings.append(CASES[name](extent))
                _say(_table(name, findings[-1]))
    bars = [bar for finding in findings for bar in finding.bars]
    _say(["", *(f"{'held' if bar.held else 'NOT HELD':9}{bar.said}" for bar in bars)])
    return 0 if all(bar.held for bar in bars) else 1


def _table(name: str, finding: Finding) -> Iterable[str]:
    one, five, _ = os.getloadavg()
    yield f"\n{name}: {finding.title}; load average of the machine {one:.1f}, {five:.1f}"
    yield from (f"  {line}" for line in finding.lines)


def _say(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
