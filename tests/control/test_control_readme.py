"""The README's account of the control socket: complete, and its examples do what they say against a live agent."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import tusd_agent
from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import write
from tests.support.programs import program
from tusd_agent.control.commands import TABLE
from tusd_agent.control.exchange import _ERRORS
from tusd_agent.jobs.orders import Verb

SECTION = (
    (Path(__file__).parents[2] / "README.md")
    .read_text()
    .partition("### Asking it from programs\n")[2]
    .partition("\n### ")[0]
)
SOCKET = "/run/tusd-agent/control.sock"


def test_every_request_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+) (\S+)` \|", SECTION, re.MULTILINE)
    assert sorted(rows) == sorted((command.method, command.path) for command in TABLE)


def test_every_error_and_every_verb_is_named() -> None:
    package = Path(tusd_agent.__file__).parent
    sources = [path.read_text() for room in ("control", "service") for path in (package / room).glob("*.py")]
    codes = {code for source in sources for code in re.findall(r'\b(?:code=|_refuse\(\d+, )"(\w+)"', source)}
    assert {"not_taken", "bad_request"} <= codes
    codes |= {name for name, _, _ in _ERRORS.values()}
    codes -= {"read_only"}  # of a server without an agent behind it, as some tests have
    assert {*codes, *Verb} <= set(re.findall(r"`(\w+)`", SECTION))


@pytest.fixture
def agent(embedded_server: Server, agent_factory: Callable[..., Agent], tmp_path: Path) -> Agent:
    """One that has sent a file, and has a failed one."""
    made = agent_factory(embedded_server.url, [{"path": tmp_path / "out", "settle_seconds": 0.1}])
    made.start()
    write(tmp_path / "out" / "run-7.dat", 1000, 0)
    made.wait_until(lambda status: status["jobs"]["done"] == 1, 30)
    return made


def test_the_examples_with_curl(agent: Agent, tmp_path: Path) -> None:
    program("curl", "Debian's package curl")
    lines = re.findall(r"^\$ (curl .*)$", SECTION, re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        command = shlex.split(line.replace(SOCKET, str(agent.socket)).replace("/srv/outgoing", str(tmp_path / "out")))
        ended = subprocess.run([*command, "--fail-with-body", "--silent"], capture_output=True, check=False, timeout=60)
        assert ended.returncode == 0, (line, ended.stdout)
        assert isinstance(json.loads(ended.stdout), dict)
    _, limits = agent.ask("GET", "/v1/limits")
    assert limits["limits"][0]["by_hand_bytes_per_second"] == 2_000_000


@pytest.mark.heavy
def test_the_example_in_go(agent: Agent, tmp_path: Path) -> None:
    (source,) = re.findall(r"^```go\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
    go = program("go", "https://go.dev/dl")
    gofmt = [str(Path(go).with_name("gofmt")), "-d"]
    formatted = subprocess.run(gofmt, input=source, capture_output=True, text=True, check=True, timeout=60)
    assert formatted.stdout == ""
    (tmp_path / "main.go").write_text(source.replace(SOCKET, str(agent.socket)))
    command = [go, "run", "main.go"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=150)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "ok 1 done 0 failed []\n"
