"""From the members of a request to the jobs that are meant, and nothing guessed."""

import os
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any

from ..jobs.selection import Selection
from ..jobs.states import State
from .refusals import Refused, bad
from .replies import Error

MAX_JOB_ID = 2**63 - 1
MAX_MEMBERS = 200
"""So many ids or paths a request may name; a larger number is asked for in several."""


def selection_of(members: Mapping[str, Any]) -> Selection:
    """The jobs that `members` of a body select; raises `Refused` for what means nothing.

    To mean all jobs ``{"all": true}`` has to be said: an empty body changes nothing.
    """
    given = dict(members)
    everything = given.pop("all", False)
    if not isinstance(everything, bool):
        raise bad("all", everything, "true or false")
    unknown = given.keys() - _READERS.keys()
    if unknown:
        raise bad("selection", ", ".join(sorted(unknown)), f"all, {', '.join(_READERS)}")
    if not given and not everything:
        raise bad("selection", "nothing", f"one or more of {', '.join(_READERS)}; or all = true")
    if given and everything:
        raise bad("all", "true beside other members", "all = true alone")
    return Selection(**{_FIELDS.get(name, name): _READERS[name](name, value) for name, value in given.items()})


def selection_of_query(query: Mapping[str, list[str]]) -> Selection:
    """The same from the parameters of a query; those that may have several values are given several times."""
    given: dict[str, Any] = {}
    for name, values in query.items():
        member = QUERY_NAMES[name]
        read = _FROM_TEXT.get(member, _as_it_is)
        if member not in _SEVERAL and len(values) > 1:
            raise bad(name, f"given {len(values)} times", "once")
        value = [read(name, text) for text in values] if member in _SEVERAL else read(name, values[0])
        given[_FIELDS.get(member, member)] = _READERS[member](name, value)
    return Selection(**given)


def path_of(name: str, encoded: str) -> bytes:
    """An absolute path from its base64, in both alphabets of RFC 4648; a blank is a "+" that was not escaped."""
    plain = encoded.replace(" ", "+").replace("-", "+").replace("_", "/")
    try:
        path = b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        path = b""
    if not path.startswith(b"/"):
        raise bad(name, encoded, "the base64 of an absolute path")
    return path


def absolute_path(encoded: str | None, plain: str | None) -> bytes:
    """One absolute path, given in one of two ways, without dots and doubled slashes."""
    if (encoded is None) == (plain is None):
        missing = "give one of path and path_b64"
        raise Refused(400, Error(code="bad_request", message="which path is meant?", hint=missing))
    path = path_of("path_b64", encoded) if encoded is not None else os.fsencode(plain or "")
    if not path.startswith(b"/"):
        raise bad("path", plain or "", "an absolute path")
    if b"\0" in path:
        raise bad("path", os.fsdecode(path), "a path without NUL bytes, which no path has")
    return os.path.normpath(b"/" + path.lstrip(b"/"))


def state_of(name: str, text: object) -> State:
    """A state by its name."""
    if not isinstance(text, str) or text not in list(State):
        raise bad(name, text, f"one of {', '.join(State)}")
    return State(text)


def whole_of(name: str, value: object, most: int) -> int:
    """A whole number from 1 to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise bad(name, value, f"a whole number from 1 to {most}")
    return value


def _list(name: str, value: object, read: Callable[[str, Any], Any], kind: type) -> tuple[Any, ...]:
    allowed = f"a list of 1 to {MAX_MEMBERS} members"
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_MEMBERS:
        raise bad(name, value, allowed)
    for one in value:
        if not isinstance(one, kind) or isinstance(one, bool):
            raise bad(name, one, f"{allowed}, each {'a whole number' if kind is int else 'a text'}")
    return tuple(read(name, one) for one in value)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise bad(name, value, "a text")
    return value


def _instant(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e12:
        raise bad(name, value, "seconds since the epoch")
    return float(value)


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "ids": lambda name, value: _list(name, value, lambda name, one: whole_of(name, one, MAX_JOB_ID), int),
    "paths_b64": lambda name, value: _list(name, value, path_of, str),
    "states": lambda name, value: _list(name, value, state_of, str),
    "folder": _text,
    "endpoint": _text,
    "error": _text,
    "pattern": _text,
    "created_before": _instant,
    "created_after": _instant,
}
_FIELDS = {"paths_b64": "paths"}

QUERY_NAMES: Mapping[str, str] = {
    "id": "ids",
    "path_b64": "paths_b64",
    "state": "states",
    "folder": "folder",
    "endpoint": "endpoint",
    "error": "error",
    "pattern": "pattern",
    "created_before": "created_before",
    "created_after": "created_after",
}
"""The parameters of a query, and the members of a body that mean the same."""

_SEVERAL = frozenset({"ids", "paths_b64", "states"})


def _as_it_is(name: str, text: str) -> str:
    return text


def _whole_text(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise bad(name, text, "a whole number")
    return int(text)


def _number_text(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise bad(name, text, "seconds since the epoch") from None


_FROM_TEXT: Mapping[str, Callable[[str, str], Any]] = {
    "ids": _whole_text,
    "created_before": _number_text,
    "created_after": _number_text,
}
