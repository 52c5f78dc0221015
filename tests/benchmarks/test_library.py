"""The benchmark itself, at a size that takes a second or two."""

import shutil
import subprocess
import sys

import pytest


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_small_run() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.library", "--rounds=1", "--bytes=1MiB", "--files=5"]
    found = subprocess.run(
        [*command, "--only=ours,bare socket"], capture_output=True, text=True, check=False, timeout=120
    )
    assert found.returncode == 0, found.stdout + found.stderr
    lines = found.stdout.splitlines()
    assert sum(line.startswith("ours ") for line in lines) == 4
    assert sum(line.startswith("bare socket ") for line in lines) == 3
    assert lines[-1].startswith("held")
