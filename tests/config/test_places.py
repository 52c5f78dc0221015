"""Where files lie: the table of places for a system service, for root and for a user."""

import os
import pwd
from pathlib import Path

import pytest

from tusd_agent import places

USER = 4711
SERVICE = {
    "CONFIGURATION_DIRECTORY": "/etc/tusd-agent",
    "STATE_DIRECTORY": "/var/lib/tusd-agent:/var/lib/other",
    "RUNTIME_DIRECTORY": "/run/tusd-agent",
}


@pytest.mark.parametrize("uid", [0, USER])
def test_a_service_lies_where_systemd_says(uid: int) -> None:
    environ = {**SERVICE, "HOME": "/home/ada", "XDG_RUNTIME_DIR": "/run/user/4711"}
    assert places.config_file(environ, uid) == Path("/etc/tusd-agent/config.toml")
    assert places.state_dir(environ, uid) == Path("/var/lib/tusd-agent")
    assert places.socket_path(environ, uid, Path("/s")) == Path("/run/tusd-agent/control.sock")


def test_root_without_systemd_uses_the_places_of_the_service() -> None:
    assert places.config_file({}, 0) == Path("/etc/tusd-agent/config.toml")
    assert places.state_dir({}, 0) == Path("/var/lib/tusd-agent")
    assert places.socket_path({}, 0, Path("/s")) == Path("/run/tusd-agent/control.sock")


def test_a_user_has_the_xdg_folders() -> None:
    environ = {"HOME": "/home/ada", "XDG_CONFIG_HOME": "/home/ada/c", "XDG_STATE_HOME": "/home/ada/s"}
    assert places.config_file(environ, USER) == Path("/home/ada/c/tusd-agent/config.toml")
    assert places.state_dir(environ, USER) == Path("/home/ada/s/tusd-agent")


@pytest.mark.parametrize("value", [None, "", "relative/folder"])
def test_unset_and_relative_xdg_folders_fall_back(value: str | None) -> None:
    environ = {"HOME": "/home/ada"}
    if value is not None:
        environ |= {"XDG_CONFIG_HOME": value, "XDG_STATE_HOME": value, "XDG_RUNTIME_DIR": value}
    assert places.config_file(environ, USER) == Path("/home/ada/.config/tusd-agent/config.toml")
    assert places.state_dir(environ, USER) == Path("/home/ada/.local/state/tusd-agent")
    assert places.socket_path(environ, USER, Path("/state")) == Path("/state/control.sock")


def test_home_comes_from_the_user_database_when_the_environment_has_none() -> None:
    assert places.home_dir({}, os.getuid()) == Path(pwd.getpwuid(os.getuid()).pw_dir)


def test_an_unknown_user_without_home_is_said() -> None:
    nobody_has_it = max(entry.pw_uid for entry in pwd.getpwall()) - 1
    while any(entry.pw_uid == nobody_has_it for entry in pwd.getpwall()):
        nobody_has_it -= 1
    with pytest.raises(places.HomeUnknownError, match=str(nobody_has_it)):
        places.state_dir({}, nobody_has_it)


def test_the_socket_lies_in_a_private_runtime_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    uid = max(os.getuid(), 1)
    os.chown(tmp_path, uid, -1)
    assert places.socket_path(environ, uid, Path("/state")) == tmp_path / "tusd-agent" / "control.sock"


@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o770])
def test_a_runtime_folder_others_may_write_to_is_not_used(tmp_path: Path, mode: int) -> None:
    uid = max(os.getuid(), 1)
    os.chown(tmp_path, uid, -1)
    tmp_path.chmod(mode)
    assert places.socket_path({"XDG_RUNTIME_DIR": str(tmp_path)}, uid, Path("/state")) == Path("/state/control.sock")


def test_the_runtime_folder_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    stranger = os.getuid() + 1
    assert places.socket_path({"XDG_RUNTIME_DIR": str(tmp_path)}, stranger, Path("/s")) == Path("/s/control.sock")


def test_a_runtime_folder_that_is_missing_or_a_file_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o600)
    for name in ("missing", "file"):
        found = places.socket_path({"XDG_RUNTIME_DIR": str(tmp_path / name)}, os.getuid() or 1, Path("/s"))
        assert found == Path("/s/control.sock")
