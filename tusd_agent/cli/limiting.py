"""``tusd-agent limit``: how fast files may be sent."""

from pathlib import Path

import click

from ..control.replies import LimitByHand
from ..control.replies_changes import Limit, LimitsReply
from .completing import endpoints
from .options import config_option, json_option, say, say_json, socket_option
from .views import set_to, tell_of
from .words import rate

_WORDS = {"none": 0, "default": None}


def limit_words(limit: LimitByHand) -> str:
    """A limit set by hand, and how it ends."""
    to = _rate(limit["rate_bytes_per_second"])
    return f"{_name(limit['endpoint'])} has {to}, set by hand: {_way_back(limit['endpoint'])}"


@click.command("limit")
@click.argument("wanted", required=False, metavar="[RATE|none|default]")
@click.option("--endpoint", metavar="NAME", shell_complete=endpoints, help="Of what goes to this endpoint alone.")
@json_option
@config_option
@socket_option
def limit_command(
    wanted: str | None, endpoint: str | None, as_json: bool, config: Path | None, socket: Path | None
) -> None:
    """Say how fast files may be sent, or see it.

    RATE is bytes per second, such as 2MiB/s. It holds at once, instead of what the configuration and its timetable
    say, also after a restart, until `limit default` goes back to those. `none` is no limit. The limits of the whole
    agent and of an endpoint hold together.

    Example: tusd-agent limit 2MiB/s --endpoint default
    """
    reply: LimitsReply
    if wanted is None:
        reply = tell_of(socket, config, "/v1/limits", {})
    else:
        members = {"rate_bytes_per_second": _parsed(wanted), "endpoint": endpoint}
        reply = set_to(socket, config, "/v1/limits", members)
    if as_json:
        say_json(reply)
        return
    shown = [limit for limit in reply["limits"] if endpoint in (None, limit["endpoint"])]
    if not shown:
        raise click.UsageError(f"there is no endpoint {endpoint}: `tusd-agent limit` shows all")
    for limit in shown:
        for line in _lines(limit):
            say(line)


def _parsed(wanted: str) -> int | None:
    if wanted in _WORDS:
        return _WORDS[wanted]
    from ..config import parse_rate_bytes

    try:
        found = parse_rate_bytes(wanted)
    except ValueError as wrong:
        raise click.UsageError(f"{wanted!r} {wrong}: give bytes per second, such as 500000 or 2MiB/s") from None
    if not found:
        raise click.UsageError("a rate of 0 sends nothing: `limit none` lifts the limit, `pause` stops sending")
    return found


def _lines(limit: Limit) -> list[str]:
    name, by_hand = _name(limit["endpoint"]), limit["by_hand_bytes_per_second"]
    configured = _rate(limit["configured_bytes_per_second"])
    if by_hand is not None:
        lines = [
            f"{name}: {_rate(by_hand)}, set by hand until `{_way_back(limit['endpoint'])}`",
            f"  the configuration says: {configured}",
        ]
    else:
        lines = [f"{name}: {_rate(limit['rate_bytes_per_second'])}"]
        if limit["rate_bytes_per_second"] != limit["configured_bytes_per_second"]:
            lines.append(f"  at other hours: {configured}")
    for timed in limit["timetable"]:
        days = ", ".join(timed["days"]) or "every day"
        words = _rate(timed["rate_bytes_per_second"])
        lines.append(f"  from {timed['begins']} to {timed['ends']}, {days}: {words}")
    return lines


def _name(endpoint: str | None) -> str:
    return "the agent" if endpoint is None else f"endpoint {endpoint}"


def _way_back(endpoint: str | None) -> str:
    return "tusd-agent limit default" + ("" if endpoint is None else f" --endpoint {endpoint}")


def _rate(rate_bytes_per_second: float) -> str:
    return f"at most {rate(rate_bytes_per_second)}" if rate_bytes_per_second else "no limit"
