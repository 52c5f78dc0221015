"""Commands as processes: signals, exit codes, terminals, and stdout that is cut."""

import json
import os
import pty
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.control.served import Served
from tests.support.agent import Agent
from tests.support.files import wait_for

COMMAND = [sys.executable, "-m", "tusd_agent"]
NOWHERE = "http://127.0.0.1:9/files/"


def environment(**changes: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("TUSD_AGENT_", "XDG_"))}
    return {**kept, "COLUMNS": "120", **changes}


def on_a_terminal(arguments: list[str], **changes: str) -> str:
    """What the command writes to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment(TERM="xterm", **changes)
    ) as child:
        os.close(theirs)
        written = b""
        with suppress(OSError):  # EIO: the other side is closed
            while block := os.read(ours, 65536):
                written += block
        os.close(ours)
        child.wait(30)
    return written.decode()


def test_run_until_it_is_stopped(agent_factory: Callable[..., Agent], tmp_path: Path) -> None:
    agent = agent_factory(NOWHERE, [{"path": tmp_path / "watched"}])
    agent.start()
    agent.wait_until(lambda status: status["state"] == "ok", 30, "the folder is looked at")
    assert stat.S_IMODE(agent.socket.stat().st_mode) == 0o660
    ended = subprocess.run(
        [*COMMAND, "status", "--check", "--config", str(agent.config)],
        capture_output=True, text=True, env=environment(), check=False, timeout=60,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert str(tmp_path / "watched") in ended.stdout
    agent.stop()
    assert agent.returncode == 0
    assert not agent.socket.exists()
    lines = agent.log_text().splitlines()
    assert all(" tusd_agent." in line for line in lines if "runs as root" not in line), lines


def test_run_takes_another_socket(agent_factory: Callable[..., Agent]) -> None:
    agent = agent_factory(NOWHERE, [])
    other = agent.socket.with_name("other.sock")
    child = subprocess.Popen(
        [*COMMAND, "run", "--config", str(agent.config), "--socket", str(other)],
        stderr=subprocess.DEVNULL, env=environment(),
    )  # fmt: skip
    try:
        wait_for(other.exists, 30, "the socket that was named")
        assert not agent.socket.exists()
    finally:
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 0


def test_run_with_a_bad_configuration(agent_factory: Callable[..., Agent]) -> None:
    agent = agent_factory(NOWHERE, [], workers=0, log_levle="info")
    agent.start(wait=False)
    assert agent.wait_for_exit() == 78
    log = agent.log_text()
    assert "2 problems" in log
    assert "did you mean log_level?" in log
    assert "Traceback" not in log


def test_run_twice_is_refused(agent_factory: Callable[..., Agent]) -> None:
    agent = agent_factory(NOWHERE, [])
    agent.start()
    second = subprocess.run(
        [*COMMAND, "run", "--config", str(agent.config)],
        capture_output=True, text=True, env=environment(), check=False, timeout=60,
    )  # fmt: skip
    assert second.returncode == 1
    assert "Traceback" not in second.stderr
    assert agent.status()["pid"] == agent.pid


def test_a_signal_that_comes_in_another_thread_than_the_waiting_one_stops_it() -> None:
    """As one that comes just as the main thread begins to wait: nothing wakes that by itself."""
    code = (
        "import signal, threading\n"
        "from tusd_agent.cli.run import stop_on_signals\n"
        "stop = threading.Event()\n"
        "stop_on_signals(stop)\n"
        "def other():\n"
        "    input()\n"
        "    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)\n"
        "threading.Thread(target=other).start()\n"
        "stop.wait()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], input=b"\n", timeout=30, check=False)
    assert ended.returncode == 0


def test_a_second_signal_ends_it_at_once() -> None:
    program = (
        "import threading\n"
        "from tusd_agent.cli.run import stop_on_signals\n"
        "stop = threading.Event()\n"
        "stop_on_signals(stop)\n"
        "print('ready', flush=True)\n"
        "stop.wait()\n"
        "print('stopping', flush=True)\n"
        "threading.Event().wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGTERM)
        assert child.stdout.readline() == "stopping\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 1


def test_exit_codes_without_an_agent(served: Served) -> None:
    served.enqueue(b"a")
    named = environment(
        TUSD_AGENT_AGENT__SOCKET=str(served.socket), TUSD_AGENT_AGENT__STATE_DIR=str(served.database.path.parent)
    )
    ended = subprocess.run(
        [*COMMAND, "jobs", "--json"], capture_output=True, text=True, env=named, check=False, timeout=60
    )
    assert ended.returncode == 3
    assert json.loads(ended.stdout)["path"] == "/srv/out/a"
    assert "the agent is not running" in ended.stderr


def test_a_terminal_gets_colours_unless_it_wants_none(served: Served) -> None:
    served.enqueue(b"a", b"long/" + b"x" * 150)
    served.fail()
    served.server.start()
    named = {"TUSD_AGENT_AGENT__SOCKET": str(served.socket)}
    for arguments in (["status"], ["jobs"]):
        coloured = on_a_terminal(arguments, **named)
        assert "\x1b[" in coloured, arguments
        plain = on_a_terminal(arguments, NO_COLOR="1", **named)
        assert "\x1b[3" not in plain, arguments
    table = on_a_terminal(["jobs"], NO_COLOR="1", **named)
    assert "refused by the server" in table
    assert table.count("x") >= 150, "a long path is folded, not cut"


def test_why_a_job_failed_stands_below_it(served: Served) -> None:
    served.enqueue(b"a", b"b", b"c", b"d")
    for error in ("what the server said " * 6, "what the server said " * 6, "else"):
        served.fail(error, "refused")
    served.server.start()
    printed = on_a_terminal(["jobs"], NO_COLOR="1", COLUMNS="80", TUSD_AGENT_AGENT__SOCKET=str(served.socket))
    lines = [line.rstrip() for line in printed.splitlines()]
    below = " " * 9
    assert [line.split()[0] for line in lines[1:]] == ["4", "3", "refused:", "2", "refused:", "what", "1", "as"]
    assert lines[3] == f"{below}refused: else"
    assert lines[5].startswith(f"{below}refused: what the server said what the server said ")
    assert len({line.index("/srv/out/") for line in lines if "/srv/out/" in line}) == 1, "one column"


def test_what_a_user_may_not_read_is_no_wrong_argument(served: Served, tmp_path: Path) -> None:
    """root's right to everything is left behind for that."""
    served.server.start()
    served.socket.chmod(0)
    config = tmp_path / "config.toml"
    config.touch(mode=0)
    for option, exit_code, said in (
        (f"--socket={served.socket}", 1, "may not connect to"),
        (f"--config={config}", 78, "config.toml can't be read: Permission denied"),
    ):
        ended = subprocess.run(
            [sys.executable, "-m", "tests.support.unprivileged", *COMMAND, "status", option],
            capture_output=True, text=True, check=False, timeout=60, env=environment(),
        )  # fmt: skip
        assert (ended.returncode, ended.stdout) == (exit_code, "")
        assert said in ended.stderr
        assert "hint: " in ended.stderr


def test_names_reach_a_terminal_that_knows_no_unicode(served: Served) -> None:
    served.enqueue("Übergröße".encode())
    served.server.start()
    ended = subprocess.run(
        [*COMMAND, "jobs"], capture_output=True, check=True, timeout=60,
        env=environment(TUSD_AGENT_AGENT__SOCKET=str(served.socket), PYTHONIOENCODING="ascii"),
    )  # fmt: skip
    assert rb"/srv/out/\xdcbergr\xf6\xdfe" in ended.stdout


def test_a_reader_that_has_enough_is_no_error(served: Served) -> None:
    served.enqueue(*(b"%0200d" % number for number in range(3000)))
    served.server.start()
    with subprocess.Popen(
        [*COMMAND, "jobs", "--all", "--socket", str(served.socket)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert b"Traceback" not in child.stderr.read()
        child.wait(30)


@pytest.mark.parametrize(
    ("arguments", "unbuffered"), [("status", "1"), ("jobs --json", ""), ("check-config", ""), ("--help", "1")]
)
def test_an_output_that_can_not_be_written_is_said(served: Served, arguments: str, unbuffered: str) -> None:
    served.enqueue(b"a")
    served.fail()
    served.server.start()
    named = environment(TUSD_AGENT_AGENT__SOCKET=str(served.socket), PYTHONUNBUFFERED=unbuffered)
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [*COMMAND, *arguments.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=named,
            check=False,
            timeout=60,
        )
    assert ended.stderr == "tusd-agent: what it has to say can't be written: No space left on device\n"
    assert ended.returncode == 1


def test_a_named_configuration_must_be_there(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*COMMAND, "run", "--config", str(tmp_path / "none.toml")],
        capture_output=True, text=True, env=environment(), check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 78
    assert "none.toml" in ended.stderr
