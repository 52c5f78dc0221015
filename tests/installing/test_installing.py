"""What install-service would write and do, by values; that it works is shown in tests/systemd."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tusd_agent.config import Settings, load
from tusd_agent.installing import (
    Host,
    HostUnusable,
    Remove,
    Run,
    Step,
    Write,
    carry_out,
    install_plan,
    places_for,
    uninstall_plan,
)
from tusd_agent.installing.drop_in import absent_folders, changed_folders, command_line, drop_in, quoted, with_program
from tusd_agent.installing.host import closed_to_others
from tusd_agent.installing.shipped import shipped

PROGRAM = ("/opt/tusd-agent/bin/tusd-agent",)
SYSTEM = {
    "CONFIGURATION_DIRECTORY": "/etc/tusd-agent",
    "STATE_DIRECTORY": "/var/lib/tusd-agent",
    "RUNTIME_DIRECTORY": "/run/tusd-agent",
}


def host(version: int = 252, program: tuple[str, ...] = PROGRAM) -> Host:
    return Host(version, program, Path("/etc/tusd-agent/config.toml"))


def settings_of(folder: Path, text: str) -> Settings:
    (folder / "config.toml").write_text(text)
    return load(folder / "config.toml", SYSTEM, uid=0)


def lines(host: Host, settings: Settings | None) -> list[str]:
    return [line for line in drop_in(host, settings).splitlines() if line and not line.startswith("#")]


def test_folders_that_are_changed_may_be_and_others_not(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        """
        [[watch]]
        path = "/srv/kept"
        [[watch]]
        path = "/srv/deleted 100%"
        after_upload = "delete"
        [[watch]]
        path = "/data/a/out"
        after_upload = "move"
        move_to = "/data/a/sent"
        [[watch]]
        path = "/mnt"
        after_upload = "move"
        move_to = "/media"
        """,
    )
    # Below one mount point a move is a rename; the root of all is never that.
    assert changed_folders(settings) == ["/srv/deleted 100%", "/data/a", "/mnt", "/media"]
    assert lines(host(), settings) == [
        "[Service]",
        'ReadWritePaths="-/srv/deleted 100%%" -/data/a -/mnt -/media',
        "ReadOnlyPaths=-/srv/kept",
    ]


def test_what_the_configuration_puts_elsewhere(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        '[agent]\nstate_dir = "/data/state"\nsocket_group = "staff"\n[[watch]]\npath = "/tmp/in"\n',
    )
    assert lines(host(), settings) == [
        "[Service]",
        "ReadWritePaths=-/data/state",
        "ReadOnlyPaths=-/tmp/in",
        "PrivateTmp=no",
        "SupplementaryGroups=staff",
    ]


def test_folders_are_named_by_where_they_are(tmp_path: Path) -> None:
    """A link to another disk, whose name lies beside the folder for what was sent."""
    tmp_path = tmp_path.resolve()
    (tmp_path / "disk/out").mkdir(parents=True)
    (tmp_path / "data/sent").mkdir(parents=True)
    (tmp_path / "data/out").symlink_to(tmp_path / "disk/out")
    settings = settings_of(
        tmp_path,
        f"""
        [[watch]]
        path = "{tmp_path}/data/out"
        after_upload = "move"
        move_to = "{tmp_path}/data/sent"
        [[watch]]
        path = "/srv/deleted"
        after_upload = "delete"
        move_to = "/srv/without effect"
        """,
    )
    assert changed_folders(settings) == [str(tmp_path), "/srv/deleted"]
    (tmp_path / "data/out").unlink()
    (tmp_path / "data/out").symlink_to("/srv/elsewhere/out")
    assert changed_folders(settings) == ["/srv/elsewhere/out", f"{tmp_path}/data/sent", "/srv/deleted"]
    assert absent_folders(settings) == ["/srv/elsewhere/out", "/srv/deleted"]


@pytest.mark.parametrize(("mode", "group", "handed_over"), [(0o600, 0, True), (0o640, 0, True), (0o640, 7, False)])
def test_a_token_for_root_alone_is_handed_over(tmp_path: Path, mode: int, group: int, handed_over: bool) -> None:
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(mode)
    if os.geteuid() == 0:
        os.chown(tmp_path / "token", 0, group)
    elif group == 0:
        pytest.skip("only root can make a file of root's")
    settings = settings_of(tmp_path, '[endpoint.default]\nbearer_token_file = "token"\n[[watch]]\npath = "/srv"\n')
    credentials = [line for line in lines(host(), settings) if line.startswith("LoadCredential")]
    assert credentials == ([f"LoadCredential=token:{tmp_path}/token"] if handed_over else [])


def test_a_token_of_the_agents_own_is_not_copied(tmp_path: Path) -> None:
    """Or a renewed one would not hold."""
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(0o600)
    settings = settings_of(tmp_path, '[endpoint.default]\nbearer_token_file = "token"\n[[watch]]\npath = "/srv"\n')
    own = replace(host(), agent_uid=(tmp_path / "token").stat().st_uid)
    assert "LoadCredential" not in drop_in(own, settings)


@pytest.mark.parametrize(("version", "refreshed"), [(257, False), (260, True)])
def test_a_reload_with_tokens_that_are_handed_over(tmp_path: Path, version: int, refreshed: bool) -> None:
    """Two endpoints may have the same one. What systemd runs at a reload does not see it: the agent itself is asked."""
    folder = tmp_path / "100% mine"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / name).write_text("secret")
        (folder / name).chmod(0o600)
    tables = [
        f'[endpoint.{endpoint}]\nurl = "https://tus.example/files/"\nbearer_token_file = "{token}"\n'
        for endpoint, token in (("a", "one"), ("b", "two"), ("c", "one"))
    ]
    found = lines(host(version), settings_of(folder, "".join(tables)))
    assert [line for line in found if line.startswith("LoadCredential=")] == [
        f"LoadCredential=one:{tmp_path}/100%% mine/one",
        f"LoadCredential=two:{tmp_path}/100%% mine/two",
    ]
    assert ("RefreshOnReload=credentials" in found) == refreshed
    assert not [line for line in found if line.startswith(("Type=", "ExecReload="))]


@pytest.mark.parametrize(("version", "known"), [(252, []), (253, ["Type"]), (254, ["RestartSteps", "Type"])])
def test_only_what_this_systemd_knows(version: int, known: list[str]) -> None:
    found = [line.partition("=")[0] for line in lines(host(version), None)]
    assert [name for name in found if name in ("Type", "RestartSteps")] == known


@pytest.mark.parametrize("unit", ["tusd-agent.service", "user/tusd-agent.service"])
def test_the_program_is_this_one(unit: str) -> None:
    text = with_program(shipped(unit), host(program=("/opt/my venv/bin/python", "-m", "tusd_agent")), Path("/x.toml"))
    assert 'ExecStart="/opt/my venv/bin/python" -m tusd_agent run --config /x.toml\n' in text
    assert 'ExecReload="/opt/my venv/bin/python" -m tusd_agent reload --config /x.toml\n' in text
    assert "/usr/local/bin" not in text


def test_every_directive_has_its_reason() -> None:
    """A comment above it, or above those that it stands together with."""
    without_reason = ("Description=", "WantedBy=")
    for unit in ("tusd-agent.service", "user/tusd-agent.service"):
        before = ""
        for line in shipped(unit).splitlines():
            if line and not line.startswith(("#", "[", *without_reason)):
                assert before.startswith("#") or "=" in before.partition(" ")[0], f"{unit}: {line}"
            before = line


@pytest.mark.parametrize(
    ("word", "line"),
    [("plain", "plain"), ("a b", '"a b"'), ('q"\\', '"q\\"\\\\"'), ("100%", "100%%"), ("$HOME", "$$HOME")],
)
def test_words_stay_words(word: str, line: str) -> None:
    assert command_line([word]) == line
    assert quoted("a;b") == '"a;b"'


def test_steps_are_said_done_once_and_end_with_the_first_that_fails(tmp_path: Path) -> None:
    said: list[str] = []
    steps: list[Step] = [
        Write(tmp_path / "deep/file", "text\n"),
        Run(("true",)),
        Run(("false",), may_fail=True),
        Remove(tmp_path / "absent"),
    ]
    carry_out(steps, said.append)
    assert (tmp_path / "deep/file").read_text() == "text\n"
    carry_out(steps, said.append)
    assert said == [f"write {tmp_path}/deep/file", "run true", "run false", "run true", "run false"]
    carry_out([Remove(tmp_path / "deep", if_empty=True)], said.append)
    assert (tmp_path / "deep/file").exists()
    with pytest.raises(HostUnusable, match="run sh -c echo no; exit 3: no"):
        carry_out([Run(("sh", "-c", "echo no; exit 3")), Remove(tmp_path / "deep")], said.append)
    carry_out([Remove(tmp_path / "deep")], said.append)
    assert not (tmp_path / "deep").exists()


def test_without_a_configuration_nothing_is_started() -> None:
    plan = install_plan(host(), places_for(host(), Path("/var/lib/tusd-agent")), None, config=None)
    assert [step.command[1:] for step in plan if isinstance(step, Run)][-2:] == [
        ("daemon-reload",),
        ("enable", "tusd-agent.service"),
    ]


@pytest.mark.parametrize(
    ("home", "file", "removed"),
    [
        (None, "/etc/tusd-agent/config.toml", "/etc/tusd-agent"),
        (None, "/etc/tusd-agent.toml", "/etc/tusd-agent.toml"),
        ("/home/a", "/home/a/.config/tusd-agent/config.toml", "/home/a/.config/tusd-agent"),
        ("/home/a", "/home/a/tusd-agent/config.toml", "/home/a/tusd-agent/config.toml"),
    ],
)
def test_no_folder_of_others_is_purged(home: str | None, file: str, removed: str) -> None:
    """Of a configuration that lies elsewhere, beside who knows what, only the file goes."""
    there = Host(252, PROGRAM, Path(file), None if home is None else Path(home))
    plan = uninstall_plan(there, places_for(there, Path("/state")), purge=True)
    assert [step.path for step in plan if isinstance(step, Remove)][-2:] == [Path("/state"), Path(removed)]


def test_who_can_come_to_the_program(tmp_path: Path) -> None:
    program = tmp_path / "private/bin/program"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    (tmp_path / "private").chmod(0o700)
    outside = closed_to_others(str(tmp_path))
    assert closed_to_others(str(program)) == (outside or str(tmp_path / "private"))
    assert closed_to_others("/usr/bin/env") is None
