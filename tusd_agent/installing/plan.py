"""What installing and removing the service does, as steps: to be shown, and to be carried out."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..config import Settings
from .drop_in import drop_in, with_program
from .host import NAME, Host, HostUnusable
from .shipped import shipped

UNIT = f"{NAME}.service"


@dataclass(frozen=True, slots=True)
class Write:
    """A file with this text; its folder is made."""

    path: Path
    text: str

    @property
    def shown(self) -> str:
        return f"write {self.path}"


@dataclass(frozen=True, slots=True)
class Run:
    """A command; one that `may_fail` is not missed where it can't be carried out."""

    command: tuple[str, ...]
    may_fail: bool = False

    @property
    def shown(self) -> str:
        return f"run {' '.join(self.command)}"


@dataclass(frozen=True, slots=True)
class Remove:
    """A file, or a folder: with all that is in it, or `if_empty`."""

    path: Path
    if_empty: bool = False

    @property
    def shown(self) -> str:
        return f"remove {self.path}" + (", if nothing else is in it" if self.if_empty else "")


Step = Write | Run | Remove


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files go. `systemctl` are its first words."""

    units: Path
    systemctl: tuple[str, ...]
    shipped_unit: str
    more: tuple[tuple[str, Path], ...]
    """Shipped files beside the unit, and where they go."""
    state: Path
    config: Path
    """What belongs to the service of the configuration: its usual folder, or else the named file alone."""

    @property
    def unit(self) -> Path:
        return self.units / UNIT

    @property
    def drop_ins(self) -> Path:
        return self.units / f"{UNIT}.d"

    @property
    def drop_in(self) -> Path:
        return self.drop_ins / "10-host.conf"


def places_for(host: Host, state: Path) -> Places:
    """The system's places, or a person's own."""
    if host.home is None:
        etc = Path("/etc")
        more = (
            ("sysusers.conf", etc / "sysusers.d" / f"{NAME}.conf"),
            ("tmpfiles.conf", etc / "tmpfiles.d" / f"{NAME}.conf"),
        )
        return Places(etc / "systemd/system", ("systemctl",), UNIT, more, state, _config(host, etc))
    config_home = host.config_home or host.home / ".config"
    units = config_home / "systemd/user"
    return Places(units, ("systemctl", "--user"), f"user/{UNIT}", (), state, _config(host, config_home))


def _config(host: Host, above: Path) -> Path:
    # Whose folder it is where somebody put the file elsewhere, nobody knows: it may be /etc, or a home folder.
    folder = above / NAME
    return folder if host.config_file.parent == folder else host.config_file


def install_plan(host: Host, places: Places, settings: Settings | None, *, config: Path | None) -> list[Step]:
    """Writes everything, and starts the service if there is a configuration (`settings`); one that runs starts anew.

    `config`: the configuration where it is not the usual one.
    """
    steps: list[Step] = [Write(path, shipped(name)) for name, path in places.more]
    steps.append(Write(places.unit, with_program(shipped(places.shipped_unit), host, config)))
    steps.append(Write(places.drop_in, drop_in(host, settings, config)))
    if host.home is None:
        steps.append(Run(("systemd-sysusers", *(str(path) for name, path in places.more if name == "sysusers.conf"))))
        made = (str(path) for name, path in places.more if name == "tmpfiles.conf")
        steps.append(Run(("systemd-tmpfiles", "--create", *made)))
    steps.append(Run((*places.systemctl, "daemon-reload")))
    steps.append(Run((*places.systemctl, "enable", UNIT)))
    if settings is not None:
        steps.append(Run((*places.systemctl, "restart", UNIT)))
    return steps


def uninstall_plan(host: Host, places: Places, *, purge: bool) -> list[Step]:
    """Stops the service and removes what `install_plan` wrote; with `purge` also its queue, configuration and user."""
    steps: list[Step] = [
        Run((*places.systemctl, "disable", "--now", UNIT), may_fail=True),
        Remove(places.drop_in),
        Remove(places.drop_ins, if_empty=True),
        Remove(places.unit),
        *(Remove(path) for _, path in places.more),
        Run((*places.systemctl, "daemon-reload")),
        Run((*places.systemctl, "reset-failed", UNIT), may_fail=True),
    ]
    if purge:
        steps += [Remove(places.state), Remove(places.config)]
        if host.home is None:
            # Some distributions have userdel take the group along, others not.
            steps += [Run(("userdel", NAME), may_fail=True), Run(("groupdel", NAME), may_fail=True)]
    return steps


def carry_out(steps: Iterable[Step], say: Callable[[str], object]) -> None:
    """Does it, step by step, each said first; what is as it should be already is passed over.

    Raises `HostUnusable` with what a command said when it failed; the steps before it are done then.
    """
    for step in steps:
        if _is_done(step):
            continue
        say(step.shown)
        try:
            _do(step)
        except OSError as error:
            raise HostUnusable(f"{step.shown}: {error.strerror or error}") from error


def _is_done(step: Step) -> bool:
    match step:
        case Write(path, text):
            return path.is_file() and path.read_bytes() == text.encode()
        case Remove(path, if_empty):
            return not os.path.lexists(path) or (if_empty and any(path.iterdir()))
        case Run():
            return False


def _do(step: Step) -> None:
    match step:
        case Write(path, text):
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_name(f"{path.name}.new")
            aside.write_bytes(text.encode())  # as systemd reads it, whatever the locale
            aside.chmod(0o644)
            aside.rename(path)
        case Remove(path, if_empty):
            if path.is_dir() and not path.is_symlink():
                path.rmdir() if if_empty else shutil.rmtree(path)
            else:
                path.unlink()
        case Run(command, may_fail):
            ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if ran.returncode and not may_fail:
                raise HostUnusable(f"{step.shown}: {ran.stdout.strip() or f'exit status {ran.returncode}'}")
