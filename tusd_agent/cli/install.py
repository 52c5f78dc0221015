"""``tusd-agent install-service`` and ``uninstall-service``: the unit and what belongs to it, on this host."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click

from .. import installing, places
from ..config import ConfigError, Settings, load
from ..installing.drop_in import absent_folders
from ..installing.host import NAME, closed_to_others
from .options import EXIT_BAD_CONFIG, EXIT_FAILED, config_option, fail, say, warn

_SYSTEM = {
    "CONFIGURATION_DIRECTORY": f"/etc/{NAME}",
    "STATE_DIRECTORY": f"/var/lib/{NAME}",
    "RUNTIME_DIRECTORY": f"/run/{NAME}",
    "HOME": f"/var/lib/{NAME}",
}
"""What systemd tells the system service of its folders, and its user's: so the configuration is read as it is there."""


@click.command("install-service")
@config_option
@click.option("--user", "for_user", is_flag=True, help="In your own systemd instead of the system's.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
def install_command(config: Path | None, for_user: bool, dry_run: bool) -> None:
    """Install the agent as a service of systemd, enable it, and start it if there is a configuration.

    Everything is written for this host: the path of this very program, the folders of the configuration that it may
    change, its tokens. To be run again after an upgrade, and after the configuration names other folders or tokens;
    a service that runs is restarted. Exit codes: 0 done; 1 it failed; 78 bad configuration.

    Example: tusd-agent install-service --dry-run
    """
    host, where = _look(config, for_user)
    settings = _settings(host, config)
    for problem in _warnings(host, settings):
        warn(f"warning: {problem}")
    usual = places.config_file(_environ(for_user), 0 if host.home is None else os.getuid())
    steps = installing.install_plan(
        host, where, settings, config=None if host.config_file == usual else host.config_file
    )
    _carry_out(steps, dry_run)
    if dry_run:
        return
    if settings is None:
        say(f"It is installed. Write {host.config_file}, and run this again to start it.")
        return
    for problem in _unreadable(settings) if host.home is None else ():
        warn(f"warning: {problem}")
    say("It is installed and runs." + (" To let it run while you are logged out: loginctl enable-linger" * for_user))


@click.command("uninstall-service")
@config_option
@click.option("--user", "for_user", is_flag=True, help="The one in your own systemd instead of the system's.")
@click.option("--purge", is_flag=True, help="Remove queue, configuration and the user as well.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
def uninstall_command(config: Path | None, for_user: bool, purge: bool, dry_run: bool) -> None:
    """Stop the service and remove what install-service wrote.

    The queue, the configuration and the service's user stay, so that a later installation goes on where this one
    stopped, unless you say --purge. Watched folders are not touched.

    Example: tusd-agent uninstall-service --dry-run
    """
    host, where = _look(config, for_user)
    state = _state_elsewhere(host, where.state)
    _carry_out(installing.uninstall_plan(host, where, purge=purge), dry_run)
    # Also by --purge: what else lies in a folder that somebody chose for the queue nobody knows.
    kept = [str(path) for path in (where.state, where.config, state) if path is not None and path.exists()]
    if not dry_run and (kept or not purge):
        say("It is removed." + (f" Kept: {' and '.join(kept)}" if kept else ""))
    if where.drop_ins.is_dir() and not dry_run:
        say(f"Drop-ins of your own are left in {where.drop_ins}")


def _look(config: Path | None, for_user: bool) -> tuple[installing.Host, installing.Places]:
    if not for_user and os.geteuid() != 0:
        fail("only root can install a service of the system", "sudo, or --user for a service of your own", EXIT_FAILED)
    environ = _environ(for_user)
    uid = os.getuid()
    file = Path(os.path.abspath(config)) if config is not None else places.config_file(environ, uid)
    home = places.home_dir(environ, uid) if for_user else None
    config_home = environ.get("XDG_CONFIG_HOME", "") if for_user else ""
    try:
        host = installing.look_at_host(file, home, Path(config_home) if config_home.startswith("/") else None)
    except installing.HostUnusable as error:
        fail(str(error), "", EXIT_FAILED)
    return host, installing.places_for(host, places.state_dir(environ, uid))


def _environ(for_user: bool) -> dict[str, str]:
    """What the service will find; settings in this shell's environment are not its."""
    here = {name: value for name, value in os.environ.items() if not name.startswith("TUSD_AGENT_")}
    return here if for_user else {**here, **_SYSTEM}


def _settings(host: installing.Host, config: Path | None) -> Settings | None:
    if config is None and not host.config_file.exists():
        return None
    try:
        return load(host.config_file, _environ(host.home is not None))
    except ConfigError as error:
        warn(str(error))
        raise SystemExit(EXIT_BAD_CONFIG) from None


def _state_elsewhere(host: installing.Host, usual: Path) -> Path | None:
    """Where the configuration puts the queue, if not into the usual folder."""
    try:
        state = load(host.config_file, _environ(host.home is not None)).agent.state_dir
    except ConfigError:
        return None
    return None if state == usual else state


def _carry_out(steps: list[installing.Step], dry_run: bool) -> None:
    if dry_run:
        for step in steps:
            say(step.shown)
            if isinstance(step, installing.Write):
                for line in step.text.splitlines():
                    say(f"    {line}".rstrip())
        return
    try:
        installing.carry_out(steps, say)
    except installing.HostUnusable as error:
        fail(str(error), "the steps before this one are done; install-service can be run again", EXIT_FAILED)


def _warnings(host: installing.Host, settings: Settings | None) -> Iterator[str]:
    if host.home is not None:
        if os.geteuid() == 0:
            yield "this is root's own systemd: an agent that runs as root may read and delete everything"
        return
    for path in (host.program[0], *([str(host.config_file)] if settings is not None else [])):
        closed = closed_to_others(path)
        if closed is not None:
            yield (
                f"{path}: the user {NAME} can't get past {closed}. Install the agent into /opt/{NAME}, or "
                f"let others come there (chmod o+rx)"
            )
    for folder in absent_folders(settings) if settings is not None else ():
        yield (
            f"{folder} is not there, and the sandbox lets the agent change only what is there when it starts: make it, "
            "and run this again"
        )
    for watch in settings.watch if settings is not None else ():
        if watch.after_upload == "command":
            yield (
                f"{watch.path}: the command runs within the service's sandbox, as the user {NAME}: it may change what "
                "the drop-in names in ReadWritePaths=, and nothing else"
            )


def _unreadable(settings: Settings) -> Iterator[str]:
    """The folders that the service's user can't read, or change where it is to, asked as that user."""
    as_agent = ["setpriv", f"--reuid={NAME}", f"--regid={NAME}", "--init-groups", "test"]
    for watch in settings.watch:
        changes = watch.after_upload != "keep"
        asked = ("-r", "-w", "-x") if changes else ("-r", "-x")
        what = "read and change" if changes else "read"
        for folder in (watch.path, watch.move_to if watch.after_upload == "move" else None):
            if folder is None or not folder.is_dir():
                continue
            if any(
                subprocess.run([*as_agent, right, str(folder)], capture_output=True, check=False).returncode == 1
                for right in asked
            ):
                yield (
                    f"{folder}: the user {NAME} can't {what} it. An access list lets it: setfacl -R -m "
                    f"u:{NAME}:rwX -m d:u:{NAME}:rwX {folder}; systemd/folders-of-others.conf has other ways"
                )
