"""Hooks of tusd: one that refuses a file at its very end, and one that takes away what has arrived."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import sha256_of, wait_for, write
from tests.support.relay import Relay

from .test_whole_path import done

pytestmark = pytest.mark.heavy

SECONDS = 60
SIZE = 50_000


class Hooks:
    """A folder of hooks (https://tus.github.io/tusd/advanced-topics/hooks/), and what they have noted or taken."""

    def __init__(self, base: Path) -> None:
        self.folder = base / "hooks"
        self.taken = base / "taken"
        for folder in (self.folder, self.taken):
            folder.mkdir()

    def add(self, event: str, script: str) -> None:
        """A shell script that gets tusd's JSON in $said, and the id of the upload in $TUS_ID."""
        hook = self.folder / event
        hook.write_text(f'#!/bin/sh\nsaid=$(cat)\necho "$TUS_ID" >>"{self.taken}/{event}.ids"\n{script}\n')
        hook.chmod(0o755)

    def calls(self, event: str) -> list[str]:
        """The ids of the uploads that this hook was called for."""
        noted = self.taken / f"{event}.ids"
        return noted.read_text().split() if noted.exists() else []

    @property
    def flags(self) -> list[str]:
        return ["-hooks-dir", str(self.folder), "-hooks-enabled-events", "pre-finish,post-finish"]


@pytest.fixture
def hooks(tmp_path: Path) -> Hooks:
    return Hooks(tmp_path)


@pytest.fixture
def outgoing(tmp_path: Path) -> Path:
    folder = tmp_path / "outgoing"
    folder.mkdir()
    return folder


def watched(outgoing: Path, tmp_path: Path, after_upload: str) -> dict[str, object]:
    settings: dict[str, object] = {"path": outgoing, "settle_seconds": 0.2, "after_upload": after_upload}
    if after_upload == "move":
        settings["move_to"] = tmp_path / "sent"
    if after_upload == "command":
        settings["command"] = ["/bin/rm", outgoing / "file"]
    return settings


def ask_again(agent: Agent, job: dict[str, Any]) -> None:
    """Now rather than when its time has come; 409: it has come already."""
    assert agent.ask("POST", f"/v1/jobs/{job['id']}/retry")[0] in (200, 409)


REFUSALS = {
    "by its exit code": "echo 'no such project'; exit 1",
    "by an answer": """echo '{"HTTPResponse": {"StatusCode": 422, "Body": "no such project"}}'""",
}


@pytest.mark.parametrize("after_upload", ["delete", "move"])
@pytest.mark.parametrize("how", REFUSALS)
def test_a_file_that_a_hook_refuses_at_its_end_is_never_taken_for_delivered(
    server_factory: Callable[..., Server],
    agent_factory: Callable[..., Agent],
    hooks: Hooks,
    outgoing: Path,
    tmp_path: Path,
    how: str,
    after_upload: str,
) -> None:
    hooks.add("pre-finish", f'case "$said" in *\'"filename":"refused"\'*) {REFUSALS[how]};; esac')
    server = server_factory("tusd", flags=hooks.flags)
    agent = agent_factory(server.url, [watched(outgoing, tmp_path, after_upload)])
    refused = write(outgoing / "refused", SIZE)
    write(outgoing / "fine", SIZE, seed=1)
    agent.start()

    def failed() -> dict[str, Any]:
        agent.wait_until(lambda it: it["jobs"]["failed"] == 1 and it["jobs"]["done"] == 1, SECONDS)
        (job,) = agent.jobs(state="failed")
        assert job["reason"] == "finished with server error"
        assert "no such project" in job["last_error"]
        assert sha256_of(outgoing / "refused") == refused
        assert not (outgoing / "fine").exists()
        assert not (tmp_path / "sent" / "refused").exists()
        return job

    job = failed()
    assert len(hooks.calls("pre-finish")) == 2
    # Nothing brings it back by itself: neither a start, nor a scan.
    agent.kill()
    agent.start()
    agent.wait_until(lambda it: not it["folders"][0]["scanning"] and it["state"] == "ok", SECONDS)
    assert agent.ask("POST", "/v1/rescan")[0] in (200, 202)
    failed()
    assert len(hooks.calls("pre-finish")) == 2
    # Asked for it is sent as a new upload, which the hook sees; so it is where a start falls in between.
    assert agent.ask("POST", f"/v1/jobs/{job['id']}/retry")[0] == 200
    wait_for(lambda: len(hooks.calls("pre-finish")) == 3, SECONDS, "the hook is asked again")
    failed()
    server.stop()
    assert agent.ask("POST", f"/v1/jobs/{job['id']}/retry")[0] == 200
    agent.wait_until(lambda it: it["jobs"]["pending"] == 1 and not it["in_flight"], SECONDS)
    agent.kill()
    server.start()
    agent.start()
    wait_for(lambda: len(hooks.calls("pre-finish")) == 4, SECONDS, "the hook is asked once more")
    failed()
    assert len(set(hooks.calls("pre-finish"))) == 4, "an upload of its own each time"
    # What the hook no longer refuses goes through.
    hooks.add("pre-finish", "")
    assert agent.ask("POST", f"/v1/jobs/{job['id']}/retry")[0] == 200
    agent.wait_until(done(2), SECONDS)
    assert not (outgoing / "refused").exists()
    agent.stop()


@pytest.mark.parametrize("after_upload", ["keep", "delete", "move", "command"])
@pytest.mark.parametrize("delete_proof", ["head", "answer"])
def test_what_a_hook_takes_away_is_disposed_of_as_the_proof_allows(
    server_factory: Callable[..., Server],
    relay: Callable[[Server], Relay],
    agent_factory: Callable[..., Agent],
    hooks: Hooks,
    outgoing: Path,
    tmp_path: Path,
    delete_proof: str,
    after_upload: str,
) -> None:
    hooks.add("post-finish", f'mv "{tmp_path}"/server-*/uploads/"$TUS_ID"* "{hooks.taken}"')
    server = server_factory("tusd", flags=hooks.flags)
    network = relay(server)
    # The hook runs beside the answer: that waits until the hook is done, or it would be a race which comes first.
    network.hold_answers = {"PATCH"}
    url, folder = network.url_for(server), watched(outgoing, tmp_path, after_upload)
    agent = agent_factory(url, [folder], endpoint={"delete_proof": delete_proof})
    written = write(outgoing / "file", SIZE)
    agent.start()
    wait_for(lambda: hooks.calls("post-finish") and not list(server.uploads.iterdir()), SECONDS, "it is taken away")
    network.hold_answers = set()

    def there() -> bool:
        return (outgoing / "file").exists()

    if after_upload != "keep" and delete_proof == "head":
        agent.wait_until(
            lambda it: any("no longer knows" in (job["last_error"] or "") for job in agent.jobs(state="delivered")),
            SECONDS,
            "the row says that nothing can be proven",
        )
        assert agent.status()["state"] == "degraded"
        assert there()
        (job,) = agent.jobs(state="delivered")
        assert 'delete_proof = "answer"' in job["last_error"]
        # A start and a retry change nothing about that.
        agent.kill()
        agent.start()
        heads = len([each for each in network.requests_seen() if each.method == "HEAD"])
        ask_again(agent, job)
        wait_for(
            lambda: len([each for each in network.requests_seen() if each.method == "HEAD"]) > heads, SECONDS, "a proof"
        )
        agent.wait_until(lambda it: it["jobs"]["delivered"] == 1, SECONDS)
        assert there()
        # The setting that it asks for makes an end.
        agent.stop()
        agent.configure(url, [folder], endpoint={"delete_proof": "answer"})
        agent.start()
        ask_again(agent, job)
    agent.wait_until(done(1), SECONDS)
    assert there() == (after_upload == "keep")
    if after_upload == "move":
        assert sha256_of(tmp_path / "sent" / "file") == written
    if delete_proof == "answer":
        assert not [each for each in network.requests_seen() if each.method == "HEAD"], "nobody is asked in vain"
    assert len(hooks.calls("post-finish")) == 1, "it is sent once"
    (taken,) = (path for path in hooks.taken.iterdir() if path.name == hooks.calls("post-finish")[0])
    assert sha256_of(taken) == written
    agent.stop()
