"""After the upload, with the agent as a process: commands that fail, hang and outlive a kill; folders and markers."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import content, sha256_of, wait_for, write
from tests.support.relay import Relay

from .test_whole_path import assert_arrived_once, done

pytestmark = pytest.mark.heavy  # each of them starts agents of its own

SIZE = 100_000


@pytest.fixture
def outgoing(tmp_path: Path) -> Path:
    folder = tmp_path / "outgoing"
    folder.mkdir()
    return folder


class Script:
    """A command's program, and a folder in which it may leave what it has to say."""

    def __init__(self, base: Path, script: str) -> None:
        self.said = base / "said"
        self.said.mkdir(parents=True)
        self._path = base / "after"
        self.becomes(script)

    def becomes(self, script: str) -> None:
        new = self._path.with_name("new")
        new.write_text(f'#!/bin/sh\ncd "$1" || exit 99\n{script}\n')
        new.chmod(0o755)
        new.rename(self._path)

    @property
    def settings(self) -> dict[str, object]:
        return {"settle_seconds": 0.2, "after_upload": "command", "command": [str(self._path), str(self.said)]}

    def lines(self, name: str = "runs") -> list[str]:
        with suppress(FileNotFoundError):
            return (self.said / name).read_text().splitlines()
        return []


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Script]:
    return lambda text: Script(tmp_path / "command", text)


def put_off(agent: Agent, words: str) -> dict[str, Any]:
    """The one job that has arrived and whose disposal was put off, with these words."""
    found: list[dict[str, Any]] = []

    def explained(status: dict[str, Any]) -> bool:
        found[:] = [job for job in agent.jobs(state="delivered") if words in (job["last_error"] or "")]
        return len(found) == 1

    agent.wait_until(explained, 30, f"the row says {words}")
    return found[0]


def retry(agent: Agent, job: dict[str, Any]) -> None:
    code, answer = agent.ask("POST", f"/v1/jobs/{job['id']}/retry")
    assert code == 200, answer


def test_it_is_run_once_for_each_file(
    any_server: Server, agent_factory: Callable[..., Agent], outgoing: Path, script: Callable[[str], Script]
) -> None:
    after = script(
        'sha256sum <"$TUSD_AGENT_PATH" >>sums; echo "$TUSD_AGENT_SHA256  -" >>told; echo "$TUSD_AGENT_URL" >>urls'
    )
    agent = agent_factory(any_server.url, [{"path": outgoing, **after.settings}])
    expected = {f"{number}.dat": write(outgoing / f"{number}.dat", SIZE, seed=number) for number in range(5)}
    agent.start()
    agent.wait_until(done(5), 60)
    sums = sorted(f"{digest}  -" for digest in expected.values())
    assert sorted(after.lines("sums")) == sorted(after.lines("told")) == sums
    assert len(set(after.lines("urls"))) == 5
    assert_arrived_once(any_server, expected)
    assert sorted(path.name for path in outgoing.iterdir()) == sorted(expected)


def test_a_kill_9_between_delivery_and_its_end_runs_it_again(
    any_server: Server, agent_factory: Callable[..., Agent], outgoing: Path, script: Callable[[str], Script]
) -> None:
    after = script('echo "$TUSD_AGENT_JOB $TUSD_AGENT_SHA256" >>runs; rm "$TUSD_AGENT_PATH"; kill -KILL $PPID')
    agent = agent_factory(any_server.url, [{"path": outgoing, **after.settings}])
    expected = write(outgoing / "file.dat", SIZE)
    agent.start()
    assert agent.wait_for_exit(60) == -9
    assert len(after.lines()) == 1
    after.becomes('echo "$TUSD_AGENT_JOB $TUSD_AGENT_SHA256" >>runs')
    agent.start()
    agent.wait_until(done(1), 30)
    first, second = after.lines()
    assert first == second
    assert first.endswith(expected)
    assert_arrived_once(any_server, {"file.dat": expected})


def test_it_is_never_run_for_what_the_server_does_not_confirm(
    any_server: Server,
    relay: Callable[[Server], Relay],
    agent_factory: Callable[..., Agent],
    outgoing: Path,
    script: Callable[[str], Script],
) -> None:
    """Killed after the delivery and before the proof; by the next start the server has lost the upload."""
    network = relay(any_server)
    network.hold_answers = {"HEAD"}
    after = script("echo >>runs")
    agent = agent_factory(network.url_for(any_server), [{"path": outgoing, **after.settings}])
    write(outgoing / "file.dat", SIZE)
    agent.start()
    wait_for(lambda: any(r.method == "HEAD" for r in network.requests_seen()), 30, "the server is asked for the proof")
    agent.kill()
    for upload in any_server.uploads.iterdir():
        if upload.is_file():
            upload.unlink()
    network.cut()
    network.hold_answers = ()
    agent.start()
    put_off(agent, "can't be proven")
    assert after.lines() == []
    assert (outgoing / "file.dat").exists()


def test_its_failure_puts_off_nothing_but_itself(
    any_server: Server, agent_factory: Callable[..., Agent], outgoing: Path, script: Callable[[str], Script]
) -> None:
    after = script("echo >>runs; printf 'no \\033[1mroom\\n' >&2; exit 3")
    other = outgoing.with_name("other")
    agent = agent_factory(
        any_server.url, [{"path": outgoing, **after.settings}, {"path": other, "settle_seconds": 0.2}]
    )
    write(outgoing / "file.dat", SIZE)
    agent.start()
    job = put_off(agent, r"exit status 3; the end of its output: no \x1b[1mroom")
    write(other / "file.dat", SIZE)
    status = agent.wait_until(done(1), 30)
    assert status["state"] == "degraded"
    assert any(reason.startswith("1 file arrived, but ") for reason in status["reasons"])
    assert r"\x1b[1mroom" in agent.log_text()
    after.becomes("echo >>runs")
    retry(agent, job)
    agent.wait_until(done(2), 30)
    assert len(any_server.stored()) == 2


def test_a_stop_ends_it_and_all_that_it_started_and_the_next_start_runs_it_again(
    any_server: Server, agent_factory: Callable[..., Agent], outgoing: Path, script: Callable[[str], Script]
) -> None:
    after = script(
        "trap '' TERM; (trap '' TERM; sleep 1000) & echo $! >>runs; echo $$ >>runs; while :; do sleep 1; done"
    )
    agent = agent_factory(any_server.url, [{"path": outgoing, **after.settings}], workers=2)
    for number in range(2):
        write(outgoing / f"{number}.dat", SIZE, seed=number)
    agent.start()
    pids = wait_for(lambda: after.lines() if len(after.lines()) == 4 else [], 30, "both commands run")
    assert agent.stop() < 5
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 5, "all of them have ended")
    after.becomes("echo >>again")
    agent.start()
    agent.wait_until(done(2), 30)
    assert len(after.lines("again")) == 2


def test_it_is_not_run_while_others_could_change_the_configuration(
    any_server: Server, agent_factory: Callable[..., Agent], outgoing: Path, script: Callable[[str], Script]
) -> None:
    after = script("echo >>runs")
    agent = agent_factory(any_server.url, [{"path": outgoing, **after.settings}])
    agent.start()
    agent.config.chmod(0o666)
    write(outgoing / "file.dat", SIZE)
    job = put_off(agent, f"others could change the configuration file: anybody may write to {agent.config}")
    assert after.lines() == []
    agent.config.chmod(0o644)
    retry(agent, job)
    agent.wait_until(done(1), 30)
    assert len(after.lines()) == 1
    agent.stop()
    agent.config.chmod(0o666)
    agent.start(wait=False)
    assert agent.wait_for_exit() == 78


@pytest.mark.parametrize("what", ["delete", "move"])
def test_folders_left_empty_and_markers_go_with_their_files(
    any_server: Server, agent_factory: Callable[..., Agent], outgoing: Path, tmp_path: Path, what: str
) -> None:
    folder = {
        "path": outgoing,
        "settle_seconds": 0.3,
        "contract": "marker",
        "after_upload": what,
        "move_to": tmp_path / "sent" if what == "move" else None,
        "remove_empty_folders": True,
    }
    agent = agent_factory(any_server.url, [folder])
    agent.start()
    expected = {}
    for relative in ("a/b/c/1", "a/b/c/2", "a/3", "4", "kept/5"):
        path = outgoing / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        expected[relative] = write(path, SIZE, seed=int(path.name))
        path.with_name(f"{path.name}.done").touch()
    (outgoing / "kept" / "not marked").touch()
    agent.wait_until(done(5), 30)
    wait_for(lambda: os.listdir(outgoing) == ["kept"], 20, "the empty folders are gone")
    assert os.listdir(outgoing / "kept") == ["not marked"]
    assert_arrived_once(any_server, expected)
    if what == "move":
        moved = {path: sha256_of(tmp_path / "sent" / path) for path in expected}
        assert moved == expected
    # The folder is watched as before, those that are made anew too.
    (outgoing / "a" / "b").mkdir(parents=True)
    (outgoing / "a" / "b" / "late").write_bytes(content(10, seed=1))
    (outgoing / "a" / "b" / "late.done").touch()
    agent.wait_until(done(6), 30)
    wait_for(lambda: os.listdir(outgoing) == ["kept"], 20, "the empty folders are gone again")
