"""Names fit for the eye. By itself, for what only draws needs nothing else of the jobs."""

import os


def shown(path: bytes | str) -> str:
    """A path or name fit for a log line or a terminal: bytes that are no UTF-8, and control characters, escaped.

    Only for the eye: the exact name can't be had back from it.
    """
    raw = os.fsencode(path) if isinstance(path, str) else path
    text = raw.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
