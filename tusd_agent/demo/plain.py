"""The demonstration as plain lines, for a file, a pipe or a log: nothing is ever drawn over."""

import time
from collections.abc import Callable, Sequence

from .picture import Line, Picture, Stand, left_text, part_text, size_text
from .verify import Verdict

SECONDS_BETWEEN_LINES = 1.0
DIGEST_SHOWN = 12
HEADINGS = ("file", "size", "seconds", "SHA-256", "verdict")


class PlainScreen:
    """Writes lines to `write`, each with its line break and with the seconds since the screen was made before it."""

    def __init__(self, write: Callable[[str], object], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._monotonic = monotonic
        self._began_at = monotonic()
        self._written_at = float("-inf")
        self._arrived: set[str] = set()

    def tell(self, text: str) -> None:
        """A paragraph, as it stands."""
        self._write(f"{text}\n")

    def happened(self, text: str) -> None:
        """One line about something that has just happened."""
        self._write(f"{self._monotonic() - self._began_at:6.1f} s  {text}\n")

    def draw(self, picture: Picture) -> None:
        """At most once a second a line for each file in flight and one for all; one for each file, when it arrives."""
        for line in picture.lines:
            if line.stand is Stand.ARRIVED and line.path not in self._arrived:
                self._arrived.add(line.path)
                self.happened(f"arrived: {line.path}, {size_text(line.size_bytes)}")
        now = self._monotonic()
        if picture.over or now - self._written_at < SECONDS_BETWEEN_LINES:
            return
        self._written_at = now
        for line in picture.lines:
            if line.stand is Stand.UPLOADING:
                self.happened(progress_text(line))
        self.happened(total_text(picture))

    def table(self, verdicts: Sequence[Verdict], seconds: dict[str, float]) -> None:
        """What became of each file; `seconds` by path."""
        rows = [HEADINGS, *(table_row(verdict, seconds.get(verdict.path)) for verdict in verdicts)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
        for name, size, took, digest, verdict in rows:
            self._write(
                f"{name:<{widths[0]}}  {size:>{widths[1]}}  {took:>{widths[2]}}  {digest:<{widths[3]}}  {verdict}\n"
            )

    def close(self) -> None:
        """Nothing is held."""


def table_row(verdict: Verdict, seconds: float | None) -> tuple[str, str, str, str, str]:
    """The cells of the table, under `HEADINGS`."""
    return (
        verdict.path,
        size_text(verdict.size_bytes),
        "-" if seconds is None else f"{seconds:.1f}",
        verdict.digest[:DIGEST_SHOWN],
        "✓ equal" if verdict.equal else f"✗ {verdict.fault}",
    )


def progress_text(line: Line) -> str:
    """One file in flight, in a line."""
    percent = 100 * line.sent_bytes // line.size_bytes if line.size_bytes else 100
    return (
        f"{line.path}: {part_text(line.sent_bytes, line.size_bytes)} ({percent} %), "
        f"{size_text(line.rate_bytes_per_second)}/s, {left_text(line.eta_seconds)} left"
        + (f" ({line.why})" if line.why else "")
    )


def total_text(picture: Picture) -> str:
    """All files, in a line."""
    return (
        f"total: {picture.caption}, {part_text(picture.sent_bytes, picture.size_bytes)}, "
        f"{size_text(picture.rate_bytes_per_second)}/s, "
        f"{left_text(picture.eta_seconds)} left"
    )
