"""This host's drop-in: what the shipped unit can't know (systemd.exec(5), systemd.service(5), systemd.unit(5))."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..config import Settings
from .host import Host

HEAD = """\
# Written by `tusd-agent install-service` for this host, from its configuration; the next one writes it anew.
# Changes of your own belong into another drop-in: `systemctl edit tusd-agent`.
"""
KNOWS_NOTIFY_RELOAD = 253
KNOWS_GROWING_DELAYS = 254
KNOWS_WANTED_MOUNTS = 256
KNOWS_REFRESHED_CREDENTIALS = 260

_TEMPORARY = ("/tmp", "/var/tmp")


def drop_in(host: Host, settings: Settings | None, config: Path | None = None) -> str:
    """The drop-in as text; without settings only with what depends on systemd's version."""
    unit: list[str] = []
    service: list[str] = []
    credentials: list[str] = []
    if settings is not None and host.home is None:
        unit += _mounts(host, settings)
        service += _folders(settings)
        service += _groups(settings)
        credentials += _credentials(host, settings)
        service += credentials
    if credentials and host.systemd_version >= KNOWS_REFRESHED_CREDENTIALS:
        service += ["# They are handed over anew at each `systemctl reload`.", "RefreshOnReload=credentials"]
    if host.systemd_version >= KNOWS_GROWING_DELAYS:
        service += [
            "# What fails again and again is tried less often, up to once a minute.",
            "RestartSteps=5",
            "RestartMaxDelaySec=60",
        ]
    # A command of ExecReload= sees no credentials (systemd #35227): it would find a token that it can't read,
    # and refuse each reload. The shipped unit asks the agent itself, which has them.
    if host.systemd_version >= KNOWS_NOTIFY_RELOAD and not credentials:
        service += [
            "# systemd sends SIGHUP, and `systemctl reload` returns when the agent works by the new configuration.",
            "Type=notify-reload",
            "ExecReload=",
            f"ExecReload={command_line([*host.program, 'check-config', *_named(config)])}",
        ]
    sections = [
        f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in (("Unit", unit), ("Service", service)) if lines
    ]
    return "\n".join([HEAD, *sections])


def with_program(unit: str, host: Host, config: Path | None) -> str:
    """The shipped unit with this host's program in its commands, and the configuration where that is not the usual."""
    for command in ("run", "reload"):
        unit = unit.replace(
            f"=/usr/local/bin/tusd-agent {command}\n", f"={command_line([*host.program, command, *_named(config)])}\n"
        )
    return unit


def _named(config: Path | None) -> list[str]:
    return [] if config is None else ["--config", str(config)]


def command_line(words: Sequence[str]) -> str:
    """Words for `ExecStart=`: quoted where they must be, with nothing in them that systemd would expand."""
    return " ".join(quoted(word.replace("$", "$$")) for word in words)


def quoted(word: str) -> str:
    """One word of a setting's value (systemd.syntax(7), "Quoting"), specifiers escaped."""
    word = word.replace("%", "%%")
    if not set(word) & set(" \t\n\"'\\;#"):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def changed_folders(settings: Settings) -> list[str]:
    """The folders that the agent, or the program it runs after an upload, changes by the configuration.

    Links are followed: what lies above both ends of a move is to hold the folders themselves, not their links.
    """
    found: list[str] = []
    for watch in settings.watch:
        if watch.after_upload == "keep":
            continue
        path = os.path.realpath(watch.path)
        if watch.after_upload != "move" or watch.move_to is None:
            found.append(path)
            continue
        # Two bind mounts are two file systems to rename(2): each move would be a copy. One above both spares that.
        move_to = os.path.realpath(watch.move_to)
        above = os.path.commonpath([path, move_to])
        found += [above] if above.count("/") >= 2 else [path, move_to]
    return list(dict.fromkeys(found))


def absent_folders(settings: Settings) -> list[str]:
    """Those of `changed_folders` that are not there: the sandbox opens only what is there when the service starts."""
    return [path for path in changed_folders(settings) if not os.path.isdir(path)]


def _mounts(host: Host, settings: Settings) -> Iterator[str]:
    if settings.watch and host.systemd_version >= KNOWS_WANTED_MOUNTS:
        yield "# Their disks are mounted before it starts, where they can be; it waits for those that are missing."
        yield f"WantsMountsFor={_words(os.path.realpath(watch.path) for watch in settings.watch)}"


def _folders(settings: Settings) -> Iterator[str]:
    changed = changed_folders(settings)
    own = _own_folders(settings)
    watched = [os.path.realpath(watch.path) for watch in settings.watch]
    kept = [path for path in watched if not _below_any(path, changed)]
    if own:
        yield "# Its own folders, which the configuration puts elsewhere."
        yield f"ReadWritePaths={_words(f'-{path}' for path in own)}"
    if changed:
        yield "# Folders whose files are deleted, moved, or left to a command after the upload. For a move it may be"
        yield "# one that holds both ends: only within one of these paths a move is a rename."
        yield f"ReadWritePaths={_words(f'-{path}' for path in changed)}"
    if kept:
        yield "# Folders that are only read."
        yield f"ReadOnlyPaths={_words(f'-{path}' for path in kept)}"
    if any(_below_any(path, _TEMPORARY) for path in (*changed, *kept, *own)):
        yield "# A folder lies beneath the /tmp of all."
        yield "PrivateTmp=no"


def _own_folders(settings: Settings) -> list[str]:
    usual = {"/var/lib/tusd-agent", "/run/tusd-agent"}
    own = [str(settings.agent.state_dir), os.path.dirname(str(settings.agent.socket))]
    return [path for path in dict.fromkeys(own) if path not in usual]


def _groups(settings: Settings) -> Iterator[str]:
    if settings.agent.socket_group:
        yield "# The agent gives its socket to this group (agent.socket_group), which only a member may."
        yield f"SupplementaryGroups={settings.agent.socket_group}"


def _credentials(host: Host, settings: Settings) -> Iterator[str]:
    """For tokens that only root can read. One that the agent's user can read itself is read anew for each request."""
    for name in token_names(settings):
        assert settings.config_dir is not None
        place = settings.config_dir / name
        if place.is_file() and not _agents_own(os.stat(place), host.agent_uid):
            yield "# Only root can read this one: a copy is handed over at each start."
            # All after the colon is the path, quotes as well.
            yield f"LoadCredential={name}:{str(place).replace('%', '%%')}"


def _agents_own(found: os.stat_result, agent_uid: int | None) -> bool:
    """Whether the agent can read it; of a group other than root's it is taken for a member."""
    by_owner = found.st_mode & 0o400 and found.st_uid == agent_uid
    by_group = found.st_mode & 0o040 and found.st_gid != 0
    return bool(by_owner or by_group or found.st_mode & 0o004)


def token_names(settings: Settings) -> list[str]:
    """The names of token files that lie beside the configuration."""
    if settings.config_dir is None:
        return []
    names = [endpoint.bearer_token_file for endpoint in settings.endpoint.values()]
    # A credential's name is a file's, without folders (systemd.exec(5), LoadCredential=).
    return list(dict.fromkeys(name for name in names if name and not set(name) & set("/:~ %")))


def _below_any(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _words(values: Iterable[str | Path]) -> str:
    return " ".join(quoted(str(value)) for value in values)
