"""Just enough TOML to write the agent's configuration (https://toml.io/en/v1.0.0); reading is `tomllib`'s."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def value(given: object) -> str:
    """A value on one line: text, path, bool, number, list, or mapping as an inline table."""
    match given:
        case bool():
            return str(given).lower()
        case int() | float():
            return repr(given)
        case str() | Path():
            # JSON's escapes are TOML's, but for DEL, which TOML wants escaped too.
            return json.dumps(str(given), ensure_ascii=False).replace("\x7f", "\\u007f")
        case Mapping():
            return "{ " + ", ".join(f"{json.dumps(name)} = {value(each)}" for name, each in given.items()) + " }"
        case Sequence():
            return "[" + ", ".join(map(value, given)) + "]"
    raise TypeError(f"no TOML for {given!r}")


def table(header: str, settings: Mapping[str, object]) -> str:
    """A table, ``[agent]``, or one of an array of tables, ``[[watch]]``; settings that are None are left out."""
    lines = [f"{name} = {value(each)}" for name, each in settings.items() if each is not None]
    return "\n".join([header, *lines, ""])
