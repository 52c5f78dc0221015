"""Sizes, rates, durations and instants in words, and text in columns. Pure."""

import unicodedata
from collections.abc import Collection, Sequence
from datetime import datetime

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size(size_bytes: float) -> str:
    """``1023 B``, ``1.5 KiB``, ``12 MiB``: two digits where one would be too rough."""
    amount = float(size_bytes)
    for unit in _UNITS:
        digits = 1 if amount < 9.95 and unit != "B" else 0
        if round(amount, digits) < 1024 or unit == _UNITS[-1]:
            return f"{amount:.{digits}f} {unit}"
        amount /= 1024
    raise AssertionError("unreachable: the last unit takes all")


def rate(bytes_per_second: float) -> str:
    """``12 MiB/s``."""
    return f"{size(bytes_per_second)}/s"


def percent(part_bytes: int, whole_bytes: int) -> str:
    """``43 %``; 100 only when it is all there."""
    return f"{min(part_bytes, whole_bytes) * 100 // whole_bytes if whole_bytes > 0 else 100} %"


def duration(seconds: float) -> str:
    """``45 s``, ``3 min``, ``2 h 5 min``, ``3 d 4 h``: the two units that matter."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def distance(at: float, now: float) -> str:
    """``in 3 min``, ``2 h ago``, ``now``."""
    if abs(at - now) < 1:
        return "now"
    return f"in {duration(at - now)}" if at > now else f"{duration(now - at)} ago"


def local_time(at: float) -> str:
    """An instant as local ISO 8601 with its offset, to the second."""
    return datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")


def instant(at: float, now: float) -> str:
    """``2026-08-01T12:00:00+02:00 (2 h ago)``."""
    return f"{local_time(at)} ({distance(at, now)})"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """``1 job``, ``3 jobs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {nouns or noun + 's'}"


def width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """The rows as lines with equal columns two blanks apart; those numbered in `right` end in line."""
    if not rows:
        return []
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = []
        for column, text in enumerate(row):
            blanks = " " * (widths[column] - width(text))
            cells.append(blanks + text if column in right else text + blanks)
        lines.append("  ".join(cells).rstrip())
    return lines


def cut(text: str, room: int | None, ellipsis: str = "…") -> str:
    """The text, or as much of its beginning as has room."""
    return text if room is None else _cut(text, room, ellipsis)


def cut_path(path: str, room: int | None, ellipsis: str = "…") -> str:
    """The path, or as much of its end as has room: there is the name."""
    return path if room is None else _cut(path[::-1], room, ellipsis[::-1])[::-1]


def _cut(text: str, room: int, ellipsis: str) -> str:
    if width(text) <= room:
        return text
    kept, left = "", room - width(ellipsis)
    for char in text:
        left -= width(char)
        if left < 0:
            break
        kept += char
    return (kept + ellipsis)[: max(room, 0)]


def wrapped(text: str, room: int | None, first: str = "", further: str = "") -> list[str]:
    """The text as lines that have room, the first and the further ones indented; broken between words where it can."""
    if room is None:
        return [first + text]
    lines, line, is_new = [], first, True
    for word in text.split(" "):
        if not is_new and width(line) + 1 + width(word) > room:
            lines.append(line)
            line, is_new = further, True
        line += word if is_new else f" {word}"
        is_new = False
        while width(line) > room:
            head = _cut(line, room, "")
            if len(head) <= len(further):
                break  # there is no room at all
            lines.append(head)
            line = further + line[len(head) :]
    return [*lines, line]


def listed(facts: Sequence[str], room: int | None, first: str = "", further: str = "") -> list[str]:
    """The facts with commas, as lines that have room, broken between them where it can."""
    lines = wrapped(", ".join(fact.replace(" ", "\0") for fact in facts), room, first, further)
    return [line.replace("\0", " ") for line in lines]


def bar(part_bytes: int, whole_bytes: int, columns: int) -> str:
    """``[####......]``; full only when it is all there."""
    filled = columns if whole_bytes <= part_bytes else min(part_bytes * columns // whole_bytes, columns - 1)
    return f"[{'#' * filled}{'.' * (columns - filled)}]"
