"""What differs between the settings that hold and newly read ones, and which of it can hold without a restart. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from ..config import EndpointSettings, Settings

NEEDS_RESTART = ("state_dir", "socket", "socket_group", "small_file_bytes", "log_format")
"""Of ``[agent]``: what other programs, the open database or its indexes were set up by at the start."""

_WHO_GOES_WHEN = frozenset({"max_concurrent", "rate_limit"})


@dataclass(frozen=True, slots=True)
class Differences:
    """`changed` and `needs_restart` have a line for each, without values that may be secret.

    `settings` are the new ones, but for what needs a restart.
    """

    changed: list[str]
    needs_restart: list[str]
    settings: Settings


def differences(before: Settings, after: Settings) -> Differences:
    """From `before`, which hold, to `after`."""
    changed: list[str] = []
    needs_restart: list[str] = []
    for name in _different(before.agent, after.agent):
        was, is_now = getattr(before.agent, name), getattr(after.agent, name)
        (needs_restart if name in NEEDS_RESTART else changed).append(f"agent.{name}: {was} → {is_now}")
    changed += _of_tables("endpoint", before.endpoint, after.endpoint)
    if before.limits != after.limits:
        changed.append("limits: the timetable")
    changed += _of_tables(
        "watch", {str(watch.path): watch for watch in before.watch}, {str(watch.path): watch for watch in after.watch}
    )
    kept = {name: getattr(before.agent, name) for name in NEEDS_RESTART}
    return Differences(changed, needs_restart, after.model_copy(update={"agent": after.agent.model_copy(update=kept)}))


def sends_like(one: EndpointSettings, other: EndpointSettings) -> bool:
    """Whether requests go to both in the same way: they differ in how many or how fast at most."""
    return not set(_different(one, other)) - _WHO_GOES_WHEN


def _of_tables(word: str, before: Mapping[str, BaseModel], after: Mapping[str, BaseModel]) -> list[str]:
    lines = [f"{word} {name}: removed" for name in before if name not in after]
    for name, section in after.items():
        if name not in before:
            lines.append(f"{word} {name}: added")
        elif keys := _different(before[name], section):
            lines.append(f"{word} {name}: {', '.join(keys)}")
    return lines


def _different(one: BaseModel, other: BaseModel) -> list[str]:
    return [name for name in type(one).model_fields if getattr(one, name) != getattr(other, name)]
