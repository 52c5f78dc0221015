"""From a finding or a pydantic error to a Problem: where it came from, what was found, what to write instead."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from .checks import Finding, may_be_token
from .models import AgentSettings, EndpointSettings, LimitSettings, WatchSettings
from .problems import Problem, printable
from .sources import CONFIG_VARIABLE, PREFIX, Given, Location

MASKED = '"******"'
SECTIONS: Mapping[str, type[BaseModel]] = {
    "agent": AgentSettings,
    "endpoint": EndpointSettings,
    "limits": LimitSettings,
    "watch": WatchSettings,
}
_TABLES = {
    ("agent", 1): "a table: [agent]",
    ("endpoint", 1): "tables with names: [endpoint.NAME]",
    ("endpoint", 2): "a table: [endpoint.NAME], NAME of a-z, 0-9 and _",
    ("limits", 1): "a list of tables: [[limits]]",
    ("limits", 2): "a table: [[limits]]",
    ("watch", 1): "a list of tables: [[watch]]",
    ("watch", 2): "a table: [[watch]]",
}
# How many steps of a location lead to a section: endpoints have a name, folders an index.
_DEPTH = {"agent": 1, "endpoint": 2, "limits": 2, "watch": 2}
_WRONG = {
    "missing": "is missing",
    "literal_error": "is none of these",
    "int": "is not a whole number",
    "float": "is not a number",
    "finite": "is not a number",
    "bool": "is neither true nor false",
    "string": "is not a text",
    "dict": "is not a table",
    "tuple": "is not a list",
    "greater": "is too small",
    "less": "is too large",
}
_LONGEST_SHOWN = 80


def explain(finding: Finding, given: Given, file: Path | None) -> Problem:
    """The Problem that `finding` is, with the value found and the file or variable that holds it."""
    location, wrong, hint = finding.location, printable(finding.wrong), printable(finding.hint)
    try:
        found = _shown(location, given.at(location))
    except LookupError:
        found = None
    return Problem(
        dotted(location), wrong, found, _allowed(location), hint, file=file, variable=given.variable(location)
    )


def explain_invalid(section: Location, error: ErrorDetails, given: Given, file: Path | None) -> Problem:
    """The Problem that pydantic found in the section at `section`. Its own message and input are not used."""
    location: Location = (*section, *(step for step in error["loc"] if step != "[key]"))
    kind = error["type"]
    if kind == "extra_forbidden":
        return explain_unknown(location, given, file)
    wrong = str(error["ctx"]["error"]) if kind == "value_error" else _wrong(kind, error["msg"])
    problem = explain(Finding(location, wrong, _nearest_value(location, kind, given)), given, file)
    if error["loc"][-1] == "[key]":
        # It is the name that is wrong, and the key already shows it.
        return Problem(problem.key, problem.wrong, file=problem.file, variable=problem.variable)
    return problem


def explain_unknown(location: Location, given: Given, file: Path | None) -> Problem:
    """The Problem of a key that is no setting. Its value is not shown: it may be a secret under a wrong name."""
    *above, key = location
    names = list(fields_of(SECTIONS[str(above[0])])) if above else list(SECTIONS)
    variable = given.variable(location)
    elsewhere = [
        f"[{name}.NAME]" if name == "endpoint" else f"[{name}]" if name == "agent" else f"[[{name}]]"
        for name, model in SECTIONS.items()
        if key in fields_of(model)
    ]
    hint = ""
    if elsewhere:
        hint = f"{key} belongs in {' or '.join(elsewhere)}"
    elif near := _nearest(str(key), names):
        right = near if variable is None else PREFIX + "__".join(map(str, (*above, near))).upper()
        hint = f"did you mean {right}?"
    allowed = "" if hint else ", ".join(names)
    return Problem(dotted(location), "unknown setting", None, allowed, hint, file=file, variable=variable)


def explain_unknown_variable(name: str) -> Problem:
    """The Problem of a variable with our prefix that means nothing."""
    right = [CONFIG_VARIABLE, f"{PREFIX}LIMITS", f"{PREFIX}WATCH"]
    right += [f"{PREFIX}AGENT__{key}".upper() for key in AgentSettings.model_fields]
    right += [f"{PREFIX}ENDPOINT__DEFAULT__{key}".upper() for key in EndpointSettings.model_fields]
    bare = name.upper().removeprefix(PREFIX)
    same_end = [candidate for candidate in right if bare and candidate.endswith(f"__{bare}")]
    near = same_end[0] if same_end else _nearest(name.upper(), right)
    return Problem(
        "",
        "unknown variable",
        allowed=f"{CONFIG_VARIABLE}, {PREFIX}AGENT__…, {PREFIX}ENDPOINT__NAME__…, {PREFIX}LIMITS, {PREFIX}WATCH",
        hint=f"did you mean {near}?" if near else "",
        variable=printable(name),
    )


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The settings of a section by the names they have in the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def dotted(location: Location) -> str:
    """``watch[1].after_upload``, with names quoted where TOML would quote them."""
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        elif text.endswith(".headers") and (bad := re.search(r"[^A-Za-z0-9_-]", step)):
            # Not a name: it may be the whole line of a header, with its secret.
            text += f'."{step[: bad.start()]}…"'
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", step)
            text += ("." if text else "") + (step if bare else json.dumps(printable(step), ensure_ascii=False))
    return text


def _allowed(location: Location) -> str:
    section = str(location[0])
    depth = _DEPTH.get(section, 0)
    if len(location) <= depth:
        return _TABLES[section, len(location)]
    field = fields_of(SECTIONS[section]).get(str(location[depth]))
    return "" if field is None or field.description is None else field.description


def _wrong(kind: str, message: str) -> str:
    for start, wrong in _WRONG.items():
        if kind.startswith(start):
            return wrong
    return message[:1].lower() + message[1:]


def _nearest_value(location: Location, kind: str, given: Given) -> str:
    if kind != "literal_error":
        return ""
    near = _nearest(str(given.at(location)).lower(), re.split(r", | or ", _allowed(location)))
    return f'did you mean "{near}"?' if near else ""


def _nearest(word: str, words: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)), None)


def _shown(location: Location, value: object) -> str | None:
    """`value` as TOML writes it, shortened; masked where a secret stands or may stand."""
    section, key = str(location[0]), location[-1]
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    if len(location) <= _DEPTH.get(section, 0):
        # A whole section that is something else: nobody knows what was put there.
        return "a text" if isinstance(value, str) else "a value"
    if "headers" in location[2:]:
        return MASKED
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return printable(str(value))
    if key == "url":
        value = _redacted_url(value)
    if (key == "bearer_token_file" and may_be_token(value)) or (
        key == "bearer_token_env" and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", value)
    ):
        return MASKED
    shortened = value if len(value) <= _LONGEST_SHOWN else value[: _LONGEST_SHOWN - 1] + "…"
    return '"' + printable(shortened.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _redacted_url(url: str) -> str:
    """`url` without what stands before an "@" and after a "?" or "#", be it a valid URL or not."""
    url = re.sub(r"\A((?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?.*@", r"\1******@", url, flags=re.DOTALL)
    return re.sub(r"([?#]).*", r"\1******", url, flags=re.DOTALL)
