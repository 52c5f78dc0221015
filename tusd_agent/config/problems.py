"""What is wrong with a configuration, said so that an operator can mend it without a manual."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. Texts hold no secrets: `found` is masked where a secret may stand.

    `variable` names the environment variable the value came from, else it came from `file`; neither is set for
    a default. `key` is dotted as in ``watch[1].after_upload`` ("" when it is about the whole file or variable),
    `found` is the value as TOML would write it, None where there is none to show.
    """

    key: str
    wrong: str
    found: str | None = None
    allowed: str = ""
    hint: str = ""
    file: Path | None = None
    variable: str | None = None

    @property
    def origin(self) -> str:
        """The file or variable to mend, as a person would name it."""
        if self.variable is not None:
            return f"environment variable {printable(self.variable)}"
        return "built-in defaults" if self.file is None else printable(str(self.file))

    def __str__(self) -> str:
        """The problem alone, over several lines, without its origin."""
        head = self.key if self.found is None else f"{self.key} = {self.found}".removeprefix(" = ")
        lines = [f"{head}: {self.wrong}" if head else self.wrong]
        lines += [f"    allowed: {self.allowed}"] if self.allowed else []
        lines += [f"    hint: {self.hint}"] if self.hint else []
        return "\n".join(lines)


class ConfigError(Exception):
    """The configuration can't be used. Holds every problem that was found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = list(problems)

    def __str__(self) -> str:
        count = len(self.problems)
        lines = [f"bad configuration: {count} problem{'s' if count != 1 else ''}"]
        by_origin = sorted(self.problems, key=lambda problem: (problem.variable or "", str(problem.file), problem.key))
        for origin, group in groupby(by_origin, key=lambda problem: problem.origin):
            lines += ["", origin]
            lines += [f"  {line}" for problem in group for line in str(problem).splitlines()]
        return "\n".join(lines)


def printable(text: str) -> str:
    """`text` for one line of a terminal: control characters, line breaks and undecodable bytes are escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
