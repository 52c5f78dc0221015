"""Limits of bandwidth that an operator sets while files are being sent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import write

from .test_pausing import command
from .test_whole_path import assert_arrived_once, done, in_flight_beyond

KIB, MIB = 1 << 10, 1 << 20


def holds(status: dict[str, Any]) -> float:
    return float(status["endpoints"][0]["rate_limit_bytes_per_second"])


@pytest.mark.heavy
def test_a_limit_holds_at_once_and_after_a_restart_until_it_is_taken_back(
    agent_factory: Callable[..., Agent], embedded_server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "outgoing"
    folder.mkdir()
    expected = {"large.bin": write(folder / "large.bin", 12 * MIB, seed=1)}
    agent = agent_factory(
        embedded_server.url, [{"path": folder, "settle_seconds": 0.2}], endpoint={"rate_limit": 8 * MIB}
    )
    with agent.config.open("a") as config:
        config.write('[[limits]]\nfrom = "00:00"\nto = "24:00"\nrate = "4MiB/s"\n')
    agent.start()
    agent.wait_until(in_flight_beyond(MIB), 30, "it is in the middle")
    said = command(agent, "limit", "300KiB/s")
    assert said.stdout.splitlines() == [
        "the agent: at most 300 KiB/s, set by hand until `tusd-agent limit default`",
        "  the configuration says: no limit",
        "  from 00:00 to 24:00, every day: at most 4.0 MiB/s",
        "endpoint default: at most 8.0 MiB/s",
    ]
    agent.wait_until(lambda s: 0 < s["in_flight"][0]["rate_bytes_per_second"] < 500 * KIB, 15, "the upload feels it")
    assert holds(agent.status()) == 300 * KIB
    agent.kill()
    agent.start()
    status = agent.wait_until(lambda s: s["limits_by_hand"], 10, "it is remembered")
    assert holds(status) == 300 * KIB
    assert "the agent has at most 300 KiB/s, set by hand: tusd-agent limit default" in command(agent, "status").stdout

    assert command(agent, "limit", "none", "--endpoint", "default").returncode == 0
    assert command(agent, "limit", "none").stdout.startswith("the agent: no limit, set by hand until")
    assert holds(agent.wait_until(done(1), 20)) == 0
    assert_arrived_once(embedded_server, expected)
    code, reply = agent.ask("PUT", "/v1/limits", {"rate_bytes_per_second": None})
    assert (code, reply["limits"][0]["by_hand_bytes_per_second"]) == (200, None)
    assert holds(agent.status()) == 4 * MIB, "the timetable's"
    assert agent.ask("GET", "/v1/limits")[1] == reply
    wrong = command(agent, "limit", "1MiB", "--endpoint", "lab")
    assert (wrong.returncode, wrong.stderr.splitlines()) == (
        1, ["tusd-agent: there is no endpoint lab", "hint: there are: default"]
    )  # fmt: skip
