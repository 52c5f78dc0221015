"""Tests that run in namespaces of their own: there they may mount, and set limits, whoever they are.

``@in_namespaces`` runs the test once more, alone, below unshare(1): in a user namespace in which it is root, and a
mount namespace whose mounts nobody else sees and that are gone with it (user_namespaces(7), mount_namespaces(7)).
"""

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import pytest

from .files import wait_for

P = ParamSpec("P")

ROOT = Path(__file__).parents[2]
UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")
SECONDS = 150
# --heavy: whether such a test is run at all has been decided outside.
_PYTEST = (sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-q", "-ra", "--heavy")
_INSIDE = "TUSD_TEST_IN_NAMESPACES"


def in_namespaces(test: Callable[P, None]) -> Callable[P, None]:
    """Where such namespaces can't be had the test is skipped, with CI in the environment it fails."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        if os.environ.get(_INSIDE):
            test(*args, **kwargs)
            return
        _require_namespaces()
        name = os.environ["PYTEST_CURRENT_TEST"].rpartition(" (")[0]
        ran = subprocess.run(
            [*UNSHARE, *_PYTEST, name],
            cwd=ROOT,
            env={name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")} | {_INSIDE: "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
        if ran.returncode:
            pytest.fail(ran.stdout, pytrace=False)
        if skipped := re.search(r"^SKIPPED \[1\] (.*)$", ran.stdout, re.MULTILINE):
            pytest.skip(skipped[1])

    return run


def mount_tmpfs(point: Path, *options: str) -> None:
    """Mounts an empty file system in memory, for a test that is in its own mount namespace."""
    assert os.environ.get(_INSIDE), "mounts are for tests with @in_namespaces"
    point.mkdir(parents=True, exist_ok=True)
    more = ["-o", ",".join(options)] if options else []
    subprocess.run(["mount", "-t", "tmpfs", *more, "tmpfs", str(point)], check=True)


def bind(there: Path, point: Path) -> None:
    """Lets `point` be the file system that is mounted at `there`: a disk that survives being unmounted."""
    assert os.environ.get(_INSIDE), "mounts are for tests with @in_namespaces"
    subprocess.run(["mount", "--bind", str(there), str(point)], check=True)


def remount(point: Path, *options: str) -> None:
    """Changes the options of a file system that is mounted there, to ``"ro"`` say."""
    assert os.environ.get(_INSIDE), "mounts are for tests with @in_namespaces"
    subprocess.run(["mount", "-o", ",".join(["remount", *options]), str(point)], check=True)


def unmount(point: Path) -> None:
    """As an operator does it; a scan that just reads there makes it busy for a moment."""
    assert os.environ.get(_INSIDE), "mounts are for tests with @in_namespaces"
    wait_for(lambda: subprocess.run(["umount", str(point)], check=False).returncode == 0, 10, f"umount {point}")


def set_inotify_limit(what: str, number: int) -> None:
    """So many inotify ``"watches"`` or ``"instances"`` for all processes of this user namespace."""
    assert os.environ.get(_INSIDE), "limits are for tests with @in_namespaces"
    Path(f"/proc/sys/user/max_inotify_{what}").write_text(f"{number}\n")


def _require_namespaces() -> None:
    missing = _missing()
    if missing is not None:
        sentence = f"no user namespaces here: {missing}"
        if os.environ.get("CI"):
            pytest.fail(sentence, pytrace=False)
        pytest.skip(sentence)


@functools.cache
def _missing() -> str | None:
    if shutil.which(UNSHARE[0]) is None:
        return "unshare(1) of util-linux is not installed"
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else tried.stderr.strip() or "unshare(1) failed"
