"""The benchmarks of the queue themselves, at a size that takes seconds; the figures are not what is tested."""

import subprocess
import sys

import pytest


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["queue", "--jobs=5000", "--done=5000"], ["pending job", "done job", "claim and commit", "VmHWM", "a kill"]),
        (["endpoints", "--pairs=1", "--files=200"], ["alone", "beside a dead"]),
    ],
)
def test_small_run(command: list[str], said: list[str]) -> None:
    name, *options = command
    found = subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.{name}", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert found.stderr == ""
    for words in said:
        assert words in found.stdout, found.stdout
    assert found.returncode == ("NOT HELD" in found.stdout)
    assert "NOT HELD bytes" not in found.stdout, "sizes do not depend on the machine"
