"""The progress bars of ``tusd-agent upload`` on a terminal: one for each file under way, one for all together."""

import io
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from .options import in_colour
from .upload_drawing import Outcome, Plain, Retry, line, printable
from .words import rate

_NAME_COLUMNS = 32
_SHOW_CURSOR = b"\x1b[?25h\n"


class _Speed(ProgressColumn):
    """In powers of 1024, as all other sizes; the column that comes with rich counts in thousands."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else rate(speed), style="progress.data.speed")


class _Note(ProgressColumn):
    """The first to be cut short where there is little room."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields["note"]), no_wrap=True, overflow="ellipsis")


class Bars(Plain):
    """Bars below, the lines of finished files above them. Until bytes move a bar says what is being waited for."""

    def __init__(self, files: Sequence[str], where: str, console: Console | None = None) -> None:
        super().__init__(where)
        self._files = files
        if console is None and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # names of files, and rich's own ellipsis
        self._console = console or Console(no_color=not in_colour(), highlight=False)
        self._progress = Progress(
            TextColumn("{task.fields[name]}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True, table_column=Column(no_wrap=True)),
            _Speed(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            _Note(),
            console=self._console,
        )
        self._lock = threading.Lock()
        self._bars: dict[int, TaskID] = {}
        self._moved = dict.fromkeys(range(len(files)), 0)
        self._total: TaskID | None = None

    def began(self, index: int) -> None:
        with self._lock:
            self._bars[index] = self._progress.add_task(
                "", name=_short(self._files[index]), total=None, note=f"asking {self._where}"
            )

    def moved(self, index: int, current: int, total: int) -> None:
        with self._lock:
            bar = self._bars[index]
            if self._moved[index] == 0:
                # The speed and the remaining time are of what moves now, not of what the server had already.
                self._progress.reset(bar, completed=current, total=total)
            self._progress.update(bar, completed=current, total=total, note="")
            self._advance(index, current)

    def retrying(self, retry: Retry) -> None:
        with self._lock:
            self._progress.update(self._bars[retry.index], note=retry.due)
            news = self._news(retry)
            if news:
                self._console.print(Text(news), soft_wrap=True)

    def ended(self, outcome: Outcome) -> None:
        with self._lock:
            bar = self._bars.pop(outcome.index, None)
            if bar is not None:
                self._progress.remove_task(bar)
            if outcome.ok:
                self._advance(outcome.index, outcome.size)
            # By then sys.stdout is rich's, which does not say its encoding.
            self._console.print(Text(line(outcome, self._console.encoding)), soft_wrap=True)

    def summary(self, files: int, failed: int, left: int = 0) -> None:
        self._progress.stop()
        super().summary(files, failed, left)

    def abandon(self) -> None:
        # By itself: rich may be in the middle of something, its locks held.
        if self._console.is_terminal:
            os.write(self._console.file.fileno(), _SHOW_CURSOR)

    def __enter__(self) -> Self:
        self._progress.start()
        if len(self._files) > 1:
            whole = sum(_size_of(file) for file in self._files)
            self._total = self._progress.add_task("", name="all files", total=whole, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def _advance(self, index: int, current: int) -> None:
        self._moved[index] = current
        if self._total is not None:
            self._progress.update(self._total, completed=sum(self._moved.values()))


def _short(file: str) -> str:
    name = printable(os.path.basename(file))
    return name if len(name) <= _NAME_COLUMNS else f"…{name[1 - _NAME_COLUMNS :]}"


def _size_of(file: str) -> int:
    with suppress(OSError):
        return os.stat(file).st_size
    return 0
