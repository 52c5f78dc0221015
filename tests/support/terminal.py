"""A terminal for a command to run on: of any size, and with what is to be seen on it."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress

from .files import wait_for

_SEQUENCE = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])|\x1b[()][A-Z0-9]|\x1b\][^\x07]*\x07|\x1b[=>78]")

_END = b"\x1b]end\x07"


class Terminal:
    """A command on a terminal of `columns` and `lines`; `environment` goes over this process's own, `None` removes."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str | None],
        *,
        columns: int = 80,
        lines: int = 24,
    ) -> None:
        self._controller, terminal = pty.openpty()
        os.set_blocking(self._controller, False)
        self.resize(columns, lines)
        self.before = termios.tcgetattr(terminal)
        ours = dict.fromkeys(("COLUMNS", "LINES", "NO_COLOR"))
        given = {**os.environ, "TERM": "xterm-256color", **ours, **environment}
        self.process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={name: value for name, value in given.items() if value is not None},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0) and None,  # Ctrl-C is a signal from now on
        )
        self._terminal = terminal
        self.written = b""

    def resize(self, columns: int, lines: int) -> None:
        """Tells of the size; the command itself is told by `SIGWINCH`."""
        self.columns, self.lines = columns, lines
        fcntl.ioctl(self._controller, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if hasattr(self, "process"):
            self.process.send_signal(signal.SIGWINCH)

    def press(self, keys: str) -> None:
        os.write(self._controller, keys.encode())

    def read(self) -> str:
        """All that was written, as the terminal's encoding may be: what is no UTF-8 is taken for latin-1."""
        with suppress(OSError):  # EAGAIN: nothing new; EIO: the command has ended
            while more := os.read(self._controller, 65536):
                self.written += more
        try:
            return self.written.decode()
        except UnicodeDecodeError:
            return self.written.decode("latin-1")

    def wait_for(self, words: str, seconds: float = 30) -> str:
        """What was written, once the words are in it."""
        wait_for(lambda: words in self.read(), seconds, f"{words!r} on the terminal")
        return self.read()

    def exit_code(self) -> int:
        """Waits for the end."""

        def ended() -> bool:
            self.read()  # else it would wait for room
            return self.process.poll() is not None

        wait_for(ended, 60, "the end of the command")
        # What it wrote last may still be on its way: it is here once what is written after it is.
        os.write(self._terminal, _END)

        def all_is_here() -> bool:
            self.read()
            return self.written.endswith(_END)

        wait_for(all_is_here, 60, "all that the command wrote")
        self.written = self.written.removesuffix(_END)
        return self.process.wait()

    @property
    def is_as_it_was(self) -> bool:
        """Whether the terminal's own settings are those of the beginning."""
        return termios.tcgetattr(self._terminal) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._controller)
        os.close(self._terminal)


def printed_lines(written: str) -> list[str]:
    """The lines as they were written, without what moves the cursor and gives colours."""
    return [_SEQUENCE.sub("", line) for line in re.split(r"\r+\n?|\n|\x1b\[(?:\d*;?\d*)H", written)]


def columns_of(line: str) -> int:
    """How many columns the line takes."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in line)
    return len(line) + wide - sum(unicodedata.combining(char) != 0 for char in line)


def too_wide(written: str, columns: int) -> list[str]:
    """The lines that do not fit."""
    return [line for line in printed_lines(written) if columns_of(line) > columns]
