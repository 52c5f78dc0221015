"""Storms over a watched folder: every file that stayed arrives, once, and nothing arrives that never was whole."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import Server
from tests.support.agent import Agent

from .storm.check import Check, Findings
from .storm.weather import Plan, agent_settings, blow, overflow_can_be_had, wait_for_rest, watched

Storm = Callable[[Server, Plan], Findings]


@pytest.fixture
def storm(agent_factory: Callable[..., Agent], tmp_path: Path) -> Storm:
    """Blows a storm as planned before an agent, and checks what is left of it."""

    def through(server: Server, plan: Plan) -> Findings:
        agent = agent_factory(server.url, **agent_settings(tmp_path))
        agent.start()
        blown = blow(tmp_path, agent, plan)
        wait_for_rest(agent, 100 + 3 * plan.seconds)
        findings = Check(watched(tmp_path), blown, agent, server.stored()).findings(plan.seed)
        sys.stdout.write(f"{findings.figures}\n")
        return findings

    return through


@pytest.mark.heavy
def test_a_breeze(embedded_server: Server, storm: Storm) -> None:
    """Some seconds at an easy pace, with one stall that the kernel's queue survives."""
    plan = Plan(seconds=6, seed=7, writers=3, acts_per_second=20, stalls=1, overflow=False)
    findings = storm(embedded_server, plan)
    assert not findings.violations, findings.report()
    assert findings.arrived > 50


@pytest.mark.heavy
@pytest.mark.timeout(500)
@pytest.mark.parametrize(("seed", "server"), [(1, "tuspyserver"), (2, "tusd")])
def test_a_minute_of_storm(server_factory: Callable[..., Server], storm: Storm, seed: int, server: str) -> None:
    """Thousands of files, while the reader of events is stopped again and again until the kernel's queue overflows."""
    plan = Plan(seconds=60, seed=seed)
    findings = storm(server_factory(server), plan)
    assert not findings.violations, findings.report()
    assert findings.arrived > 2000
    assert not overflow_can_be_had() or findings.overflows > plan.stalls // 2
