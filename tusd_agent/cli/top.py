"""``tusd-agent top``: the screen of ``status``, live."""

import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import click

from ..control.replies import Status
from .find import AgentPaths
from .options import EXIT_FAILED, config_option, fail, in_colour, on_terminal, socket_option
from .page import encodable, page_of_stdout
from .top_screen import frame
from .views import StoppedStatus, Unseen, find, look

EVERY_SECONDS = 1.0


@click.command("top")
@click.option(
    "--every", "every_seconds", type=click.FloatRange(0.1, 3600), default=EVERY_SECONDS, show_default=True,
    metavar="SECONDS", help="How often the agent is asked.",
)  # fmt: skip
@config_option
@socket_option
def top_command(every_seconds: float, config: Path | None, socket: Path | None) -> None:
    """Watch the agent live, until q or Ctrl-C.

    It goes on when the agent is restarted, and shows the database of one that does not run.

    Example: tusd-agent top
    """
    if not on_terminal():
        fail("top needs a terminal", "tusd-agent status --watch prints again and again", EXIT_FAILED)
    paths = find(socket, config)
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    asking = _Asking(paths, every_seconds, wake_write)
    with suppress(KeyboardInterrupt), _woken_by_resizing(wake_write), _keys_at_once():
        _draw(asking, wake_read)


class _Asking:
    """Asks the agent again and again, in a thread of its own: one that hangs must not keep a key from being seen."""

    def __init__(self, paths: AgentPaths, every_seconds: float, wake: int) -> None:
        self._paths = paths
        self._every_seconds = every_seconds
        self._wake = wake
        self.latest: tuple[Status | StoppedStatus | None, list[str]] = (None, ["asking the agent"])
        threading.Thread(target=self._loop, name="asking", daemon=True).start()

    def _loop(self) -> None:
        while True:
            notes: list[str] = []
            try:
                status, _ = look(self._paths, lambda view: view.status(), notes.append)
                self.latest = (encodable(status), encodable(notes))
            except Unseen as unseen:
                words = [*notes, f"tusd-agent: {unseen}", *([f"hint: {unseen.hint}"] if unseen.hint else [])]
                self.latest = (None, encodable(words))
            with suppress(OSError):  # full: it will be looked at anyway
                os.write(self._wake, b".")
            threading.Event().wait(self._every_seconds)


def _draw(asking: _Asking, wake: int) -> None:
    """Draws what is known, whenever that or the terminal's size changes, until q."""
    # Only who watches pays for it.
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(no_color=not in_colour(), highlight=False)
    watched = [wake, *([sys.stdin.fileno()] if _has_keys() else [])]
    with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        while True:
            page = page_of_stdout()
            text = Text.from_ansi("\n".join(frame(*asking.latest, page)), no_wrap=True, overflow="crop")
            live.update(text, refresh=True)
            ready, _, _ = select.select(watched, [], [])
            if wake in ready:
                with suppress(BlockingIOError):
                    os.read(wake, 65536)
            if any(one != wake for one in ready) and _ends(os.read(sys.stdin.fileno(), 64)):
                return


def _ends(keys: bytes) -> bool:
    """q, or the end of the input: the terminal is gone."""
    return not keys or b"q" in keys or b"Q" in keys


def _has_keys() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


@contextmanager
def _keys_at_once() -> Iterator[None]:
    """Keys are read as they are pressed, and not shown; afterwards the terminal is as it was."""
    if not _has_keys():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextmanager
def _woken_by_resizing(wake: int) -> Iterator[None]:
    """A new size of the terminal is drawn at once; SIGTERM and SIGHUP end it as Ctrl-C does, in good order."""

    def resized(number: int, at: FrameType | None) -> None:
        with suppress(OSError):
            os.write(wake, b".")

    def ended(number: int, at: FrameType | None) -> None:
        raise KeyboardInterrupt

    handlers: Sequence[tuple[signal.Signals, object]] = (
        (signal.SIGWINCH, resized), (signal.SIGTERM, ended), (signal.SIGHUP, ended),
    )  # fmt: skip
    before = [(number, signal.signal(number, handler)) for number, handler in handlers]  # type: ignore[arg-type]  # each is one
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
