"""What the shells offer when Tab is pressed: names that the configuration has, and files."""

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from .. import places
from .find import CONFIG_VARIABLE

Offer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files, as the shell itself finds them."""
    return [CompletionItem(incomplete, type="file")]


def folders(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The watched folders."""
    watched = _configuration(context).get("watch", [])
    paths = [watch.get("path") for watch in watched if isinstance(watch, dict)] if isinstance(watched, list) else []
    return _matching(paths, incomplete) or files(context, parameter, incomplete)


def endpoints(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of the endpoints."""
    named = _configuration(context).get("endpoint", {})
    return _matching(named if isinstance(named, dict) else (), incomplete)


def _matching(names: Iterable[object], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if isinstance(name, str) and name.startswith(incomplete)]


def _configuration(context: click.Context) -> Mapping[str, Any]:
    """The file as it stands, of which only names are wanted; empty where it can't be read: nothing is offered then."""
    named = context.params.get("config") or os.environ.get(CONFIG_VARIABLE)
    try:
        file = Path(named) if named else places.config_file(os.environ, os.geteuid())
        return tomllib.loads(file.expanduser().read_text("utf-8-sig"))
    except (OSError, ValueError, RuntimeError, places.HomeUnknownError):
        return {}
