"""The demonstration drawn with rich: a line with a bar for each file, redrawn in place, and one for all of them."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TextIO

from rich.console import Console, OverflowMethod, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .picture import Line, Picture, Stand, left_text, part_text, size_text
from .plain import HEADINGS, PlainScreen, table_row
from .verify import Verdict

BAR_WIDTH = 16
WIDE_ENOUGH_FOR_BARS = 72
SIZE_WIDTH = 18
RATE_WIDTH = 11
LEFT_WIDTH = 6
WIDEST = 110
"""In columns: beyond that a bar would be too far from its file's name for the eye to follow."""
OTHER_LINES = 4
"""Lines of the terminal that the list of files leaves free."""


class Screen(Protocol):
    """What the demonstration shows itself on."""

    def tell(self, text: str) -> None:
        """A paragraph, as it stands."""

    def happened(self, text: str) -> None:
        """One line about something that has just happened."""

    def draw(self, picture: Picture) -> None:
        """How far it has come."""

    def table(self, verdicts: Sequence[Verdict], seconds: dict[str, float]) -> None:
        """What became of each file; `seconds` by path."""

    def close(self) -> None:
        """Leaves the terminal as it was."""


def open_screen(stream: TextIO) -> Screen:
    """A drawing on a terminal that can be drawn on, plain lines on everything else."""
    if stream.isatty():
        console = Console(file=stream, highlight=False, markup=False, emoji=False)
        if not console.is_dumb_terminal:
            return TerminalScreen(console)

    def write(text: str) -> None:
        stream.write(text)
        stream.flush()  # a pipe would keep it back for kilobytes

    return PlainScreen(write)


class TerminalScreen:
    """Draws on `console`; what is told stays above the drawing."""

    def __init__(self, console: Console, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._monotonic = monotonic
        self._began_at = monotonic()
        self._live: Live | None = None

    def tell(self, text: str) -> None:
        """A paragraph, as it stands."""
        self._console.print(text, soft_wrap=True)

    def happened(self, text: str) -> None:
        """One line about something that has just happened."""
        seconds = Text(f"{self._monotonic() - self._began_at:6.1f} s  ", style="dim")
        self._console.print(seconds + Text(text))

    def draw(self, picture: Picture) -> None:
        """Replaces what was drawn before."""
        most_lines = max(1, self._console.height - OTHER_LINES)
        drawn = drawing(picture, self._console.width, most_lines, self._console.encoding)
        if self._live is None:
            self._live = Live(drawn, console=self._console, auto_refresh=False, redirect_stdout=False)
            self._live.start()
        self._live.update(drawn, refresh=True)

    def table(self, verdicts: Sequence[Verdict], seconds: dict[str, float]) -> None:
        """What became of each file; `seconds` by path. Ends the drawing."""
        self.close()
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in HEADINGS:
            right = heading in {"size", "seconds"}
            # Where it is narrow the names fold: neither they nor the verdict may be cut off.
            folds = heading in {"file", "verdict"}
            table.add_column(heading, justify="right" if right else "left", no_wrap=not folds, overflow="fold")
        for verdict in verdicts:
            *cells, judged = table_row(verdict, seconds.get(verdict.path))
            named = (Text(_encodable(cell, self._console.encoding)) for cell in cells)
            table.add_row(*named, Text(judged, style="green" if verdict.equal else "bold red"))
        self._console.print(table)

    def close(self) -> None:
        """Leaves what was drawn last where it is, and the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def drawing(picture: Picture, width: int, most_lines: int, encoding: str = "utf-8") -> RenderableType:
    """Every file, or those that matter now when there are more than `most_lines`, and all of them together.

    What `encoding` does not have is escaped before it is measured, and marks that it does not have are left out.
    """
    with_bars = width >= WIDE_ENOUGH_FOR_BARS
    table = Table.grid(padding=(0, 1), expand=True)
    table.width = min(width, WIDEST)
    table.add_column(width=1)
    overflow: OverflowMethod = "ellipsis" if _encodable("…", encoding) == "…" else "crop"
    table.add_column(ratio=1, no_wrap=True, overflow=overflow)
    if with_bars:
        table.add_column(width=BAR_WIDTH, no_wrap=True)
    for column_width in (SIZE_WIDTH, RATE_WIDTH, LEFT_WIDTH):
        table.add_column(width=column_width, justify="right", no_wrap=True, overflow=overflow)

    def add(mark: Text, name: Text, sent_bytes: int, size_bytes: int, *figures: Text) -> None:
        # An empty file is all there, not all to come.
        bar = ProgressBar(total=max(size_bytes, 1), completed=sent_bytes if size_bytes else 1)
        size = Text(part_text(sent_bytes, size_bytes))
        table.add_row(mark, name, *([bar] if with_bars else []), size, *figures)

    table.add_row()
    for line in _foremost(picture.lines, most_lines):
        mark, *figures = _words(line)
        mark = mark if _encodable(mark.plain, encoding) == mark.plain else Text()
        add(mark, Text(_encodable(line.path, encoding)), line.sent_bytes, line.size_bytes, *figures)
    caption = Text(picture.caption, style="bold")
    if picture.lines:
        table.add_row()
        rate, left = Text(f"{size_text(picture.rate_bytes_per_second)}/s"), Text(left_text(picture.eta_seconds))
        add(Text(), caption, picture.sent_bytes, picture.size_bytes, rate, left)
    else:
        table.add_row(Text(), caption)
    return table


def _encodable(text: str, encoding: str) -> str:
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _foremost(lines: Sequence[Line], most_lines: int) -> Sequence[Line]:
    if len(lines) <= most_lines:
        return lines
    order = (Stand.UPLOADING, Stand.WAITING, Stand.SETTLING, Stand.LEFT, Stand.ARRIVED)
    return sorted(lines, key=lambda line: order.index(line.stand))[:most_lines]


def _words(line: Line) -> tuple[Text, Text, Text]:
    """The mark before a file's name, and the two figures or words at the end of its line."""
    match line.stand:
        case Stand.ARRIVED:
            took = "" if line.seconds is None else f"{line.seconds:.1f} s"
            return Text("✓", style="green"), Text("arrived", style="green"), Text(took)
        case Stand.UPLOADING:
            return Text("↑"), Text(f"{size_text(line.rate_bytes_per_second)}/s"), Text(left_text(line.eta_seconds))
        case Stand.LEFT:
            return Text("✗", style="bold red"), Text("not sent", style="red"), Text()
        case _:
            return Text(), Text(str(line.stand), style="dim"), Text()
