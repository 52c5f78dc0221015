"""Who is measured, in which case, and how each is started."""

import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.servers.install import NotInstalled, cache, digest, made, run

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """`streams`: uploads at a time; `many`: a folder of small files instead of one big one."""

    name: str
    tls: bool = False
    many: bool = False
    streams: int = 1


@dataclass(frozen=True)
class Contender:
    """`command()` without the arguments (endpoint, streams, path); raises `NotInstalled` with words."""

    name: str
    command: Callable[[], list[str]]
    cases: tuple[str, ...]


@dataclass(frozen=True)
class Bar:
    """Ours takes at most `limit` times the CPU of `other`."""

    case: str
    other: str
    limit: float


BIG, SEALED, MANY, AT_ONCE = "big", "big-tls", "many", "many-at-once"
CASES = (Case(BIG), Case(SEALED, tls=True), Case(MANY, many=True), Case(AT_ONCE, many=True, streams=4))
OURS = "ours"
BARS = (
    Bar(BIG, "tuspy-8MiB", 0.55),
    Bar(BIG, "tuspy", 0.55),
    Bar(SEALED, "tuspy-8MiB", 0.8),
    Bar(SEALED, "tuspy", 0.8),
    Bar(MANY, "tuspy", 0.3),
    Bar(MANY, "aiotus", 0.5),
    Bar(MANY, "resumable-upload", 0.6),
)
RSS_LIMIT_MIB = 40.0


def _python(name: str, module: str) -> Callable[[], list[str]]:
    def command() -> list[str]:
        if importlib.util.find_spec(module) is None:
            raise NotInstalled(f"{name} is not installed: run pip install '.[bench]'")
        return [sys.executable, "-m", "tests.benchmarks.clients", name]

    return command


def node(program: str) -> list[str]:
    """The command of one of the programs in the folder `node`, with what it needs installed beside it."""
    if not shutil.which("node"):
        raise NotInstalled("tus-js-client needs node, which is not installed")
    sources = sorted((HERE / "node").iterdir())

    def install(folder: Path) -> None:
        for source in sources:
            shutil.copy(source, folder)
        run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"], folder, {})

    folder = made(cache() / f"tus-js-client-{digest(*sources)}", install)
    return ["node", str(folder / program)]


def _curl() -> list[str]:
    if not shutil.which("curl"):
        raise NotInstalled("curl is not installed")
    return ["sh", str(HERE / "curl.sh")]


CONTENDERS = (
    Contender(OURS, _python(OURS, "tusd_agent"), (BIG, SEALED, MANY, AT_ONCE)),
    Contender("ours-64MiB", _python("ours-64MiB", "tusd_agent"), (BIG, SEALED)),
    Contender("tuspy", _python("tuspy", "tusclient"), (BIG, SEALED, MANY)),
    Contender("tuspy-8MiB", _python("tuspy-8MiB", "tusclient"), (BIG, SEALED)),
    Contender("aiotus", _python("aiotus", "aiotus"), (BIG, SEALED, MANY)),
    Contender("resumable-upload", _python("resumable-upload", "resumable_upload"), (BIG, SEALED, MANY)),
    Contender("tus-js-client", partial(node, "client.mjs"), (BIG, SEALED, MANY, AT_ONCE)),
    Contender("curl", _curl, (BIG, SEALED)),
    Contender("bare socket", _python("bare socket", "socket"), (BIG, SEALED, MANY)),
)
