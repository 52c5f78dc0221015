"""What goes wrong when a new user tries the commands, and that each message says what to do next."""

import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Line
from tests.control.served import FOLDER, Served

EXPLAIN = "hint: tusd-agent explain PATH says whether a file is taken"
STATUS = "hint: tusd-agent status lists folders and endpoints"


@pytest.mark.parametrize(
    ("command", "exit_code", "said"),
    [
        ("jobs 999", 0, "No jobs.\nhint: tusd-agent jobs lists jobs with their numbers"),
        ("jobs /etc/passwd", 0, EXPLAIN),
        ("jobs --folder /nope", 0, STATUS),
        ("jobs --state done --error x", 0, "hint: all that is given must hold"),
        ("hold --endpoint nope", 0, STATUS),
        ("retry /nope", 1, EXPLAIN),
        ("verify 999", 1, "hint: tusd-agent jobs lists jobs with their numbers"),
        ("verify --state done", 0, "No job is done"),
        ("retry --error nope", 0, "hint: tusd-agent errors lists the causes"),
        ("retry --pattern a*", 0, "hint: --pattern is compared with the whole path"),
        ("wait --job 999", 1, "there is no job 999: tusd-agent jobs lists them"),
        ("wait --job 1 --timeout 0.1", 1, "pending\nhint: tusd-agent status and errors say what keeps them"),
        ("show /nope", 1, "hint: tusd-agent explain says whether the file is taken"),
        ("rescan /nope", 1, "tusd-agent status, lists the watched folders"),
        ("explain ''", 2, "which file? Give its path"),
        ("cancel ''", 2, "one of the paths is empty"),
        ("--socket /nope status", 2, "--socket goes behind the command: tusd-agent status --socket"),
        ("--json status", 2, "--json goes behind the command"),
        ("--nope status", 2, "No such option"),
        ("upload a.dat http://localhost/files/", 2, "is no file: name the server with --endpoint URL"),
    ],
)
def test_a_hint_says_what_to_do(served: Served, line: Line, command: str, exit_code: int, said: str) -> None:
    served.enqueue(b"a", b"b")
    served.server.start()
    result = line(*("" if word == "''" else word for word in command.split()))
    assert (result.exit_code, said in result.stdout + result.stderr) == (exit_code, True), result.output


@pytest.mark.parametrize(
    ("verb", "states"), [("release", "held"), ("resend", "done"), ("adopt", "held"), ("cancel", "")]
)
def test_an_order_that_is_refused_says_for_whom_it_is(served: Served, line: Line, verb: str, states: str) -> None:
    served.enqueue(b"a")
    served.server.start()
    result = line(verb, "1")
    if states:
        assert result.exit_code == 1
        assert f"1 job can't {verb} as things are; that is for jobs that are {states}:" in result.stdout
        assert f"job 1 is pending: {FOLDER}/a" in result.stdout
    else:
        assert result.stdout == "1 job cancelled.\n"


def test_what_is_no_socket_is_said(line: Line, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    result = line("status", "--socket", str(file))
    assert result.exit_code == 3
    assert f"{file} is no socket, so no agent can be asked there" in result.stderr
    assert stat.S_ISREG(file.stat().st_mode)


def test_an_agent_that_never_ran_has_no_database_to_say_anything(line: Line, tmp_path: Path) -> None:
    line.environ |= {"TUSD_AGENT_AGENT__STATE_DIR": str(tmp_path / "none")}
    result = line("status")
    assert result.exit_code == 3
    assert "the agent has not run here yet" in result.stderr
    assert "what its database" not in result.stderr
