"""What commands look like on real terminals: narrow and wide ones, without colours, without Unicode, resized, cut."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli import test_cli_status_screen as replies
from tests.control.served import Served
from tests.support.files import wait_for
from tests.support.terminal import Terminal, too_wide
from tusd_agent.control.replies import Status
from tusd_agent.control.server import ControlServer

COMMAND = [sys.executable, "-m", "tusd_agent"]
LONG = "/srv/Gerät-" + "instrument/" * 12 + "Ergebnis-0042.h5"
Open = Callable[..., Terminal]


@dataclass
class Busy:
    """An agent that has much to tell."""

    served: Served
    status: Status

    @property
    def options(self) -> list[str]:
        return ["--socket", str(self.served.socket)]

    def restart(self) -> None:
        """Another one on the same socket."""
        self.served.server = ControlServer(self.served.socket, self.served.commands, deadline_seconds=30)
        self.served.server.start()


@pytest.fixture
def busy(served: Served, tmp_path: Path) -> Busy:
    busy = Busy(
        served,
        replies.status(
            state="degraded",
            reasons=["endpoint far: out of reach: nobody there " + "at all " * 20],
            folders=[replies.folder(LONG), replies.folder("/srv/b", jobs=replies.jobs(failed=3, held=2))],
            endpoints=[
                replies.endpoint(rate_bytes_per_second=1e7, in_flight=12, answered_at=replies.NOW - 3),
                replies.endpoint(name="far", breaker="open", reason="out of reach: x", next_probe_at=replies.NOW + 9),
            ],
            in_flight=[replies.upload(number, path=LONG) for number in range(12)],
        ),
    )
    served.commands.status = lambda: busy.status
    served.server.start()
    return busy


@pytest.fixture
def open_terminal() -> Iterator[Open]:
    opened: list[Terminal] = []

    def open_one(*arguments: str, columns: int = 80, lines: int = 24, **environment: str) -> Terminal:
        opened.append(Terminal([*COMMAND, *arguments], environment, columns=columns, lines=lines))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.close()


@pytest.mark.parametrize("columns", [80, 200])
def test_status_fits(busy: Busy, open_terminal: Open, columns: int) -> None:
    terminal = open_terminal("status", *busy.options, columns=columns)
    assert terminal.exit_code() == 0
    written = terminal.read()
    assert too_wide(written, columns) == []
    assert "Ergebnis-0042.h5" in written
    assert "\x1b[31mdegraded" in written
    assert "Traceback" not in written


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_knows_few_characters_and_no_colours(busy: Busy, open_terminal: Open, encoding: str) -> None:
    for command in (["status"], ["top"]):
        environment = {"PYTHONIOENCODING": encoding, "NO_COLOR": "1", "LC_ALL": "C"}
        terminal = open_terminal(*command, *busy.options, lines=40, **environment)
        terminal.wait_for("Speed:")
        if command == ["top"]:
            terminal.press("q")
        assert terminal.exit_code() == 0
        written = terminal.read()
        assert too_wide(written, 80) == []
        assert "\x1b[3" not in written, "no colours"
        assert "..." in written
        assert "Traceback" not in written


def test_names_that_a_terminal_has_no_characters_for(busy: Busy, open_terminal: Open) -> None:
    busy.served.enqueue("Gerät/漢字.dat".encode())
    busy.served.fail("é")
    for command in (["jobs"], ["show", "1"], ["errors"]):
        terminal = open_terminal(*command, *busy.options, PYTHONIOENCODING="ascii", LC_ALL="C")
        assert terminal.exit_code() == 0
        written = terminal.read()
        assert too_wide(written, 80) == []
        assert "Traceback" not in written
        assert r"Ger\xe4t" in written.replace("\r\n", "").replace(" ", "")


def test_what_is_piped_is_whole(busy: Busy) -> None:
    ended = subprocess.run([*COMMAND, "status", *busy.options], capture_output=True, text=True, check=True, timeout=60)
    assert f"{LONG} " in ended.stdout
    assert "\x1b" not in ended.stdout


def test_status_again_and_again(busy: Busy, open_terminal: Open) -> None:
    terminal = open_terminal("status", "--watch", "0.2", *busy.options, lines=20)
    terminal.wait_for("\x1b[H", 30)
    terminal.wait_for("more lines: make the terminal higher")
    busy.served.server.stop()
    terminal.wait_for("the agent is not running")
    busy.status = replies.status(version="9.9.9")
    busy.restart()
    terminal.wait_for("9.9.9")
    terminal.press("\x03")
    assert terminal.exit_code() == 0
    written = terminal.read()
    assert too_wide(written, 80) == []
    assert "Traceback" not in written


@pytest.mark.heavy
def test_status_again_and_again_into_a_pipe(busy: Busy) -> None:
    with subprocess.Popen(
        [*COMMAND, "status", "--watch", "0.1", "--json", *busy.options], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        lines = [child.stdout.readline() for _ in range(3)]
        child.stdout.close()
        assert all(line.startswith(b'{"') for line in lines)
        assert b"Traceback" not in child.stderr.read()
        child.wait(30)


@pytest.mark.parametrize("columns", [80, 200])
def test_top_shows_it_live_and_leaves_the_terminal_as_it_was(busy: Busy, open_terminal: Open, columns: int) -> None:
    terminal = open_terminal("top", "--every", "0.2", *busy.options, columns=columns)
    terminal.wait_for("IN FLIGHT")
    assert not terminal.is_as_it_was, "keys are not shown"
    busy.served.server.stop()
    terminal.wait_for("the agent is not running")
    busy.status = replies.status(version="9.9.9")
    busy.restart()
    terminal.wait_for("9.9.9")
    terminal.resize(40, 10)
    wait_for(lambda: not too_wide(terminal.read().rpartition("\x1b[H")[2], 40), 30, "a frame of the new size")
    terminal.press("q")
    assert terminal.exit_code() == 0
    written = terminal.read()
    assert too_wide(written, columns) == []
    assert "\x1b[?1049h" in written
    assert written.rpartition("\x1b[?1049")[2].startswith("l"), "what was there before is back"
    assert written.rpartition("\x1b[?25")[2].startswith("h"), "and so is the cursor"
    assert terminal.is_as_it_was


@pytest.mark.parametrize("end", ["Ctrl-C", "SIGTERM", "hang-up"])
def test_top_however_it_ends(busy: Busy, open_terminal: Open, end: str) -> None:
    terminal = open_terminal("top", *busy.options)
    terminal.wait_for("IN FLIGHT")
    if end == "Ctrl-C":
        terminal.press("\x03")
    elif end == "SIGTERM":
        terminal.process.terminate()
    else:
        with suppress(OSError):
            terminal.process.send_signal(1)
    assert terminal.exit_code() == 0
    assert terminal.is_as_it_was
    written = terminal.read()
    assert "Traceback" not in written
    assert written.rpartition("\x1b[?1049")[2].startswith("l")


def test_top_needs_a_terminal(busy: Busy) -> None:
    ended = subprocess.run(
        [*COMMAND, "top", *busy.options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "tusd-agent: top needs a terminal\nhint: tusd-agent status --watch prints again and again\n"


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("columns", "environment"), [(80, {}), (200, {}), (80, {"NO_COLOR": "1", "PYTHONIOENCODING": "ascii"})]
)
def test_the_demonstration_fits(open_terminal: Open, columns: int, environment: dict[str, str]) -> None:
    terminal = open_terminal("demo", columns=columns, **environment)
    terminal.wait_for("Ctrl-C ends everything", 120)
    terminal.press("\x03")
    assert terminal.exit_code() == 0
    written = terminal.read()
    # Addresses and commands are there to be copied: they stand on one line however long it is.
    assert [line for line in too_wide(written, columns) if "/tmp" not in line] == []
    assert ("\x1b[3" in written) is ("NO_COLOR" not in environment)
    assert "Traceback" not in written
