"""What is drawn on: how wide and high it is, and what it can show."""

import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click

from .options import in_colour, on_terminal, stdout_encoding

T = TypeVar("T")

Paint = Callable[[str, str], str]
"""Gives a text a colour by its name: green, yellow, red."""


def plain(text: str, colour: str) -> str:
    """Leaves the text as it is."""
    return text


def coloured(text: str, colour: str) -> str:
    """As a terminal colours it."""
    return click.style(text, fg=colour)


class Page(NamedTuple):
    """`width` in columns and `height` in lines, `None`: no limit. `ellipsis` stands for what is left out."""

    width: int | None = None
    height: int | None = None
    paint: Paint = plain
    ellipsis: str = "…"


def page_of_stdout() -> Page:
    """That of stdout as it is now."""
    columns, lines = _size() if on_terminal() else (None, None)
    return Page(
        None if columns is None else max(columns, 20),
        None if lines is None else max(lines, 5),
        coloured if in_colour() else plain,
        "…" if _escaped("…") == "…" else "...",
    )


def _size() -> tuple[int, int]:
    """Columns and lines: those of the environment, then the terminal's own (shutil's takes longer to import)."""
    try:
        columns, lines = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        columns, lines = 80, 24
    given = {name: os.environ.get(name, "") for name in ("COLUMNS", "LINES")}
    own = {"COLUMNS": columns or 80, "LINES": lines or 24}
    found = {name: int(text) if text.isascii() and text.isdecimal() and int(text) else own[name]
             for name, text in given.items()}  # fmt: skip
    return found["COLUMNS"], found["LINES"]


def encodable(document: T) -> T:
    """A reply with what the encoding of stdout does not have escaped, so that it is as wide as it looks."""
    return _each_text(document)  # type: ignore[no-any-return]  # the same shape


def _each_text(document: Any) -> Any:
    if isinstance(document, str):
        return _escaped(document)
    if isinstance(document, dict):
        return {name: _each_text(value) for name, value in document.items()}
    return [_each_text(value) for value in document] if isinstance(document, list) else document


def _escaped(text: str) -> str:
    encoding = stdout_encoding()
    return text.encode(encoding, "backslashreplace").decode(encoding)
