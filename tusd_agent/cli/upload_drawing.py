"""What ``tusd-agent upload`` prints: a line for each file, in words or in JSON."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from .options import say, say_json, stdout_encoding, warn
from .words import duration, plural, rate, size


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the file numbered `index`; sizes in bytes. `url` and the sizes are of a finished upload."""

    index: int
    file: str
    url: str = ""
    size: int = 0
    bytes_sent: int = 0
    resumed_from: int = 0
    seconds: float = 0.0
    error: Exception | None = None

    @property
    def ok(self) -> bool:
        return self.error is None


@dataclass(frozen=True, slots=True)
class Retry:
    """An attempt for the file numbered `index` failed; the next, number `attempt` of `attempts`, is due."""

    index: int
    file: str
    error: Exception
    attempt: int
    attempts: int
    seconds: float

    @property
    def due(self) -> str:
        """``attempt 2 of 6 in 0.8 s``."""
        return f"attempt {self.attempt} of {self.attempts} in {self.seconds:.1f} s"


class Drawing:
    """Nothing but retries, on stderr. Up to `retrying` called by the uploads' threads, the rest by one."""

    def __init__(self) -> None:
        self._said: dict[int, str] = {}

    def began(self, index: int) -> None:
        """The file numbered `index` is under way."""

    def moved(self, index: int, current: int, total: int) -> None:
        """The file numbered `index` has `current` of `total` bytes on their way."""

    def retrying(self, retry: Retry) -> None:
        """An attempt failed, and it is not the last."""
        news = self._news(retry)
        if news and news[-1] not in ".?!":
            news += "."
        warn(f"{news or printable(retry.file) + ':'} Next: {retry.due}")

    def _news(self, retry: Retry) -> str:
        """What failed, unless that was said of this file just before."""
        said = f"{printable(retry.file)}: {retry.error}"
        if self._said.get(retry.index) == said:
            return ""
        self._said[retry.index] = said
        return said

    def ended(self, outcome: Outcome) -> None:
        """A file is done with."""

    def summary(self, files: int, failed: int, left: int = 0) -> None:
        """All are, or nothing more is done: `left` were not begun."""

    def abandon(self) -> None:
        """The process ends here and now; called by a signal handler."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Json(Drawing):
    """One object a line, when a file ends."""

    def ended(self, outcome: Outcome) -> None:
        document: dict[str, object] = {"file": outcome.file, "ok": outcome.ok, "seconds": round(outcome.seconds, 3)}
        if outcome.error is None:
            document |= {
                "url": outcome.url,
                "size_bytes": outcome.size,
                "sent_bytes": outcome.bytes_sent,
                "resumed_from_bytes": outcome.resumed_from,
            }
        else:
            document |= {
                "error": str(outcome.error),
                "kind": type(outcome.error).__name__,
                "status": getattr(outcome.error, "status", None),
                "retryable": getattr(outcome.error, "retryable", False),
                "url": getattr(outcome.error, "url", None),
                "offset_bytes": getattr(outcome.error, "offset", None),
            }
        say_json(document, indent=None)


class Plain(Drawing):
    """A line when a file ends, and one at the end where there were several; at the beginning, on stderr, whereto."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where

    def __enter__(self) -> Self:
        warn(f"uploading to {self._where}")
        return self

    def ended(self, outcome: Outcome) -> None:
        say(line(outcome, stdout_encoding()))

    def summary(self, files: int, failed: int, left: int = 0) -> None:
        if files > 1 and (failed or left):
            rest = f", {left} not begun" if left else ""
            say(f"{files - failed - left} of {plural(files, 'file')} uploaded, {failed} failed{rest}")
        elif files > 1:
            say(f"{plural(files, 'file')} uploaded")


def line(outcome: Outcome, encoding: str = "utf-8") -> str:
    """``✅ run.h5 → https://… (12 MiB in 3 s, 4.0 MiB/s)``, ``❌ run.h5: what happened``; in signs `encoding` has."""
    name = printable(outcome.file)
    if outcome.error is not None:
        said = str(outcome.error)
        if isinstance(outcome.error, OSError) and outcome.error.strerror:
            said = (
                f"the file can't be read ({outcome.error.strerror}); check the disk, then give the same command again"
            )
        return f"{_mark('❌', 'FAILED', encoding)} {name}: {said}"
    how = f"{size(outcome.size)} in {duration(outcome.seconds)}"
    if outcome.seconds >= 1:
        how += f", {rate(outcome.bytes_sent / outcome.seconds)}"
    if outcome.resumed_from:
        how += f", went on from {size(outcome.resumed_from)}"
    return f"{_mark('✅', 'OK', encoding)} {name} {_mark('→', '->', encoding)} {outcome.url} ({how})"


def printable(name: str) -> str:
    """A file's name on one line, its undecodable bytes and control characters escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in name
    )


def _mark(sign: str, word: str, encoding: str) -> str:
    """`sign`, or `word` where `encoding` has not got it."""
    try:
        sign.encode(encoding)
    except UnicodeEncodeError:
        return word
    return sign
