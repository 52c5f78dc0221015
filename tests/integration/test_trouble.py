"""Bad input and bad surroundings: a clear message each, nothing lost; what can mend itself does, without a restart."""

import http.server
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.jobs.test_salvage import PAGE_BYTES, leaves_of
from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import write
from tests.support.relay import Relay

from .test_whole_path import assert_arrived_once, done

pytestmark = pytest.mark.heavy  # each of them starts agents of its own


@pytest.fixture
def outgoing(tmp_path: Path) -> Path:
    folder = tmp_path / "outgoing"
    folder.mkdir()
    return folder


class WebSite(http.server.BaseHTTPRequestHandler):
    """An ordinary web server: a page for each POST, with the server's `answer_status`."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_error(getattr(self.server, "answer_status", 404), "No Such Thing")

    def do_OPTIONS(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing: pytest's output is no place for it."""


@pytest.fixture
def web_site() -> Iterator[http.server.ThreadingHTTPServer]:
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), WebSite)
    thread = threading.Thread(target=site.serve_forever)
    thread.start()
    yield site
    site.shutdown()
    thread.join()
    site.server_close()


def test_an_endpoint_nobody_listens_at_is_said_and_waited_for(
    embedded_server: Server, relay: Callable[[Server], Relay], agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    network = relay(embedded_server)
    network.refuse = True
    agent = agent_factory(network.url_for(embedded_server), [{"path": outgoing, "settle_seconds": 0.2}])
    expected = {f"{n}.dat": write(outgoing / f"{n}.dat", 100, seed=n) for n in range(4)}
    agent.start()
    status = agent.wait_until(lambda s: s["endpoints"][0]["breaker"] == "open", 60, "the breaker is open")
    assert status["state"] == "degraded"
    assert any("refused" in reason for reason in status["reasons"])
    network.refuse = False
    status = agent.wait_until(done(4), 60)
    assert_arrived_once(embedded_server, expected)
    agent.wait_until(lambda s: s["state"] == "ok", 10, "all is well again")


@pytest.mark.parametrize("status_code", [404, 501, 400])
def test_an_endpoint_that_is_no_tus_server_is_named_and_no_file_fails(
    web_site: http.server.ThreadingHTTPServer, agent_factory: Callable[..., Agent], outgoing: Path, status_code: int
) -> None:
    web_site.answer_status = status_code  # type: ignore[attr-defined] # read by our own handler
    agent = agent_factory(
        f"http://127.0.0.1:{web_site.server_port}/files/", [{"path": outgoing, "settle_seconds": 0.2}]
    )
    write(outgoing / "file.dat", 100)
    agent.start()
    status = agent.wait_until(lambda s: s["endpoints"][0]["breaker"] == "open", 60, "the breaker is open")
    assert "tus" in status["endpoints"][0]["reason"]
    assert str(status_code) in status["endpoints"][0]["reason"]
    agent.wait_until(lambda s: s["jobs"]["pending"] == 1 and s["jobs"]["failed"] == 0, 10)
    (outgoing / "file.dat").unlink()
    agent.wait_until(lambda s: s["jobs"]["vanished"] == 1, 60, "the file is noticed to be gone")
    assert agent.status()["state"] == "ok", "an endpoint with nothing to do has no trouble"


def test_a_folder_that_comes_later_goes_and_comes_again(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    agent = agent_factory(embedded_server.url, [{"path": outgoing, "settle_seconds": 0.2}])
    outgoing.rmdir()
    agent.start()
    status = agent.wait_until(lambda s: s["state"] == "degraded", 20, "the agent says that something is wrong")
    assert str(outgoing) in status["reasons"][0]
    assert not status["folders"][0]["available"]
    outgoing.mkdir()
    expected = {"1.dat": write(outgoing / "1.dat", 100, seed=1)}
    agent.wait_until(done(1), 30)
    outgoing.rename(outgoing.with_name("aside"))
    agent.wait_until(lambda s: not s["folders"][0]["available"], 30, "the folder is unavailable again")
    outgoing.mkdir()
    expected["2.dat"] = write(outgoing / "2.dat", 100, seed=2)
    status = agent.wait_until(done(2), 30)
    assert_arrived_once(embedded_server, expected)
    agent.wait_until(lambda s: s["state"] == "ok", 20)


def test_an_unreadable_file_waits_says_why_and_goes_once_it_can_be_read(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path, tmp_path: Path
) -> None:
    path = outgoing / "secret.dat"
    expected = write(path, 100)
    path.chmod(0)
    agent = agent_factory(embedded_server.url, [{"path": outgoing, "settle_seconds": 0.2}], unprivileged=True)
    agent.start()
    agent.wait_until(
        lambda s: any("right to read" in (job["last_error"] or "") for job in agent.jobs(state="pending")), 20,
        "the row says why",
    )  # fmt: skip
    path.chmod(0o644)
    agent.wait_until(done(1), 40)
    assert_arrived_once(embedded_server, {"secret.dat": expected})


def test_files_that_cant_be_deleted_are_said(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    write(outgoing / "file.dat", 100)
    outgoing.chmod(0o555)
    folder = {"path": outgoing, "settle_seconds": 0.2, "after_upload": "delete"}
    agent = agent_factory(embedded_server.url, [folder], unprivileged=True)
    agent.start()
    status = agent.wait_until(lambda s: s["state"] == "degraded", 30, "the agent says that something is wrong")
    assert "1 file arrived" in status["reasons"][0]
    (job,) = agent.jobs(state="delivered")
    assert "right to write to its folder" in job["last_error"]
    outgoing.chmod(0o755)
    agent.wait_until(done(1), 60)
    assert list(outgoing.iterdir()) == []


def test_a_second_agent_says_who_holds_the_state_folder(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    agent = agent_factory(embedded_server.url, [{"path": outgoing}])
    agent.start()
    second = run_agent(agent)
    assert second.returncode == 1
    assert f"pid {agent.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    assert agent.status()["state"] == "ok"


def test_a_newer_database_is_refused_in_words(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    agent = agent_factory(embedded_server.url, [{"path": outgoing}])
    with sqlite3.connect(agent.state_dir / "queue.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    refused = run_agent(agent)
    assert refused.returncode == 1
    assert "newer tusd-agent" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_with_a_damaged_database_the_agent_goes_on_and_sends_nothing_twice(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    """What arrived before is held until somebody says what is to become of it; what comes later is sent."""
    agent = agent_factory(embedded_server.url, [{"path": outgoing, "settle_seconds": 0.2}])
    agent.start()
    write(outgoing / "before", 1000)
    agent.wait_until(done(1), 60)
    agent.stop()
    (agent.state_dir / "queue.db").write_bytes(os.urandom(8192))
    (agent.state_dir / "queue.check").touch()  # as the agent does when it meets the damage
    agent.start()
    agent.wait_until(lambda status: status["jobs"]["held"] == 1, 60)
    write(outgoing / "after", 1000, seed=2)
    status = agent.wait_until(done(1), 60)
    assert status["state"] == "degraded"
    assert "adopt (they arrived)" in " ".join(status["reasons"])
    assert "is damaged" in agent.log_text()
    assert len(list(agent.state_dir.glob("queue.db.damaged-*"))) == 1
    assert sorted(upload.metadata["filename"] for upload in embedded_server.stored()) == [b"after", b"before"]
    assert agent.ask("POST", "/v1/jobs/adopt", {"error": "ledger lost"})[1]["changed"] == 1
    agent.wait_until(lambda status: status["state"] == "ok" and status["jobs"]["done"] == 2, 60)


@pytest.mark.parametrize("where", ["a page that the start reads", "a page that it does not"])
def test_damage_after_a_kill_is_found_while_the_agent_works_or_before(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path, where: str
) -> None:
    """What it takes for a restart to mend it is never silent, and nothing that arrived is sent again."""
    agent = agent_factory(embedded_server.url, [{"path": outgoing, "settle_seconds": 0.2}])
    expected = {f"{number:03}.dat": write(outgoing / f"{number:03}.dat", 10, seed=number) for number in range(200)}
    agent.start()
    agent.wait_until(done(200), 60)
    agent.kill()
    database = agent.state_dir / "queue.db"
    with closing(sqlite3.connect(database)) as connection:  # the last to close it would take the log away
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'jobs_working'").fetchone()
        page = root if where == "a page that the start reads" else leaves_of(database, "jobs")[3]
        with open(database, "r+b") as file:
            file.seek((page - 1) * PAGE_BYTES)
            file.write(b"\xff" * PAGE_BYTES)
        agent.start()
        if where == "a page that it does not":
            status = agent.wait_until(lambda it: any("restart the agent" in each for each in it["reasons"]), 60)
            assert status["state"] == "degraded"
            agent.stop()
            agent.start()
    status = agent.wait_until(lambda it: it["jobs"]["done"] + it["jobs"]["held"] == 200, 60)
    assert (status["jobs"]["held"] > 0) == (where == "a page that it does not")
    assert "of its jobs could be read" in agent.log_text()
    assert_arrived_once(embedded_server, expected)


def test_a_socket_path_that_is_too_long_is_refused_in_words(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path, tmp_path: Path
) -> None:
    agent = agent_factory(embedded_server.url, [{"path": outgoing}], socket=tmp_path / ("x" * 100) / "control.sock")
    refused = run_agent(agent)
    assert refused.returncode == 78
    assert "107" in refused.stderr
    assert "agent.socket" in refused.stderr


def test_a_bad_configuration_is_refused_in_words(
    embedded_server: Server, agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    agent = agent_factory(embedded_server.url, [{"path": outgoing, "setle_seconds": 2}], workers="many")
    refused = run_agent(agent)
    assert refused.returncode == 78
    assert "settle_seconds" in refused.stderr, "the nearest right name"
    assert "agent.workers" in refused.stderr
    assert "many" in refused.stderr
    assert str(agent.config) in refused.stderr


def test_jobs_of_a_removed_folder_are_held_and_go_on_when_it_is_back(
    embedded_server: Server, relay: Callable[[Server], Relay], agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    network = relay(embedded_server)
    network.refuse = True
    folders: list[dict[str, object]] = [{"path": outgoing, "settle_seconds": 0.2}]
    agent = agent_factory(network.url_for(embedded_server), folders)
    write(outgoing / "file.dat", 100)
    agent.start()
    agent.wait_until(lambda s: s["jobs"]["pending"] == 1, 20)
    agent.stop()
    agent.configure(network.url_for(embedded_server), [])
    agent.start()
    agent.wait_until(lambda s: s["jobs"]["held"] == 1, 20)
    agent.stop()
    network.refuse = False
    agent.configure(network.url_for(embedded_server), folders)
    agent.start()
    agent.wait_until(done(1), 30)


def run_agent(agent: Agent) -> "subprocess.CompletedProcess[str]":
    """One more process with the same configuration, which is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "tusd_agent", "run", "--config", str(agent.config)],
        cwd=agent.base,
        env=agent.environment,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
