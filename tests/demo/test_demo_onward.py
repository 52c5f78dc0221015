"""After the show, on a real terminal: what is dropped is told of, until Ctrl-C."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SECONDS = 60
IN_SMALL = """
import sys
from tusd_agent.demo import show
from tusd_agent.demo.samples import MIB, Sample
show.BIG = Sample("big.bin", 2 * MIB)
show.SAMPLES = (show.BIG, Sample("empty", 0))
sys.exit(show.run_demo(once=False))
"""
CTRL_C = b"\x03"


class TerminalSession:
    """A program on a pseudo-terminal of its own (pty(7)): `seen` is what it has written so far."""

    def __init__(self, program: str, temporary: Path) -> None:
        self.controller, terminal = pty.openpty()
        self.seen = ""
        self.process = subprocess.Popen(
            # A new session, which takes the terminal as its own: so that Ctrl-C becomes a signal.
            ["setsid", "--ctty", "--wait", sys.executable, "-c", program],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40", "TMPDIR": str(temporary)},
        )
        os.close(terminal)

    def read(self) -> bool:
        """More of what it writes; False when it has ended."""
        if select.select([self.controller], [], [], 0.1)[0]:
            try:
                self.seen += os.read(self.controller, 65536).decode(errors="replace")
            except OSError:  # EIO: nobody has the terminal open any more
                return False
        return True

    def wait_for(self, words: str) -> None:
        deadline = time.monotonic() + SECONDS
        while words not in self.seen:
            assert self.read(), f"it ended without {words!r}:\n{self.seen}"
            assert time.monotonic() < deadline, f"no {words!r}:\n{self.seen}"

    def end(self) -> int:
        while self.read():
            pass
        return self.process.wait(SECONDS)

    def close(self) -> None:
        os.close(self.controller)  # which hangs up on whatever still runs there
        self.process.wait(SECONDS)


@pytest.fixture
def folder() -> Iterator[Path]:
    """For temporary files; its path is short, because that of a socket may have 107 bytes (unix(7))."""
    made = Path(tempfile.mkdtemp(prefix="ta-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def session(folder: Path) -> Iterator[TerminalSession]:
    started = TerminalSession(IN_SMALL, folder)
    yield started
    started.close()


def test_it_goes_on_watching(session: TerminalSession, folder: Path) -> None:
    session.wait_for("Ctrl-C ends everything")
    said = re.search(r"Drop files into\s+(/\S+)\s", session.seen)
    asked = re.search(r"tusd.agent\s+status --socket\s+(/\S+)\s", session.seen)
    assert said is not None
    assert asked is not None
    assert "2 of 2 files arrived exactly once" in session.seen
    (Path(said[1]) / "new").mkdir()
    (Path(said[1]) / "new" / "dropped.txt").write_text("hello")
    session.wait_for("arrived: new/dropped.txt, 5 B, SHA-256 2cf24dba5fb0 ✓ equal")
    status = subprocess.run(
        [sys.executable, "-m", "tusd_agent", "status", "--socket", asked[1]],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert (status.returncode, status.stderr) == (0, "")
    assert "3 done" in status.stdout
    os.write(session.controller, CTRL_C)
    assert session.end() == 0
    assert session.seen.rstrip().endswith("Nothing runs any more, and the folder is removed.")
    assert list(folder.iterdir()) == []


def test_a_terminal_that_goes_away_ends_it(session: TerminalSession, folder: Path) -> None:
    session.wait_for("Ctrl-C ends everything")
    session.close()
    session.controller = os.open(os.devnull, os.O_RDONLY)
    assert list(folder.iterdir()) == []
