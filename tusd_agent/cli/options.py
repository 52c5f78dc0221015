"""What several commands share: options, output, and how a command ends when it can't do what it was asked."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

EXIT_FAILED = 1
EXIT_NOT_RUNNING = 3
EXIT_NO_ANSWER = 4
EXIT_BAD_CONFIG = 78
"""EX_CONFIG of sysexits.h; the unit does not restart after it."""

F = TypeVar("F", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path, readable=False)  # whether it can be read is said by who reads it


def config_option(command: F) -> F:
    """``--config FILE``."""
    return click.option("--config", type=_PATH, metavar="FILE", help="The configuration file.")(command)


def socket_option(command: F) -> F:
    """``--socket PATH``."""
    return click.option("--socket", type=_PATH, metavar="PATH", help="The agent's control socket.")(command)


def json_option(command: F) -> F:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def stdout_encoding() -> str:
    """That of stdout, which may be closed or something else's."""
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def say(text: str) -> None:
    """A line on stdout; what its encoding does not have is escaped."""
    encoding = stdout_encoding()
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding))


def say_json(document: object, indent: int | None = 2) -> None:
    """JSON on stdout, in ASCII: it is the same in every locale."""
    click.echo(json.dumps(document, indent=indent))


def warn(text: str) -> None:
    """A line on stderr."""
    click.echo(text.encode("utf-8", "backslashreplace").decode("utf-8"), err=True)


def fail(message: str, hint: str, exit_code: int) -> NoReturn:
    """Says what happened and what to do, and ends the command."""
    warn(f"tusd-agent: {message}")
    if hint:
        warn(f"hint: {hint}")
    raise SystemExit(exit_code)


def on_terminal() -> bool:
    """Whether a person looks at stdout."""
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def in_colour() -> bool:
    """Whether stdout may be coloured (https://no-color.org)."""
    return on_terminal() and not os.environ.get("NO_COLOR")
