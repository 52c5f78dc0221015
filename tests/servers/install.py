"""Builds tusd and installs @tus/server into a cache folder: ``python -m tests.servers install``.

The cache is ``$TUSD_TEST_CACHE``, else ``.ci/cache`` in the repository. (The name has not the agent's prefix
``TUSD_AGENT_``: the agent refuses variables with it that it does not know.) What lies there is named after a digest
of what it was made from, so a changed version is never mistaken for the one before.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
TUSD = "github.com/tus/tusd/v2/cmd/tusd"
HOW = "python -m tests.servers install"


class NotInstalled(Exception):
    """A server is not on this machine; the message says what is missing and how to get it."""


def tusd_binary() -> Path:
    """The program tusd; NotInstalled when nobody built it yet."""
    return _present(_tusd_folder() / "tusd", "tusd", "go")


def node_server() -> Path:
    """The program server.mjs beside its modules; NotInstalled when nobody installed them yet."""
    return _present(_node_folder() / "server.mjs", "@tus/server", "node")


def install_tusd() -> Path:
    """Build tusd from the module beside this file, with ``go build`` (two minutes the first time)."""

    def build(folder: Path) -> None:
        command = ["go", "build", "-mod=readonly", "-buildvcs=false", "-o", str(folder / "tusd"), TUSD]
        run(command, HERE / "tusd", {"CGO_ENABLED": "0"})

    return made(_tusd_folder(), build) / "tusd"


def install_node_server() -> Path:
    """Install @tus/server with ``npm install``; the versions are those of ``node/package.json``."""

    def install(folder: Path) -> None:
        for name in ("package.json", "server.mjs"):
            shutil.copy(HERE / "node" / name, folder)
        run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"], folder, {})

    return made(_node_folder(), install) / "server.mjs"


def cache() -> Path:
    given = os.environ.get("TUSD_TEST_CACHE")
    return Path(given).absolute() if given else HERE.parents[1] / ".ci" / "cache"


def _tusd_folder() -> Path:
    return cache() / f"tusd-{digest(HERE / 'tusd/go.mod', HERE / 'tusd/go.sum')}"


def _node_folder() -> Path:
    return cache() / f"node-{digest(HERE / 'node/package.json', HERE / 'node/server.mjs')}"


def digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _present(path: Path, what: str, needs: str) -> Path:
    if not path.exists():
        raise NotInstalled(f"{what} is not installed: run `{HOW}`, which needs {needs}")
    if needs == "node" and not shutil.which("node"):
        raise NotInstalled(f"{what} needs node, which is not installed")
    return path


def made(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder` as `make` fills it: all of it or nothing, also when two runs do so at once."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix="unfinished-"))
        try:
            make(unfinished)
            if not folder.exists():
                unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    if not shutil.which(command[0]):
        raise NotInstalled(f"{command[0]} is not installed")
    subprocess.run(command, cwd=folder, env={**os.environ, **environment}, check=True)
