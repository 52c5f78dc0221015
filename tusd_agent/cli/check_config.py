"""``tusd-agent check-config``: what the configuration says, or everything that is wrong with it."""

import json
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import click

from ..config import ConfigError, EndpointSettings, LimitSettings, Problem, Settings, WatchSettings, load, printable
from ..mounts import file_system_type, is_remote
from .options import EXIT_BAD_CONFIG, config_option

_WIDTH = 14


@click.command("check-config")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_config_command(config: Path | None, as_json: bool) -> None:
    """Check the configuration and print what holds; exit 78 when it can't be used.

    Example: tusd-agent check-config --config /etc/tusd-agent/config.toml
    """
    try:
        settings = load(config, os.environ)
    except ConfigError as error:
        if as_json:
            click.echo(json.dumps({"ok": False, "problems": [_as_json(one) for one in error.problems]}, indent=2))
        click.echo(str(error), err=True)
        raise SystemExit(EXIT_BAD_CONFIG) from None
    if as_json:
        click.echo(json.dumps(_settings_as_json(settings), indent=2))
    else:
        click.echo("\n".join(_lines(settings)))


def _as_json(problem: Problem) -> dict[str, str | None]:
    return {
        "file": None if problem.file is None else printable(str(problem.file)),
        "variable": problem.variable,
        "key": problem.key,
        "wrong": problem.wrong,
        "found": problem.found,
        "allowed": problem.allowed,
        "hint": problem.hint,
    }


def _settings_as_json(settings: Settings) -> dict[str, object]:
    return {
        "ok": True,
        "file": None if settings.file is None else printable(str(settings.file)),
        "variables": list(settings.variables),
        "settings": settings.model_dump(mode="json", by_alias=True),
        "warnings": settings.warnings(),
    }


def _lines(settings: Settings) -> Iterator[str]:
    agent = settings.agent
    yield _line("configuration", "none, defaults only" if settings.file is None else str(settings.file))
    for name in settings.variables:
        yield _line("environment", name)
    yield _line("state", str(agent.state_dir))
    group = f", group {agent.socket_group}" if agent.socket_group else ""
    yield _line("socket", f"{agent.socket}{group}")
    yield _line("workers", str(agent.workers))
    yield _line("small files", f"up to {agent.small_file_bytes} bytes")
    yield _line("rescan", f"every {agent.rescan_interval_seconds:g} s")
    days = f"{agent.retention_days:g} days" if agent.retention_days else "for ever"
    yield _line("remembers", f"{days}, what is gone")
    yield _line("rate limit", _rate(agent.rate_limit))
    yield _line("log", f"{agent.log_level}, as {agent.log_format}")
    for name, endpoint in settings.endpoint.items():
        yield ""
        yield _line("endpoint", name)
        yield from ("  " + line for line in _endpoint_lines(endpoint))
    for index, limit in enumerate(settings.limits):
        yield ""
        yield _line(f"limits[{index}]", _limit(limit))
    for index, watch in enumerate(settings.watch):
        yield ""
        yield _line(f"watch[{index}]", str(watch.path))
        yield from ("  " + line for line in _watch_lines(watch))
    for number, warning in enumerate(settings.warnings()):
        yield from [""] if number == 0 else []
        yield _line("warning", warning)
    yield ""
    yield "The configuration is good."


def _endpoint_lines(endpoint: EndpointSettings) -> Iterator[str]:
    yield _line("url", endpoint.url)
    for name in endpoint.headers:
        yield _line("header", f"{name}: ******")
    if endpoint.bearer_token_file is not None:
        yield _line("token", f"file {endpoint.bearer_token_file}, read for each request")
    if endpoint.bearer_token_env is not None:
        yield _line("token", f"environment variable {endpoint.bearer_token_env}")
    yield _line("chunks", f"{endpoint.chunk_size} bytes" if endpoint.chunk_size else "none, one streaming PATCH")
    yield _line("digest", "SHA-256" if endpoint.digest else "none")
    yield _line("timeout", f"{endpoint.timeout_seconds:g} s, connect {endpoint.connect_timeout_seconds:g} s")
    yield _line("rate limit", _rate(endpoint.rate_limit))
    yield _line("at most", f"{endpoint.max_concurrent} at once" if endpoint.max_concurrent else "all workers")
    for title, path in (
        ("CA", endpoint.ca_file),
        ("client cert", endpoint.client_cert),
        ("client key", endpoint.client_key),
    ):
        if path is not None:
            yield _line(title, str(path))
    yield _line("other origins", "allowed" if endpoint.allow_other_origin else "refused")
    yield _line("delete proof", endpoint.delete_proof)


def _watch_lines(watch: WatchSettings) -> Iterator[str]:
    yield _line("endpoint", watch.endpoint)
    yield _line("subfolders", "yes" if watch.recursive else "no")
    if watch.max_depth:
        yield _line("at most", f"{watch.max_depth} folders deep")
    yield _line("watched by", _watching(watch))
    yield _line("complete when", _contract(watch))
    if watch.existing == "ignore":
        yield _line("existing files", f"are ignored: {_existing(watch)}")
    yield _line("renamed files", "are the same" if watch.renamed == "same" else "are new")
    for title, patterns in (("include", watch.include), ("exclude", watch.exclude)):
        if patterns:
            yield _line(title, "  ".join(patterns))
    if watch.hidden:
        yield _line("hidden files", "are taken")
    limits = [
        f"{words} {limit:.15g} {unit}"
        for words, limit, unit in (
            ("at least", watch.min_size, "bytes"),
            ("at most", watch.max_size, "bytes"),
            ("at least", watch.min_age_seconds, "s old"),
            ("at most", watch.max_age_seconds, "s old"),
        )
        if limit
    ]
    if limits:
        yield _line("limits", ", ".join(limits))
    if watch.guard_file:
        yield _line("guard file", watch.guard_file)
    yield _line("after upload", _after_upload(watch))
    if watch.remove_empty_folders:
        yield _line("empty folders", "are removed")
    yield _line("priority", str(watch.priority))
    if watch.give_up_after_seconds:
        yield _line("given up", f"after {watch.give_up_after_seconds:.15g} s without success")
    if watch.metadata:
        yield _line("metadata", ", ".join(f"{key}={value}" for key, value in watch.metadata.items()))


def _after_upload(watch: WatchSettings) -> str:
    if watch.after_upload == "move":
        return f"move to {watch.move_to}"
    if watch.after_upload == "command":
        return f"run {shlex.join(watch.command)}, for at most {watch.command_timeout_seconds:g} s"
    return watch.after_upload


def _rate(rate: int) -> str:
    return f"{rate} bytes/s" if rate else "none"


def _limit(limit: LimitSettings) -> str:
    overnight = " of the next day" if limit.begins > limit.ends else ""
    days = ", ".join(limit.days) or "every day"
    to = f"endpoint {limit.endpoint}" if limit.endpoint else "the whole agent"
    return f"from {limit.begins} to {limit.ends}{overnight}, {days}: {_rate(limit.rate)} for {to}"


def _watching(watch: WatchSettings) -> str:
    kind = file_system_type(str(watch.path)) or "unknown"
    polled = watch.watch == "poll" or (watch.watch == "auto" and is_remote(kind))
    way = f"reading it every {watch.poll_interval_seconds:g} s" if polled else "events (inotify)"
    return f"{way}; watch = {watch.watch}, the file system is {kind}"


def _contract(watch: WatchSettings) -> str:
    if watch.contract == "rename":
        return "it has its final name"
    if watch.contract == "marker":
        return f"a marker file *{watch.marker_suffix} was written beside it"
    return f"left alone for {watch.settle_seconds:g} s"


def _existing(watch: WatchSettings) -> str:
    """How many files the folder holds now that would be ignored, were it seen for the first time."""
    # Most configurations have no need of the agent's own modules here.
    from ..intake.count import count_taken
    from ..service import watched_folder

    try:
        count = count_taken(watched_folder(watch), time.time())
    except OSError as error:
        return f"the folder can't be read now ({error.strerror})"
    return f"{count} lie there now" if count != 1 else "1 lies there now"


def _line(title: str, value: str) -> str:
    return f"{title:<{_WIDTH}} {printable(value)}"
