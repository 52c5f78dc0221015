"""The root trees that are booted: Debian by debootstrap, with the wheels of what the package depends on.

They lie in the cache of `tests.servers`, named by a digest of what they are made from, and are never booted themselves:
each run has a copy.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.servers import NotInstalled
from tests.servers.install import cache, made

HOW = "python -m tests.systemd install"
REPOSITORY = Path(__file__).parents[2]
RELEASES = {"bookworm": "3.11", "trixie": "3.13"}
"""Releases of Debian with their Python. The one's systemd (252) knows neither notify-reload nor growing delays between
restarts, the other's (257) knows both."""
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv"
WHEELS = "usr/local/share/wheels"
NEEDED = ("debootstrap", "systemd-nspawn", "nsenter")


def root_tree(release: str) -> Path:
    """The tree to copy; NotInstalled says what is missing on this machine."""
    _require()
    tree = _folder(release) / "root"
    if not tree.exists():
        raise NotInstalled(f"the root tree of {release} is not there: run `{HOW}`")
    return tree


def install_tree(release: str) -> Path:
    """Makes the tree (a minute), from the mirror that the host's apt uses."""
    _require()

    def make(folder: Path) -> None:
        root = folder / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, str(root), *_mirror()]
        made_it = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if made_it.returncode:
            raise NotInstalled(f"debootstrap failed:\n{made_it.stdout[-4000:]}")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
        into = ["--python-version", RELEASES[release], "--dest", str(root / WHEELS)]
        subprocess.run([*pip, *into, *_requirements()], check=True)
        # The commands of the README then find everything there, and nothing else.
        (root / "etc/pip.conf").write_text(f"[global]\nno-index = true\nfind-links = /{WHEELS}\n")
        shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
        shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)
        folder.chmod(0o755)

    return made(_folder(release), make) / "root"


def _require() -> None:
    missing = [program for program in NEEDED if not shutil.which(program)]
    if missing:
        raise NotInstalled(f"{' and '.join(missing)} not installed (Debian's packages debootstrap, systemd-container)")
    if os.geteuid():
        raise NotInstalled("only root can boot a systemd in a container")


def _folder(release: str) -> Path:
    made_from = [release, PACKAGES, *_requirements(), Path(__file__).read_text()]
    return cache() / f"{release}-{hashlib.sha256(chr(0).join(made_from).encode()).hexdigest()[:12]}"


def _requirements() -> list[str]:
    """What the package and its being built need."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    return sorted(project["project"]["dependencies"] + project["build-system"]["requires"])


def _mirror() -> list[str]:
    """The archive that the host's own packages come from; none: debootstrap has a default."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    except FileNotFoundError:
        return []
    return found[:1]
