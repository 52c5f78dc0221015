"""The progress bars of ``tusd-agent upload`` on a terminal: one for each file under way, one for all together."""

import os
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
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from .options import in_colour
from .upload_drawing import Outcome, Plain, line, printable

_NAME_COLUMNS = 32


class Bars(Plain):
    """Bars below, the lines of finished files above them."""

    def __init__(self, files: Sequence[str], console: Console | None = None) -> None:
        self._files = files
        self._console = console or Console(no_color=not in_colour(), highlight=False)
        self._progress = Progress(
            TextColumn("{task.fields[name]}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._lock = threading.Lock()
        self._bars: dict[int, TaskID] = {}
        self._moved = dict.fromkeys(range(len(files)), 0)
        self._total: TaskID | None = None

    def moved(self, index: int, current: int, total: int) -> None:
        with self._lock:
            if index not in self._bars:
                # The speed and the remaining time are of what moves now, not of what the server had already.
                self._bars[index] = self._progress.add_task("", name=_short(self._files[index]), completed=current)
            self._progress.update(self._bars[index], completed=current, total=total)
            self._advance(index, current)

    def ended(self, outcome: Outcome) -> None:
        with self._lock:
            bar = self._bars.pop(outcome.index, None)
            if bar is not None:
                self._progress.remove_task(bar)
            if outcome.ok:
                self._advance(outcome.index, outcome.size)
            self._console.print(Text(line(outcome)), soft_wrap=True)

    def summary(self, files: int, failed: int, left: int = 0) -> None:
        self._progress.stop()
        super().summary(files, failed, left)

    def __enter__(self) -> Self:
        self._progress.start()
        if len(self._files) > 1:
            whole = sum(_size_of(file) for file in self._files)
            self._total = self._progress.add_task("", name="all files", total=whole)
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
