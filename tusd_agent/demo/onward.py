"""After the show, on a terminal: the agent goes on watching, and each file somebody drops is told of and compared."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

from ..config import printable
from ..control.client import ControlClient, ControlError, NoAnswer
from ..control.replies import InFlight, Status
from .drawing import Screen
from .picture import Line, Picture, flying, size_text
from .plain import DIGEST_SHOWN
from .signals import Interrupted, Signals
from .stage import Stage
from .verify import Stored, sha256, stored

TICK_SECONDS = 0.2


def go_on(stage: Stage, screen: Screen, signals: Signals) -> None:
    """Watches what is dropped into the folder, and tells of each arrival, until a signal ends it."""
    agent = ControlClient(stage.socket)
    known = {upload.file for upload in stored(stage.uploads)}
    screen.tell(
        "\nThe agent goes on watching. Drop files into\n"
        f"  {printable(str(stage.watched))}\n"
        "and ask it, in another terminal:\n"
        f"  {_command()} status --socket {printable(str(stage.socket))}\n"
        "Ctrl-C ends everything and removes the folder.\n"
    )
    try:
        while True:
            signals.sleep(TICK_SECONDS)
            tell_warnings(stage, screen)
            for upload in stored(stage.uploads, known):
                if upload.complete:
                    known.add(upload.file)
                    screen.happened(arrival_text(upload, stage.watched, signals.check))
            try:
                screen.draw(_picture(cast(Status, agent.get("/v1/status")), stage.watched))
            except (NoAnswer, ControlError):
                continue  # it may be busy just now
    except Interrupted:
        screen.close()


def tell_warnings(stage: Stage, screen: Screen) -> None:
    """What the agent warns of, a line each."""
    for warning in stage.log.new_warnings():
        screen.happened(f"agent: {printable(warning)}")


def arrival_text(upload: Stored, watched: Path, check: Callable[[], None]) -> str:
    """What to say of an upload that is complete: whether it is what lies in the watched folder now.

    `check` is called before each block that is read: what it raises comes through.
    """
    digest, size_bytes = sha256(upload.file, check)
    name = printable(upload.relative_path) or "a file whose name this server could not keep"
    told = f"arrived: {name}, {size_text(size_bytes)}, SHA-256 {digest[:DIGEST_SHOWN]}"
    own = watched / upload.relative_path
    try:
        # The name comes from a client of the server, and anybody on this machine may be one.
        if not own.is_relative_to(watched) or ".." in own.parts:
            raise FileNotFoundError
        own_digest, _ = sha256(own, check)
    except (OSError, ValueError):  # ValueError: no name that a file can have
        return f"{told}; nothing in the folder to compare with"
    return f"{told} ✓ equal" if own_digest == digest else f"{told} ✗ the file in the folder is another now"


def _picture(status: Status, watched: Path) -> Picture:
    lines = tuple(_line(flight, watched) for flight in status["in_flight"])
    waiting = status["jobs"]["pending"] + sum(folder["settling"] for folder in status["folders"])
    caption = f"{len(lines)} uploading, {waiting} waiting"
    return Picture(caption, lines, sum(line.rate_bytes_per_second for line in lines))


def _line(flight: InFlight, watched: Path) -> Line:
    return flying(flight["path"].removeprefix(f"{watched}/"), flight)


def _command() -> str:
    """How this program was called: its plain name need not be on the PATH."""
    called = sys.argv[0]
    return printable(called) if os.path.basename(called) == "tusd-agent" else f"{sys.executable} -m tusd_agent"
