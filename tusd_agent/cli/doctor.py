"""``tusd-agent doctor``: everything that has to be right, looked at once, each with a verdict and a remedy."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import click

from .. import __version__, places
from ..config import ConfigError, Settings, load
from ..control.client import ControlClient, ControlError, NoAnswer, NotAllowed, NotRunning
from ..control.replies import Status, escaped
from . import doctor_checks as checks
from .doctor_checks import Check, Verdict
from .find import AgentPaths, ConfigUnreadable, find_agent
from .options import EXIT_FAILED, config_option, json_option, say, say_json, socket_option
from .page import Page, encodable, page_of_stdout
from .views import ANSWER_SECONDS, START_HINT, AgentView
from .words import plural, wrapped

_COLOURS = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}
_WIDTH = 16


@click.command("doctor")
@json_option
@config_option
@socket_option
def doctor_command(as_json: bool, config: Path | None, socket: Path | None) -> None:
    """Look whether everything is right, and say what to do where it is not.

    Configuration, agent, folders, state, disk, database, kernel limits, servers, clock. Nothing is changed and nothing
    is uploaded. As root it tries with the rights of the agent's user. Exit 1 when something fails.

    Example: tusd-agent doctor
    """
    page = page_of_stdout()
    found: list[Check] = []
    for check in _checks(config, socket):
        found.append(check)
        if not as_json:
            for line in _lines(check, page):
                say(line)
    worst = next((verdict for verdict in reversed(Verdict) if any(one.verdict is verdict for one in found)), Verdict.OK)
    if as_json:
        listed = [
            {"check": one.name, "verdict": one.verdict, "words": one.words, "remedy": one.remedy or None}
            for one in found
        ]
        say_json({"verdict": worst, "checks": listed})
    else:
        say(_summary(found))
    raise SystemExit(EXIT_FAILED if worst is Verdict.FAIL else 0)


def _checks(config: Path | None, socket: Path | None) -> Iterator[Check]:
    settings: Settings | None = None
    try:
        settings = load(config, os.environ)
    except ConfigError as error:
        for problem in error.problems:
            yield Check("configuration", Verdict.FAIL, escaped(str(problem)), "tusd-agent check-config says more")
    else:
        file = "none, defaults only" if settings.file is None else str(settings.file)
        yield Check("configuration", Verdict.OK, escaped(file))
        for warning in settings.warnings():
            yield Check("configuration", Verdict.WARN, escaped(warning), "see config.example.toml")
    try:
        paths = find_agent(socket, config, os.environ)
    except (ConfigUnreadable, places.HomeUnknownError):
        return  # which was said, or comes from there being no configuration to name the agent's places
    status: Status | None = None
    for check, told in _agent(paths):
        status = told or status
        yield check
    state_dir = paths.database.parent if paths.database is not None else None
    if state_dir is not None:
        who = checks.who_runs(None if status is None else status["pid"], state_dir)
        for watch in [] if settings is None else settings.watch:
            yield from checks.folder(watch, who)
        yield from checks.state(state_dir, who)
        yield checks.database(state_dir / "queue.db")
    if settings is not None:
        yield checks.inotify(settings.watch, None if status is None else status["watcher"]["watches"])
        yield from _servers(settings)


def _agent(paths: AgentPaths) -> Iterator[tuple[Check, Status | None]]:
    """The running agent and its socket, with what it tells of itself."""
    shown = escaped(str(paths.socket))
    try:
        status = AgentView(ControlClient(paths.socket, ANSWER_SECONDS)).status()
    except NotRunning:
        yield Check("agent", Verdict.WARN, f"it is not running: nobody answers on {shown}", START_HINT), None
    except NotAllowed as error:
        yield Check("agent", Verdict.WARN, escaped(str(error)), error.hint), None
    except NoAnswer as error:
        yield Check("agent", Verdict.FAIL, escaped(str(error)), error.hint), None
    except ControlError as error:
        yield Check("agent", Verdict.FAIL, escaped(error.message), error.hint), None
    else:
        if status["version"] != __version__:
            words = f"version {escaped(status['version'])} runs, this command is {__version__}"
            yield Check("agent", Verdict.WARN, words, "restart the agent"), status
        else:
            yield Check("agent", Verdict.OK, f"version {__version__} answers on {shown}"), status
        for reason in status["reasons"]:
            yield Check("agent", Verdict.WARN, escaped(reason), "tusd-agent status and errors say more"), status


def _servers(settings: Settings) -> Iterator[Check]:
    from .doctor_server import endpoint  # requests: not before something local has been said

    ahead: dict[str, float] = {}
    used = {watch.endpoint for watch in settings.watch}
    for name in settings.endpoint:
        if name in used or len(settings.endpoint) == 1:
            yield from endpoint(name, settings, ahead)
    yield checks.clock(time.time(), ahead)


def _lines(check: Check, page: Page) -> Iterator[str]:
    check = Check(check.name, check.verdict, *encodable([check.words, check.remedy]))
    title = f"{check.verdict.upper() if check.verdict is not Verdict.OK else 'ok':<5} {check.name:<{_WIDTH}} "
    indent = " " * len(title)
    first, *further = wrapped(check.words, page.width, indent, indent)
    yield page.paint(title, _COLOURS[check.verdict]) + first[len(indent) :]
    yield from further
    if check.remedy and check.verdict is not Verdict.OK:
        yield from wrapped(f"do: {check.remedy}", page.width, indent, f"{indent}    ")


def _summary(found: list[Check]) -> str:
    counts = {verdict: sum(one.verdict is verdict for one in found) for verdict in Verdict}
    warnings = f", {plural(counts[Verdict.WARN], 'warning')}" if counts[Verdict.WARN] else ""
    failed = f"{plural(counts[Verdict.FAIL], 'check')} failed" if counts[Verdict.FAIL] else "Nothing failed"
    return f"{failed}{warnings}."
