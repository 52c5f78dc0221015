"""``tusd-agent upload`` on a terminal: bars, little room, few characters, and an end in the middle."""

import io
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from tests.servers import Server
from tests.support.files import wait_for, write
from tusd_agent.cli.upload_bars import Bars
from tusd_agent.cli.upload_drawing import Outcome, Retry
from tusd_agent.tus import TUSUploadError

UNRESOLVED = """
import socket, sys, time
socket.getaddrinfo = lambda *arguments: print("resolving", file=sys.stderr, flush=True) or time.sleep(60)
from tusd_agent.cli import main
main()
"""


class Terminal:
    """A command that runs on a terminal of its own, and what it has written there so far."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self._controller, terminal = pty.openpty()
        os.set_blocking(self._controller, False)
        everything = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **environment}
        everything.pop("NO_COLOR", None)
        self.process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=everything)
        os.close(terminal)
        self.written = b""

    def read(self) -> str:
        """All that was written."""
        with suppress(OSError):  # EAGAIN: nothing new; EIO: the command has ended
            while more := os.read(self._controller, 65536):
                self.written += more
        return self.written.decode()

    def exit_code(self) -> int:
        def ended() -> bool:
            self.read()  # else it would wait for room
            return self.process.poll() is not None

        wait_for(ended, 30, "the end of the command")
        self.read()
        os.close(self._controller)
        return self.process.wait()


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_a_terminal_that_has_ascii_only(embedded_server: Server, tmp_path: Path) -> None:
    write(tmp_path / "é", 10)
    command = [sys.executable, "-m", "tusd_agent", "upload", "--endpoint", embedded_server.url]
    terminal = Terminal([*command, str(tmp_path / "é"), str(tmp_path / "missing")], {"PYTHONIOENCODING": "ascii"})
    assert terminal.exit_code() == 1
    written = terminal.written.decode("ascii")
    assert f"OK {tmp_path}/\\xe9 -> {embedded_server.url}" in written
    assert f"FAILED {tmp_path}/missing: File not found" in written


def test_the_second_interrupt_ends_it_and_leaves_the_terminal_in_order(tmp_path: Path) -> None:
    """Name resolution can not be called off: whoever does not want to wait asks twice."""
    write(tmp_path / "f", 10)
    arguments = ["upload", "--endpoint", "http://files.invalid/", str(tmp_path / "f")]
    terminal = Terminal([sys.executable, "-c", UNRESOLVED, *arguments], {})
    wait_for(lambda: "resolving" in terminal.read(), 30, "the wait for the name")
    assert "\x1b[?25l" in terminal.read()  # the cursor is hidden

    def asked_again() -> bool:
        terminal.process.send_signal(signal.SIGINT)  # two at once would be one
        return terminal.process.poll() is not None

    wait_for(asked_again, 30, "the end")
    assert terminal.exit_code() == 130
    assert "\x1b[?25h" in terminal.written.decode().rpartition("\x1b[?25l")[2]


@pytest.mark.parametrize("width", [60, 80])
def test_what_does_not_fit_is_cut_not_wrapped(width: int) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None)
    with Bars(["/srv/run-0042.h5", "/srv/other"], "http://files.example.org:1080/files/", console) as bars:
        bars.began(0)
        bars.moved(0, 1 << 20, 12 << 20)
        bars.moved(0, 3 << 20, 12 << 20)
        bars.began(1)
        bars._progress.refresh()
        frame = re.split(r"\x1b\[2K", screen.getvalue())[-1].splitlines()
        assert [line.split()[0] for line in frame] == ["all", "run-0042.h5", "other"]
        assert "3.0/12.0 MiB" in frame[1]
        bars.ended(Outcome(0, "/srv/run-0042.h5", "http://h/1", 12 << 20))


def test_bars() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with Bars(["/srv/[bold]one", "/srv/" + "x" * 60], "http://h/", console) as bars:
        bars.began(0)
        bars.began(1)
        bars.moved(0, 50, 100)
        bars.moved(1, 1, 2)
        bars.ended(Outcome(0, "/srv/[bold]one", "http://h/1", 100, 100))
        bars.ended(Outcome(1, "/srv/x", error=ValueError("it broke")))
    shown = screen.getvalue()
    assert "✅ /srv/[bold]one → http://h/1" in shown
    assert "❌ /srv/x: it broke" in shown
    assert "all files" in shown


def test_bars_speak_of_powers_of_1024_only() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=200, color_system=None)
    with Bars(["/srv/one"], "http://h/", console) as bars:
        bars.began(0)
        for step in range(1, 40):
            bars.moved(0, step << 20, 40 << 20)
        bars.moved(0, 40 << 20, 40 << 20)
    shown = screen.getvalue()
    assert "40.0/40.0 MiB" in shown
    assert "iB/s" in shown
    assert not re.search(r"\d [kMGTP]B", shown)


def test_bars_say_what_is_waited_for() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=200, color_system=None)
    error = TUSUploadError("POST http://h/: no answer (Connection refused)")
    with Bars(["/srv/[b]one"], "http://h/files/", console) as bars:
        bars.began(0)
        assert "asking http://h/files/" in shown_by(bars, screen)
        bars.retrying(Retry(0, "/srv/[b]one", error, 2, 6, 0.84))
        bars.retrying(Retry(0, "/srv/[b]one", error, 3, 6, 1.5))
        assert "attempt 3 of 6 in 1.5 s" in shown_by(bars, screen)
        bars.moved(0, 1, 2)
        bars.ended(Outcome(0, "/srv/[b]one", "http://h/1", 2, 2))
    assert screen.getvalue().count("/srv/[b]one: POST http://h/: no answer (Connection refused)") == 1


def shown_by(bars: Bars, screen: io.StringIO) -> str:
    bars._progress.refresh()  # as its own thread does, ten times a second
    return screen.getvalue()
