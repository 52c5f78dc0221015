"""What a request asks, read and checked: its parameters, one by one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .refusals import Refused, bad, brief
from .replies import Error
from .selecting import MAX_JOB_ID


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: the variable parts of the path, and the query, both decoded; the members of the body."""

    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, list[str]] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    may_change: bool = False


def number_of(request: Request) -> int:
    """The number of the job that the path names; raises `Refused`."""
    text = request.path["id"]
    if not re.fullmatch("[0-9]{1,19}", text) or int(text) > MAX_JOB_ID:
        raise bad("id", text, "the number of a job")
    return int(text)


def check_parameters(request: Request, names: tuple[str, ...] = ()) -> None:
    """Raises `Refused` for a parameter that is not among `names`."""
    for name in request.query:
        if name not in names:
            known = ", ".join(names) if names else "none"
            message = f"unknown parameter {brief(name)}"
            raise Refused(400, Error(code="bad_request", message=message, hint=f"parameters here: {known}"))


def single(request: Request, name: str) -> str | None:
    """The parameter, if it is given; raises `Refused` where it is given twice."""
    values = request.query.get(name, [])
    if len(values) > 1:
        raise Refused(
            400, Error(code="bad_request", message=f"{name} is given {len(values)} times", hint=f"give {name} once")
        )
    return values[0] if values else None


def whole(request: Request, name: str, least: int, most: int) -> int | None:
    """The parameter as a whole number, if it is given; raises `Refused` for anything else."""
    text = single(request, name)
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,19}", text) or not least <= int(text) <= most:
        raise bad(name, text, f"a whole number from {least} to {most}")
    return int(text)
