"""Where settings come from: a TOML file, and above it the environment, one variable at a time."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from .models import Settings
from .problems import ConfigError, Problem

PREFIX = "TUSD_AGENT_"
CONFIG_VARIABLE = PREFIX + "CONFIG"
TOLD_TO_COMMANDS = frozenset(
    PREFIX + name for name in ("PATH", "RELATIVE_PATH", "FOLDER", "ENDPOINT", "URL", "SIZE", "SHA256", "JOB")
)
"""What the agent puts into the environment of a command after an upload: no settings, for what that calls in turn."""

Location = tuple[str | int, ...]


class _Environment(Settings, BaseSettings):
    """The settings as pydantic-settings sees them: what the variables are called."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__")


class _OneVariable(EnvSettingsSource):
    """The tables one variable stands for. One at a time, so that each error has the name of its variable."""

    def __init__(self, name: str, value: str) -> None:
        self._one = {name.lower(): value}
        super().__init__(_Environment)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return dict(self._one)


@dataclass
class Given:
    """What was given, not yet checked: the merged tables, and which variable each leaf came from."""

    data: dict[str, Any]
    leaves: dict[Location, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def variable(self, location: Location) -> str | None:
        """The variable that gave the value at `location` or around it; None: the file."""
        for length in range(len(location), 0, -1):
            if (name := self.leaves.get(location[:length])) is not None:
                return name
        return None

    def at(self, location: Location) -> object:
        """The value at `location`. Raises LookupError where there is none."""
        value: object = self.data
        for step in location:
            if not isinstance(value, dict | list):
                raise LookupError(step)
            table: Any = value
            value = table[step]
        return value


def read_toml(path: Path, hint: str = "") -> dict[str, Any]:
    """The tables in the file. Raises ConfigError: missing, unreadable, not UTF-8, not TOML (line and column).

    `hint` goes with a file that can't be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError([Problem("", "there is no such file", hint=hint, file=path)]) from None
    except OSError as error:
        raise ConfigError([Problem("", f"can't be read: {error.strerror}", hint=hint, file=path)]) from error
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem("", f"line {line} is not UTF-8", file=path)]) from None
    except tomllib.TOMLDecodeError as error:
        # Without its context: a line that holds a secret is not to be shown.
        raise ConfigError([_syntax(path, str(error))]) from None


def _syntax(path: Path, message: str) -> Problem:
    said, _, place = message.partition(" (at ")
    where = f"{place.removesuffix(')')}: " if place else ""
    # tomllib quotes single keys and characters in some messages, never values.
    return Problem("", f"is not TOML: {where}{said[:1].lower()}{said[1:]}", file=path)


def add_environment(given: Given, environ: Mapping[str, str]) -> list[str]:
    """Lays the variables with our prefix over `given`; the more exact a name, the later. Empty: not set.

    Returns the names that were taken. Variables that are no setting are noted in `given.unknown`.
    """
    ours = [name for name in environ if name.upper().startswith(PREFIX) and environ[name]]
    if {PREFIX + "PATH", PREFIX + "JOB"} <= environ.keys():
        ours = [name for name in ours if name not in TOLD_TO_COMMANDS]
    taken = []
    for name in sorted(ours, key=lambda name: (name.count("__"), name)):
        if name.upper() == CONFIG_VARIABLE:
            continue
        if "__HEADERS__" in name.upper():
            given.problems.append(_header_by_name(name))
            continue
        try:
            fragment = _OneVariable(name, environ[name])()
        except SettingsError as error:
            given.problems.append(_not_json(name, error.__cause__))
            continue
        if not fragment:
            given.unknown.append(name)
            continue
        taken.append(name)
        _merge(given.data, fragment)
        for leaf in _leaves(fragment):
            given.leaves[leaf] = name
    return taken


def _not_json(name: str, cause: BaseException | None) -> Problem:
    # The value may hold headers with secrets; where it breaks is enough to find the place.
    place = f" at line {cause.lineno}, column {cause.colno}" if isinstance(cause, json.JSONDecodeError) else ""
    return Problem(
        re.sub(rf"\A{PREFIX}", "", name.upper()).lower().replace("__", "."),
        f"is not JSON{place}",
        allowed="a list or a table, written as JSON",
        hint='such as [{"path": "/srv/outgoing"}] or {"default": {"digest": false}}',
        variable=name,
    )


def _header_by_name(name: str) -> Problem:
    whole = name[: name.upper().index("__HEADERS__")] + "__HEADERS"
    return Problem(
        "",
        "can't set a single header: the name of a variable keeps neither case nor hyphens",
        hint=f"""write them all as JSON: {whole}='{{"X-Site": "lab-7"}}'""",
        variable=name,
    )


def _merge(under: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(under.get(key), dict):
            _merge(under[key], value)
        else:
            under[key] = value


def _leaves(table: Mapping[str, Any], above: Location = ()) -> Iterator[Location]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key)
