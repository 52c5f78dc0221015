"""``status``, ``jobs`` and ``show``, asking a real socket, or a real database when nobody answers there."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Line
from tests.cli.test_cli_status_screen import endpoint
from tests.control.served import Served
from tusd_agent.control.client import ControlClient
from tusd_agent.jobs.database import Database
from tusd_agent.jobs.standing import Scope
from tusd_agent.jobs.states import State

NOT_RUNNING = "the agent is not running"


def test_status_of_a_running_agent(served: Served, line: Line) -> None:
    served.enqueue(b"a")
    served.server.start()
    result = line("status")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("tusd-agent 1.2.3: ok, up 1 min (pid 4711, user 0)\n")
    assert "1 waiting (10 B)" in result.stdout
    assert json.loads(line("status", "--json").stdout) == served.status()


def test_the_options_name_the_agent_too(served: Served, line: Line, tmp_path: Path) -> None:
    served.server.start()
    line.environ["TUSD_AGENT_AGENT__SOCKET"] = None
    assert line("status", "--socket", str(served.socket)).exit_code == 0
    config = tmp_path / "other.toml"
    config.write_text(f"[agent]\nsocket = '{served.socket}'\n")
    assert line("status", "--config", str(config)).exit_code == 0


@pytest.mark.parametrize(
    ("state", "failed", "exit_code"), [("ok", 0, 0), ("ok", 1, 1), ("degraded", 0, 1), ("starting", 0, 0)]
)
def test_status_check(served: Served, line: Line, state: str, failed: int, exit_code: int) -> None:
    if failed:
        served.enqueue(b"a")
        served.fail()
    served.state = state
    served.server.start()
    assert line("status", "--check").exit_code == exit_code
    assert line("status").exit_code == 0


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "crashed"])
def test_status_of_an_agent_that_does_not_run(served: Served, line: Line, stopped: bool) -> None:
    served.enqueue(b"a", b"b")
    served.fail()
    if stopped:
        served.database.close()
    result = line("status", "--check")
    assert result.exit_code == 3
    assert NOT_RUNNING in result.stderr
    assert "systemctl start tusd-agent" in result.stderr
    assert str(served.database.path) in result.stderr
    assert result.stdout.startswith("tusd-agent: not running\n")
    assert "1 waiting (10 B)" in result.stdout
    as_json = line("status", "--json")
    assert as_json.exit_code == 3
    status = json.loads(as_json.stdout)
    assert (status["state"], status["jobs"]["failed"], status["folders"][0]["path"]) == ("not running", 1, "/srv/out")
    assert set(status["jobs"]) == {str(state) for state in State}


def test_a_database_without_jobs_says_nothing_of_folders(served: Served, line: Line) -> None:
    result = line("status")
    assert result.exit_code == 3
    assert "watched" not in result.stdout


def test_an_agent_that_never_ran(line: Line, tmp_path: Path) -> None:
    line.environ["TUSD_AGENT_AGENT__STATE_DIR"] = str(tmp_path / "none")
    result = line("status")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "the agent has not run here yet" in result.stderr
    assert not (tmp_path / "none").exists()


def test_of_an_agent_that_does_not_answer_the_database_is_shown(
    served: Served, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.enqueue(b"a", b"b")
    served.fail()
    monkeypatch.setattr("tusd_agent.cli.views.ANSWER_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stuck:
        stuck.bind(str(served.socket))
        stuck.listen()
        for command, shown in (
            ("status --check", "tusd-agent: not answering\n"),
            ("status --json", '"state": "not answering"'),
            ("jobs", "/srv/out/b\n"),
            ("show 1", "job 1: failed\n"),
            ("errors", "CAUSE "),
        ):
            result = line(*command.split())
            assert (result.exit_code, shown in result.stdout) == (4, True), result.output
            assert "the agent does not answer on" in result.stderr
            assert "hint: its log may say why" in result.stderr
            assert f"what its database {served.database.path} says:" in result.stderr
        line.environ["TUSD_AGENT_AGENT__STATE_DIR"] = str(tmp_path / "none")
        nothing = line("status")
    assert (nothing.exit_code, nothing.stdout) == (4, "")
    assert "the agent does not answer on" in nothing.stderr


@pytest.mark.parametrize("command", [("status",), ("jobs",), ("show", "1")])
def test_who_may_see_nothing_is_told_who_may(served: Served, line: Line, command: tuple[str, ...]) -> None:
    served.enqueue(b"a")
    os.chmod(served.short, 0o755)
    before = os.geteuid()
    try:
        if before == 0:
            os.seteuid(65534)
        else:
            served.database.path.chmod(0)
        no_agent = line(*command)
        os.seteuid(before)
        served.server.start()
        os.chmod(served.socket, 0)
        if before == 0:
            os.seteuid(65534)
        not_allowed = line(*command)
    finally:
        os.seteuid(before)
    assert (no_agent.exit_code, no_agent.stdout) == (3, "")
    assert "hint: run this as root or as the agent's user" in no_agent.stderr
    assert (not_allowed.exit_code, not_allowed.stdout) == (1, "")
    assert "may not connect" in not_allowed.stderr


def test_a_database_for_its_owner_only_in_a_folder_anybody_may_enter(served: Served, line: Line) -> None:
    os.chmod(served.short, 0o755)
    database = Database(served.short / "queue.db")
    database.open()
    line.environ["TUSD_AGENT_AGENT__STATE_DIR"] = str(served.short)
    before = os.geteuid()
    try:
        if before == 0:
            os.seteuid(65534)
        else:
            database.path.chmod(0)
        result = line("status")
    finally:
        os.seteuid(before)
        database.close()
    assert (result.exit_code, result.stdout) == (3, "")
    assert "hint: run this as root or as the agent's user" in result.stderr


def test_a_socket_in_a_folder_nobody_may_enter_may_well_be_there(served: Served, line: Line, tmp_path: Path) -> None:
    """Of an agent of the system, whose runtime folder is for its group only."""
    os.chmod(served.short, 0o755)
    closed = served.short / "closed"
    closed.mkdir(mode=0o700)
    before = os.geteuid()
    try:
        if before == 0:
            os.seteuid(65534)
        else:
            closed.chmod(0)
        line.environ["TUSD_AGENT_AGENT__SOCKET"] = str(closed / "control.sock")
        behind_closed = line("status")
        line.environ["TUSD_AGENT_AGENT__SOCKET"] = str(closed / "deeper" / "control.sock")
        deeper = line("status")
        line.environ["TUSD_AGENT_AGENT__SOCKET"] = None
        line.environ |= {"XDG_RUNTIME_DIR": None, "HOME": str(served.short), "RUNTIME_DIRECTORY": str(closed)}
        line.environ["TUSD_AGENT_AGENT__STATE_DIR"] = str(tmp_path)
        usual = line("status")
    finally:
        os.seteuid(before)
    for result in (behind_closed, deeper, usual):
        assert (result.exit_code, result.stdout) == (1, "")
        assert "may not connect" in result.stderr


def test_a_configuration_that_can_not_be_read(line: Line, tmp_path: Path) -> None:
    result = line("status", "--config", str(tmp_path / "none.toml"))
    assert (result.exit_code, result.stdout) == (78, "")
    assert "none.toml" in result.stderr
    assert "--socket PATH alone asks an agent that runs" in result.stderr


@pytest.mark.parametrize("running", [True, False])
def test_jobs(served: Served, line: Line, running: bool) -> None:
    served.enqueue(b"a", b"b\x1b[31m\xff", b"c")
    served.fail(error="403 Forbidden: \x1b[31m")
    if running:
        served.server.start()
    result = line("jobs")
    assert result.exit_code == (0 if running else 3)
    assert (NOT_RUNNING in result.stderr) is not running
    head, *rows = [row.split() for row in result.stdout.splitlines()]
    assert head == ["ID", "STATE", "SIZE", "SENT", "SINCE", "PATH"]
    assert [row[0:2] for row in rows] == [["3", "pending"], ["2", "pending"], ["1", "failed"]]
    assert rows[1][-1] == "/srv/out/b\\x1b[31m\\xff"
    assert "(refused by the server: 403 Forbidden: \\x1b[31m)" in result.stdout
    assert "\x1b" not in result.output
    assert "\t" not in result.output
    assert len({row.index("/srv/out") for row in result.stdout.splitlines()[1:]}) == 1, "one column"
    listed = line.json("jobs", "--state", "failed", "--state", "held")
    assert [job["id"] for job in listed] == [1]


@pytest.mark.parametrize("running", [True, False])
def test_jobs_are_cut_or_paged(served: Served, line: Line, running: bool) -> None:
    served.enqueue(*(b"%d" % number for number in range(2100)))
    if running:
        served.server.start()
    few = line("jobs", "--limit", "2")
    assert few.stdout.count("/srv/out/") == 2
    assert "--all shows them" in few.stderr
    every = line("jobs", "--all")
    assert every.stdout.count("/srv/out/") == 2100
    assert every.stdout.count("PATH") == 1
    assert "There are more" not in every.stderr
    assert [job["id"] for job in line.json("jobs", "--all")] == list(range(2100, 0, -1))


def test_a_list_goes_on_in_the_database_when_the_agent_ends_in_the_middle(
    served: Served, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.enqueue(*(b"%d" % number for number in range(1500)))
    served.server.start()
    answered = ControlClient.get

    def once(self: ControlClient, path: str, params: Any = None) -> dict[str, Any]:
        reply = answered(self, path, params)
        served.server.stop()
        return reply

    monkeypatch.setattr(ControlClient, "get", once)
    result = line("jobs", "--all", "--json")
    assert [json.loads(one)["id"] for one in result.stdout.splitlines()] == list(range(1500, 0, -1))
    assert result.exit_code == 3


def test_no_jobs_is_said(served: Served, line: Line) -> None:
    served.server.start()
    result = line("jobs", "--state", "failed")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No jobs.\n")
    assert line("jobs", "--state", "failed", "--json").output == ""


@pytest.mark.parametrize("running", [True, False])
def test_show_by_number_and_by_path(served: Served, line: Line, running: bool) -> None:
    served.enqueue(b"sub/a\xff")
    failed = served.fail(error="403 Forbidden: \x1b[31m")
    if running:
        served.server.start()
    by_number = line("show", "1")
    assert by_number.exit_code == (0 if running else 3)
    shown = dict(row.strip().split(maxsplit=1) for row in by_number.stdout.splitlines())
    assert by_number.stdout.startswith("job 1: failed\n")
    assert shown["file"] == "/srv/out/sub/a\\xff"
    assert shown["size"] == "10 B (10 bytes)"
    assert shown["upload"] == "https://uploads.example/files/0123…"
    assert shown["uuid"] == str(failed.uuid)
    assert "last error    403 Forbidden: \\x1b[31m" in by_number.stdout
    assert "secret" not in by_number.output
    by_path = line("show", os.fsdecode(b"/srv/out/./sub/a\xff"))
    assert (by_path.exit_code, by_path.stdout) == (by_number.exit_code, by_number.stdout)
    assert line.json("show", "1") == line.json("show", os.fsdecode(b"/srv/out/sub/a\xff"))


def test_show_a_path_with_several_contents(served: Served, line: Line) -> None:
    served.enqueue(b"a")
    served.enqueue(b"a")
    served.server.start()
    result = line("show", "/srv/out/a")
    assert result.stdout.startswith("job 2: pending\n")
    assert "\nearlier contents of this path:\n  job 1: superseded, 10 B, made " in result.stdout
    assert [job["id"] for job in line.json("show", "/srv/out/a")] == [2, 1]


def test_show_follows_the_links_a_path_goes_through(served: Served, line: Line, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    served.enqueue(b"12", folder=str(real))
    served.server.start()
    assert line("show", str(tmp_path / "link" / "12")).stdout.startswith("job 1: pending\n")
    before = Path.cwd()
    os.chdir(tmp_path / "link")
    try:
        assert line("show", "./12").stdout.startswith("job 1: pending\n")
        assert line("show", "12").exit_code == 1, "a number is a job"
    finally:
        os.chdir(before)


@pytest.mark.parametrize("asked", ["9", "/srv/out/none", "²"])
def test_what_has_no_job_is_said(served: Served, line: Line, asked: str) -> None:
    served.enqueue(b"a")
    without_agent = line("show", asked)
    assert (without_agent.exit_code, without_agent.stdout) == (3, "")
    assert "there is no job" in without_agent.stderr
    served.server.start()
    result = line("show", asked)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no job" in result.stderr


def test_a_number_no_job_can_have_is_said(served: Served, line: Line) -> None:
    served.server.start()
    result = line("show", str(2**70))
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"there is no job {2**70}" in result.stderr


def test_a_deferred_job_says_when_it_is_tried_again(served: Served, line: Line) -> None:
    served.enqueue(b"a")
    served.claims.defer(served.claim(), time.time() + 7230, "503 Service Unavailable")
    served.server.start()
    result = line("show", "1")
    assert result.stdout.startswith("job 1: pending, tried again in 2 h")
    assert "  next try      2" in result.stdout
    assert "(in 2 h" in result.stdout
    assert "waits for" not in result.stdout


@pytest.mark.parametrize("running", [True, False])
def test_a_job_that_is_kept_back_says_by_what(served: Served, line: Line, running: bool) -> None:
    served.enqueue(b"a", b"b")
    served.fail()
    if running:
        served.server.start()
        plain = served.commands.status
        served.commands.status = lambda: {**plain(), "endpoints": [endpoint(breaker="open", reason="busy: 503")]}
        assert "\n  waits for     endpoint default, whose jobs wait (busy)\n" in line("show", "2").stdout
    served.standing.pause(Scope(endpoint="lab"), 1000.0)
    assert "a resume" not in line("show", "2").stdout
    served.standing.pause(Scope(folder="/srv/out"), 1000.0)
    text = line("show", "2").stdout
    assert "\n  waits for     a resume: folder /srv/out is paused since 1970-" in text
    assert "tusd-agent resume --folder /srv/out\n" in text
    assert "waits for" not in line("show", "1").stdout, "a failed one waits for nothing"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["jobs", "--state", "finished"], "'superseded'"),
        (["jobs", "--limit", "0"], "1<=x<=1000"),
        (["jobs", "--limit", "5", "--all"], "either --limit or --all"),
        (["show"], "ID|PATH"),
        (["statsu"], "Did you mean status?"),
        (["frobnicate"], "There are: run, demo, "),
        (["status", "--verbose"], "--verbose"),
        (["status", "--watch", "--check"], "either --check or --watch"),
        (["--frobnicate"], "--frobnicate"),
    ],
)
def test_wrong_usage_is_told_what_is_right(line: Line, arguments: list[str], said: str) -> None:
    result = line(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
