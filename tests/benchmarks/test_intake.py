"""The benchmark of the intake itself, at a size that takes some seconds. Whether its bars hold is not asked here."""

import subprocess
import sys

import pytest

SMALL = "--closed=3 --created=200 --pace=1000 --directories=40 --idle-seconds=0.2 --files=400 --flat=5500 --rounds=1"


@pytest.mark.heavy
def test_small_run() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.intake", *SMALL.split()]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150)
    lines = found.stdout.splitlines()
    bars = [line for line in lines if line.startswith(("held ", "NOT HELD "))]
    assert len(bars) == 9, found.stdout + found.stderr
    assert found.returncode == (1 if any(line.startswith("NOT") for line in bars) else 0)
    for beginning in ("latency: 3 files", "creates: 200 files", "idle: ", "rescan: 400 files", "flat: 5500 files"):
        assert sum(line.startswith(beginning) for line in lines) == 1
    assert sum(line.startswith("  pair 1: ") for line in lines) == 2
