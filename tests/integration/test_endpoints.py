"""Endpoints in trouble, seen from outside: the real agent, servers that refuse, and what mends itself."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.agent import Agent
from tests.support.files import write
from tests.tus.fault_server import FaultServer
from tests.tus.right_server import Request

from .test_whole_path import done


@pytest.fixture
def outgoing(tmp_path: Path) -> Path:
    folder = tmp_path / "outgoing"
    folder.mkdir()
    return folder


def test_a_token_that_is_renewed_while_the_breaker_is_open_closes_it(
    agent_factory: Callable[..., Agent], outgoing: Path, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("expired\n")
    with FaultServer() as server:
        server.check_token = "Bearer good"
        folder = {"path": outgoing, "settle_seconds": 0.2}
        agent = agent_factory(server.endpoint, [folder], endpoint={"bearer_token_file": str(token)})
        for number in range(5):
            write(outgoing / f"{number}.dat", 100, seed=number)
        agent.start()
        status = agent.wait_until(lambda s: s["endpoints"][0]["breaker"] == "open", 30, "the breaker is open")
        assert status["endpoints"][0]["reason"].startswith("auth")
        assert status["state"] == "degraded"
        token.unlink()
        agent.wait_until(lambda s: "token" in (s["endpoints"][0]["reason"] or ""), 60, "the probe read it again")
        token.write_text("good\n")
        status = agent.wait_until(done(5), 90, "it goes on by itself")
        agent.wait_until(lambda s: s["endpoints"][0]["breaker"] == "closed" and s["state"] == "ok", 10)
        assert all(job["attempts"] <= 1 for job in agent.jobs()), "the open breaker burned no attempts"
        tokens = {request.headers.get("authorization") for request in server.requests}
        assert tokens == {"Bearer expired", "Bearer good"}


class Wall(FaultServer):
    """A server behind a firewall that does not like one name (base64 of ``virus.exe``)."""

    def right_answer(self, request: Request, body: bytes, sent: int) -> tuple[int, dict[str, str]]:
        if request.method == "POST" and "dmlydXMuZXhl" in request.headers.get("upload-metadata", ""):
            return 403, {"Content-Length": "0"}
        return super().right_answer(request, body, sent)


def test_a_firewall_that_refuses_one_name_holds_up_that_file_only(
    agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    with Wall() as server:
        agent = agent_factory(server.endpoint, [{"path": outgoing, "settle_seconds": 0.2}])
        write(outgoing / "virus.exe", 100)
        agent.start()
        agent.wait_until(lambda s: any(job["attempts"] for job in agent.jobs(state="pending")), 30, "it was tried")
        for number in range(10):
            write(outgoing / f"{number}.dat", 100, seed=number)
        status = agent.wait_until(done(10), 30)
        assert status["jobs"]["pending"] == 1
        assert status["endpoints"][0]["breaker"] == "closed"
        (job,) = agent.jobs(state="pending")
        assert "403" in job["last_error"]


class Busy(FaultServer):
    """A server that asks for a pause until it is told to work."""

    works = False

    def right_answer(self, request: Request, body: bytes, sent: int) -> tuple[int, dict[str, str]]:
        if not self.works and request.method == "POST":
            return 429, {"Content-Length": "0", "Retry-After": "5"}
        return super().right_answer(request, body, sent)


def test_a_pause_that_the_server_asks_for_is_kept_by_all_workers(
    agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    with Busy() as server:
        agent = agent_factory(server.endpoint, [{"path": outgoing, "settle_seconds": 0.2}])
        for number in range(20):
            write(outgoing / f"{number}.dat", 100, seed=number)
        agent.start()
        agent.wait_until(
            lambda s: s["endpoints"][0]["breaker"] == "open" and s["in_flight"] == [], 30, "no worker sleeps on it"
        )
        assert len(server.of("POST")) <= 5, "those that were under way, and a probe at most"
        server.works = True
        agent.wait_until(done(20), 60)
