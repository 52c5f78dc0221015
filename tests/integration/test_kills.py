"""An agent that is killed hundreds of times loses nothing, sends nothing twice, and removes nothing unproven."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import Server

from .kills.check import Findings
from .kills.course import CLOSING, MOMENTS, PROMISES, Plan, is_promise
from .kills.run import other_file_system, run


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    folder = other_file_system(tmp_path)
    yield folder
    shutil.rmtree(folder)


def told(findings: Findings) -> Findings:
    sys.stdout.write(f"{findings.figures}\n")
    assert not findings.violations, findings.report()
    return findings


@pytest.mark.heavy
def test_a_dozen_kills(embedded_server: Server, tmp_path: Path, elsewhere: Path) -> None:
    findings = told(run(tmp_path, elsewhere, embedded_server, Plan(kills=12, seed=3)))
    assert findings.lived.killed.total() >= 3
    assert findings.lived.removals


@pytest.mark.heavy
@pytest.mark.timeout(500)
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_every_commit(
    server_factory: Callable[..., Server], tmp_path: Path, elsewhere: Path, seed: int
) -> None:
    """150 kills each: at every point that was come to, before and after it, and at random instants."""
    findings = told(run(tmp_path, elsewhere, server_factory("tusd"), Plan(kills=150, seed=seed)))
    passed, killed = findings.lived.passed, findings.lived.killed
    promises = {point for point in passed if is_promise(point)}
    assert {point.rpartition(".")[2] for point in promises} == set(PROMISES)
    assert not {(moment, point) for point in promises | {CLOSING} for moment in MOMENTS if not killed[moment, point]}


@pytest.mark.heavy
@pytest.mark.timeout(500)
def test_killed_with_the_fast_path_for_small_files(
    server_factory: Callable[..., Server], tmp_path: Path, elsewhere: Path
) -> None:
    """At least once, that is: extra copies are of the same job."""
    findings = told(run(tmp_path, elsewhere, server_factory("tusd"), Plan(kills=60, seed=4, fast_path_bytes=300_001)))
    assert findings.lived.killed.total() >= 10
