"""Where configuration, state and control socket lie when nothing names them.

A system service finds its places in what systemd sets ($CONFIGURATION_DIRECTORY, $STATE_DIRECTORY,
$RUNTIME_DIRECTORY; systemd.exec(5)) or, started by root, in the usual folders. A user has the XDG base
directories. Each function is decided by its arguments alone; only `socket_path` also looks at the folder it is
about to choose, because a socket in a folder that others may write to can be taken by others.
"""

import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path

NAME = "tusd-agent"
ROOT_UID = 0


class HomeUnknownError(LookupError):
    """Neither $HOME nor the user database says where the user's files lie (a container with a bare uid)."""


def home_dir(environ: Mapping[str, str], uid: int) -> Path:
    """The home folder of `uid`: $HOME when it is absolute, else what the user database says.

    Raises HomeUnknownError when neither does.
    """
    if (home := environ.get("HOME", "")).startswith("/"):
        return Path(home)
    try:
        return Path(pwd.getpwuid(uid).pw_dir)
    except KeyError:
        raise HomeUnknownError(f"$HOME is not set and user {uid} has no entry in the user database") from None


def config_file(environ: Mapping[str, str], uid: int) -> Path:
    """The configuration file that is read when none is named; it need not exist.

    Raises HomeUnknownError where a home folder is needed and unknown.
    """
    if folder := _given_by_systemd(environ, "CONFIGURATION_DIRECTORY"):
        return folder / "config.toml"
    if uid == ROOT_UID:
        return Path("/etc", NAME, "config.toml")
    return _xdg(environ, uid, "XDG_CONFIG_HOME", ".config") / NAME / "config.toml"


def state_dir(environ: Mapping[str, str], uid: int) -> Path:
    """The folder of the queue and its lock. Raises HomeUnknownError where a home folder is needed and unknown."""
    if folder := _given_by_systemd(environ, "STATE_DIRECTORY"):
        return folder
    if uid == ROOT_UID:
        return Path("/var/lib", NAME)
    return _xdg(environ, uid, "XDG_STATE_HOME", ".local/state") / NAME


def uploads_dir(environ: Mapping[str, str], uid: int) -> Path:
    """Where ``tusd-agent upload`` remembers what it has not finished: a person's own folder, root's as well.

    Raises HomeUnknownError where a home folder is needed and unknown.
    """
    return _xdg(environ, uid, "XDG_STATE_HOME", ".local/state") / NAME / "uploads"


def socket_path(environ: Mapping[str, str], uid: int, state_dir: Path) -> Path:
    """The control socket: in the runtime folder of the service or the user, else in `state_dir`.

    $XDG_RUNTIME_DIR counts only if it is what its specification asks for: a folder of this user that nobody else
    may write to. It often is not: `su` hands on the one of somebody else, containers point it at /tmp.
    """
    if folder := _given_by_systemd(environ, "RUNTIME_DIRECTORY"):
        return folder / "control.sock"
    if uid == ROOT_UID:
        return Path("/run", NAME, "control.sock")
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and _private(runtime, uid):
        return Path(runtime, NAME, "control.sock")
    return state_dir / "control.sock"


def _given_by_systemd(environ: Mapping[str, str], name: str) -> Path | None:
    """The first of the folders, separated by colons, that a unit's `…Directory=` setting names."""
    first = environ.get(name, "").split(":")[0]
    return Path(first) if first.startswith("/") else None


def _xdg(environ: Mapping[str, str], uid: int, name: str, fallback: str) -> Path:
    """An XDG base directory; a relative value is to be ignored (XDG Base Directory Specification, "Basics")."""
    value = environ.get(name, "")
    return Path(value) if value.startswith("/") else home_dir(environ, uid) / fallback


def _private(folder: str, uid: int) -> bool:
    try:
        found = os.stat(folder)
    except OSError:
        return False
    others_may_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not others_may_write
