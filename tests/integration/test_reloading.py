"""The configuration read again while the agent works: the real agent, uploads in the middle, tried to be broken."""

import os
import pty
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import wait_for, write

from .test_pausing import command
from .test_whole_path import assert_arrived_once, by_relative_path, done, in_flight_beyond

pytestmark = pytest.mark.heavy  # each of them starts agents of its own

KIB, MIB = 1 << 10, 1 << 20
QUICK: dict[str, object] = {"settle_seconds": 0.2}


def reload(agent: Agent) -> dict[str, Any]:
    code, reply = agent.ask("POST", "/v1/reload")
    assert code == 200, reply
    assert isinstance(reply, dict)
    return reply


def offsets(status: dict[str, Any]) -> dict[str, int]:
    return {flight["path"].rpartition("/")[2]: flight["offset_bytes"] for flight in status["in_flight"]}


def test_a_folder_that_goes_is_held_and_comes_back_and_others_are_not_disturbed(
    agent_factory: Callable[..., Agent], embedded_server: Server, tmp_path: Path
) -> None:
    stays, goes = tmp_path / "stays", tmp_path / "goes"
    slow = {"rate_limit": 2 * MIB}
    agent = agent_factory(embedded_server.url, [{"path": stays, **QUICK}, {"path": goes, **QUICK}], endpoint=slow)
    expected = {"stays.bin": write(stays / "stays.bin", 6 * MIB, seed=1)}
    gone = write(goes / "goes.bin", 6 * MIB, seed=2)
    agent.start()
    agent.wait_until(lambda s: len(s["in_flight"]) == 2 and min(offsets(s).values()) > MIB, 30, "both in the middle")

    agent.configure(embedded_server.url, [{"path": stays, **QUICK}], endpoint=slow)
    reply = reload(agent)
    assert (reply["changed"], reply["held"], reply["needs_restart"]) == ([f"watch {goes}: removed"], 1, [])
    status = agent.status()
    assert [folder["path"] for folder in status["folders"]] == [str(stays)]
    assert list(offsets(status)) == ["stays.bin"]
    (held,) = agent.jobs(state="held")
    assert (held["attempts"], held["reason"]) == (0, "its folder is no longer in the configuration")
    write(goes / "unseen.bin", 10, seed=3)

    agent.configure(embedded_server.url, [{"path": stays, **QUICK}, {"path": goes, **QUICK}])
    reply = reload(agent)
    assert reply["changed"] == ["endpoint default: rate_limit", f"watch {goes}: added"]
    expected |= {"goes.bin": gone, "unseen.bin": write(tmp_path / "same", 10, seed=3)}
    agent.wait_until(done(3), 30)
    assert_arrived_once(embedded_server, expected)
    log = agent.log_text()
    assert log.count("goes on at") == 1, "what was not concerned went in one go"
    (job,) = [job for job in agent.jobs() if job["path"].endswith("/stays.bin")]
    assert job["attempts"] == 1
    assert reload(agent)["changed"] == []


def test_a_bad_file_changes_nothing_and_is_told_of(
    agent_factory: Callable[..., Agent], embedded_server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "outgoing"
    agent = agent_factory(embedded_server.url, [{"path": folder, **QUICK}])
    agent.start()
    before = agent.config.read_text()
    agent.config.write_text(before.replace("settle_seconds", "settle_second") + "[agent2]\n")
    code, error = agent.ask("POST", "/v1/reload")
    assert (code, error["code"], len(error["problems"])) == (422, "bad_configuration", 2)
    told = command(agent, "reload")
    assert told.returncode == 78
    assert "settle_second" in told.stderr
    assert "nothing was changed" in told.stderr
    os.kill(agent.pid, signal.SIGHUP)
    wait_for(lambda: agent.log_text().count("is not reloaded") >= 3, 10, "the log says so")
    agent.config.unlink()
    assert agent.ask("POST", "/v1/reload")[0] == 422, "and a missing one is no empty one"
    write(folder / "x", 10)
    agent.wait_until(done(1), 20)

    agent.config.write_text(before.replace("[agent]", '[agent]\nworkers = 7\nlog_format = "json"\nlog_level = "debug"'))
    told = command(agent, "reload")
    assert told.returncode == 0
    assert told.stdout.splitlines() == [
        f"{agent.config}: reloaded",
        "  agent.workers: 4 → 7",
        "  agent.log_level: info → debug",
        "needs a restart: agent.log_format: text → json",
    ]
    assert reload(agent)["needs_restart"] == ["agent.log_format: text → json"], "as long as it does"
    write(folder / "y", 10)
    agent.wait_until(done(2), 20)
    assert " DEBUG tusd_agent." in agent.log_text()


def test_what_is_in_flight_goes_on_under_the_new_rules(
    agent_factory: Callable[..., Agent], server_factory: Callable[..., Server], tmp_path: Path
) -> None:
    """The endpoint moves to another server, and what was to be deleted is to be kept, while a file is being sent."""
    first, second = server_factory(), server_factory()
    folder = tmp_path / "outgoing"
    slow = {"rate_limit": 4 * MIB}
    agent = agent_factory(first.url, [{"path": folder, "after_upload": "delete", **QUICK}], endpoint=slow)
    digest = write(folder / "x.bin", 8 * MIB, seed=1)
    agent.start()
    agent.wait_until(in_flight_beyond(MIB), 30, "it is in the middle")
    agent.configure(second.url, [{"path": folder, "after_upload": "keep", **QUICK}])
    assert reload(agent)["changed"] == ["endpoint default: url, rate_limit", f"watch {folder}: after_upload"]
    status = agent.wait_until(done(1), 30)
    assert status["endpoints"][0]["url"] == second.url
    assert_arrived_once(second, {"x.bin": digest})
    assert (folder / "x.bin").exists(), "a removed delete is not carried out"
    assert not any(one.complete for one in first.stored())


@pytest.mark.timeout(180)
def test_storms_and_kills(agent_factory: Callable[..., Agent], embedded_server: Server, tmp_path: Path) -> None:
    """SIGHUPs by the hundred, reloads side by side, the file changing all the time, kill -9 in between."""
    folders = [tmp_path / name for name in ("a", "b", "c")]
    expected: dict[str, str] = {}
    every = [{"path": folder, **QUICK} for folder in folders]
    agent = agent_factory(embedded_server.url, every, endpoint={"rate_limit": 3 * MIB})
    for folder in folders:
        for number in range(4):
            name = f"{folder.name}{number}.bin"
            expected[name] = write(folder / name, MIB, seed=len(expected))

    def answers() -> list[int]:
        codes: list[int] = []
        callers = [threading.Thread(target=lambda: codes.append(agent.ask("POST", "/v1/reload")[0])) for _ in range(6)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        return codes

    for round_number in range(4):
        agent.start()
        for number in range(100):
            chosen = every[: 1 + number % 3]
            agent.configure(embedded_server.url, chosen, workers=1 + number % 5, endpoint={"rate_limit": 3 * MIB})
            os.kill(agent.pid, signal.SIGHUP)
            if number % 25 == 24:
                assert set(answers()) <= {200, 503, 422}
        agent.wait_until(lambda s: s["state"] in ("ok", "starting"), 20)
        if round_number % 2:
            agent.stop()
        else:
            os.kill(agent.pid, signal.SIGHUP)
            agent.kill()
    agent.configure(embedded_server.url, every)
    agent.start()
    os.kill(agent.pid, signal.SIGHUP)
    agent.wait_until(done(12), 60)
    assert set(by_relative_path(embedded_server)) == set(expected)
    complete = [one for one in embedded_server.stored() if one.complete]
    assert sorted(one.sha256() for one in complete) == sorted(expected.values())
    assert "Traceback" not in agent.log_text()


RUN = """
import os, signal, sys, threading
from tusd_agent.cli.run import stop_on_signals
if sys.argv[1] == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
stop, asked = threading.Event(), threading.Event()
stop_on_signals(stop, asked)
def tell():
    while asked.wait():
        asked.clear()
        with open(sys.argv[2], "a") as log: log.write("reload\\n")
threading.Thread(target=tell, daemon=True).start()
with open(sys.argv[2], "a") as log: log.write("ready\\n")
stop.wait()
with open(sys.argv[2], "a") as log: log.write("stopped\\n")
"""


@pytest.mark.parametrize("how", ["plain", "nohup"])
def test_a_hangup_stops_what_ran_on_a_terminal_that_is_gone_and_nothing_else(tmp_path: Path, how: str) -> None:
    said = tmp_path / "said"
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", RUN, how, str(said)])
    try:
        wait_for(lambda: said.exists() and "ready" in said.read_text(), 20, "it runs")
        os.kill(child, signal.SIGHUP)
        wait_for(lambda: "reload" in said.read_text(), 10, "the terminal is there: that is no hangup")
    finally:
        os.close(terminal)
    if how == "nohup":
        os.kill(child, signal.SIGHUP)
        wait_for(lambda: said.read_text().count("reload") > 1, 10, "it goes on without")
        os.kill(child, signal.SIGTERM)
    wait_for(lambda: "stopped" in said.read_text(), 10, "it stops")
    os.waitpid(child, 0)


def test_systemd_is_told_of_a_reload(agent_factory: Callable[..., Agent], tmp_path: Path) -> None:
    path = Path(agent_factory("http://127.0.0.1:9/", []).socket.parent) / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(20)
        agent = agent_factory(
            "http://127.0.0.1:9/", [{"path": tmp_path / "out"}], environment={"NOTIFY_SOCKET": str(path)}
        )
        agent.start()

        def heard(until: str) -> list[str]:
            lines: list[str] = []
            while until not in lines:
                lines += listener.recv(4096).decode().splitlines()
            return lines

        heard("READY=1")
        os.kill(agent.pid, signal.SIGHUP)
        lines = heard("READY=1")
        assert lines.index("RELOADING=1") < lines.index("READY=1")
        assert any(line.startswith("MONOTONIC_USEC=") for line in lines)
