"""Who may import whom: the rooms of the package and the packages each of them may use, held to one table."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path

import pytest

import tusd_agent

PACKAGE = tusd_agent.__name__
ROOT = Path(tusd_agent.__file__).parent


@dataclass(frozen=True)
class May:
    """What a room may import besides itself and the standard library."""

    rooms: frozenset[str] = frozenset()
    packages: frozenset[str] = frozenset()


def may(rooms: str = "", packages: str = "") -> May:
    return May(frozenset(rooms.split()), frozenset(packages.split()))


EVERY_ROOM = (
    "tus jobs beneath mounts places trusted systemd config intake delivery control service demo installing pulse"
)
# A room is a module or a package directly below tusd_agent; "" is tusd_agent itself, asked for its version.
TABLE = {
    "tus": may(packages="requests urllib3 tenacity"),
    "jobs": may(),
    "beneath": may(),
    "mounts": may(),
    "places": may(),
    "trusted": may(),
    "pulse": may(),
    "systemd": may(),
    "config": may("mounts places trusted", "pydantic pydantic_core pydantic_settings pathspec"),
    "installing": may("config"),
    "intake": may("jobs beneath mounts pulse", "watchdog pathspec"),
    "delivery": may("jobs tus beneath trusted pulse", "tenacity"),
    "control": may("jobs", "prometheus_client"),
    "service": may(
        "tus jobs beneath places trusted pulse systemd config intake delivery control",
        "pathspec prometheus_client pydantic pydantic_settings requests tenacity urllib3 watchdog",
    ),
    "demo": may("service config tus control places", "rich tuspyserver uvicorn fastapi"),
    "cli": may(EVERY_ROOM, "click pathspec prometheus_client pydantic requests rich tenacity urllib3 watchdog"),
    "__main__": may("cli"),
    "": may("tus"),
}
MAY_ASK_THE_VERSION = set(TABLE) - {"tus", "jobs", "beneath", "mounts", "places", "trusted", "pulse", "systemd"}


def modules(root: Path) -> list[Path]:
    return sorted(path.relative_to(root) for path in root.rglob("*.py"))


def room_of(module: Path) -> str:
    """``tus/client.py`` → tus, ``config.py`` → config, ``__init__.py`` → the package itself."""
    first = module.parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported(source: str, package: str) -> Iterator[str]:
    """Dotted names of all that `source`, a module in `package`, imports anywhere: relative ones are resolved,
    ``from x import y`` gives ``x.y``, and ``import_module`` with a literal name counts as well."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                origin = resolve_name("." * level + (module or ""), package) if level else module
                yield from (f"{origin}.{alias.name}" for alias in names)
            case ast.Call(
                func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(name)), *_]
            ) if called in {"import_module", "__import__"}:
                yield resolve_name(name, package)


def trespasses(module: Path, source: str) -> list[str]:
    """What this module of the package imports and may not."""
    room = room_of(module)
    if room not in TABLE:
        return [f"{module}: no room of this name in the table"]
    allowed = TABLE[room]
    wrong = []
    for name in imported(source, ".".join([PACKAGE, *module.parent.parts])):
        top, _, rest = name.partition(".")
        if top == PACKAGE:
            asked = rest.partition(".")[0]
            if asked in TABLE:
                fine = asked == room or asked in allowed.rooms
            else:
                fine = room in MAY_ASK_THE_VERSION and rest == "__version__"
        else:
            fine = top in sys.stdlib_module_names or top in allowed.packages
        if not fine:
            wrong.append(f"{module} imports {name}")
    return wrong


@pytest.mark.parametrize("module", modules(ROOT), ids=str)
def test_module_imports_what_its_room_may(module: Path) -> None:
    assert trespasses(module, (ROOT / module).read_text()) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("tus/client.py", "from tusd_agent import jobs"),
        ("tus/client.py", "from .. import jobs"),
        ("tus/client.py", "from ..jobs.model import Job"),
        ("tus/client.py", "import tusd_agent.jobs.model"),
        ("tus/client.py", "def f():\n    import watchdog.events"),
        ("tus/deep/er.py", "from ...config import load"),
        ("intake/watch.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..delivery import Worker"),
        ("delivery/worker.py", "from ..intake import scan"),
        ("delivery/worker.py", "import requests"),
        ("jobs/ledger.py", "from importlib import import_module\nimport_module('tenacity')"),
        ("control/server.py", "import importlib\nimportlib.import_module('..config', __package__)"),
        ("service.py", "from .cli import main"),
        ("jobs/__init__.py", "from .. import __version__"),
        ("attic.py", ""),
    ],
)
def test_trespass_is_seen(module: str, source: str) -> None:
    assert len(trespasses(Path(module), source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("tus/client.py", "import os.path, requests.adapters\nfrom . import errors\nfrom .errors import TUSError"),
        ("tus/__init__.py", "from .client import TUSClient"),
        ("delivery/worker.py", "from ..tus import TUSClient\nfrom tusd_agent.beneath import Root"),
        ("config.py", "from .places import state_dir\nimport pydantic_settings"),
        ("service.py", "from . import __version__, config"),
        ("cli/run.py", "from .. import service\nfrom ..service import run"),
    ],
)
def test_neighbours_may_visit(module: str, source: str) -> None:
    assert trespasses(Path(module), source) == []


@pytest.mark.parametrize(
    ("names", "spared"),
    [
        ("tusd_agent", "click pydantic requests rich watchdog"),
        ("tusd_agent.tus", "click dataclasses pydantic requests rich ssl tenacity urllib3 watchdog"),
        ("tusd_agent.cli tusd_agent.cli.status", "prometheus_client pydantic requests rich watchdog"),
        ("tusd_agent.service", "prometheus_client rich"),
    ],
)
def test_import_is_cheap(names: str, spared: str) -> None:
    """The library pays for no watcher, nor for the HTTP that TLS and proxies need; ``status`` for no HTTP at all."""
    program = f"import {', '.join(names.split())}, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert loaded.returncode == 0, loaded.stderr
    assert set(spared.split()) & set(loaded.stdout.split()) == set()
