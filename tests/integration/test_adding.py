"""``add``: files that an operator names, by the rules of their folder, and nothing anywhere else."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import write

from .test_pausing import command
from .test_whole_path import done

pytestmark = pytest.mark.heavy  # each of them starts agents of its own


def test_what_may_be_added_and_what_is_said_of_the_rest(
    agent_factory: Callable[..., Agent], embedded_server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "outgoing"
    agent = agent_factory(
        embedded_server.url,
        [{"path": folder, "settle_seconds": 0.3, "exclude": ["*.tmp"], "watch": "poll", "poll_interval_seconds": 3600}],
    )
    agent.start()
    agent.wait_until(lambda s: s["folders"][0]["last_scan_at"], 20, "from now on nothing but a word finds files")

    def add(path: object) -> tuple[int, dict[str, object]]:
        return agent.ask("POST", "/v1/jobs", {"path": str(path)})

    for name in ("a.bin", "b.tmp", "below/c.bin", "below/deeper/d.bin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name, 100, seed=len(name))
    code, reply = add(folder / "a.bin")
    assert (code, reply["added"], reply["job"]) == (200, True, None)
    agent.wait_until(done(1), 20)
    code, reply = add(folder / "a.bin")
    assert (code, reply["added"], reply["hint"]) == (200, False, "it was sent: tusd-agent resend 1 sends it once more")
    assert add(folder / "below")[1]["added"]
    agent.wait_until(done(3), 20)

    code, error = add(folder / "b.tmp")
    assert (code, error["code"]) == (409, "not_taken")
    assert "*.tmp" in str(error["message"])
    assert add(folder / "missing")[1]["code"] == "not_there"
    os.symlink("/etc/passwd", folder / "link")
    assert add(folder / "link")[1]["code"] == "not_taken"
    outside = [add(path) for path in ("/etc/shadow", "/etc/no-such", f"{folder}/../config", f"{folder}x/a")]
    assert {(code, error["code"]) for code, error in outside} == {(404, "not_watched")}
    assert {str(error["message"]).partition(" ")[2] for _, error in outside} == {"lies in no watched folder"}
    assert agent.ask("POST", "/v1/jobs", {"path": "a"})[0] == 400
    assert agent.ask("POST", "/v1/jobs", {})[0] == 400

    write(folder / "e.bin", 100, seed=9)
    os.symlink(folder, tmp_path / "other")
    said = command(agent, "add", str(tmp_path / "other" / "e.bin"), str(folder / "b.tmp"), "/etc/passwd")
    assert said.returncode == 1
    assert said.stdout.startswith(f"{folder}/e.bin: waits for ")
    assert said.stderr.count("hint: ") == 2
    agent.wait_until(done(4), 20)
    again = command(agent, "add", "--json", str(folder / "e.bin"))
    assert (again.returncode, json.loads(again.stdout)["job"]["state"]) == (0, "done")

    agent.ask("POST", "/v1/pause")
    write(folder / "f.bin", 100, seed=10)
    add(folder / "f.bin")
    agent.wait_until(lambda s: s["jobs"]["pending"] == 1, 20)
    assert "tusd-agent resume" in str(add(folder / "f.bin")[1]["hint"])
    (job,) = agent.jobs(state="pending")
    agent.ask("POST", f"/v1/jobs/{job['id']}/cancel")
    said = command(agent, "add", str(folder / "f.bin"))
    assert (said.returncode, said.stdout.splitlines()[1]) == (1, f"  tusd-agent retry {job['id']} sends it after all")
