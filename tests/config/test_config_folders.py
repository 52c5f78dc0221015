"""Folders between each other: overlap, state, move_to, the socket; and what is only warned about."""

import subprocess
import sys
from pathlib import Path

import pytest

from tusd_agent.config import ConfigError, Problem, Settings, load

HOME = {"HOME": "/nonexistent/ada"}


def settings_of(folder: Path, text: str) -> Settings:
    path = folder / "etc" / "config.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return load(path, HOME, uid=1000)


def only(folder: Path, text: str) -> Problem:
    with pytest.raises(ConfigError) as caught:
        settings_of(folder, text)
    assert len(caught.value.problems) == 1, str(caught.value)
    return caught.value.problems[0]


def watch(*paths: Path | str) -> str:
    return "".join(f"[[watch]]\npath = '{path}'\n" for path in paths)


def test_overlapping_folders_are_refused_naming_both(tmp_path: Path) -> None:
    for inner in (tmp_path / "a", tmp_path / "a" / "b" / "c", f"{tmp_path}/x/../a/b", f"{tmp_path}//a/."):
        problem = only(tmp_path, watch(tmp_path / "a", inner))
        assert problem.key == "watch[1].path"
        assert f"{tmp_path}/a" in problem.wrong
        assert "watch[0].path, overlap" in problem.wrong
    # The outer one may also come later.
    assert "overlap" in only(tmp_path, watch(tmp_path / "a" / "b", tmp_path / "a")).wrong


def test_neighbours_do_not_overlap(tmp_path: Path) -> None:
    found = settings_of(tmp_path, watch(tmp_path / "a", tmp_path / "ab", tmp_path / "b" / "a"))
    assert len(found.watch) == 3


def test_overlap_is_seen_through_links(tmp_path: Path) -> None:
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "sub")
    problem = only(tmp_path, watch(tmp_path / "real", tmp_path / "link"))
    assert str(tmp_path / "link") in problem.wrong
    assert str(tmp_path / "real" / "sub") in problem.wrong


def test_a_path_keeps_the_name_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert settings_of(tmp_path, watch(tmp_path / "link")).watch[0].path == tmp_path / "link"


def test_overlap_is_seen_through_a_bind_mount(tmp_path: Path) -> None:
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "bound").mkdir()
    check = f"""
        mount --bind {tmp_path}/real {tmp_path}/bound || exit 99
        exec "$0" -c 'import sys; from pathlib import Path; from tusd_agent.config.checks import contains
sys.exit(0 if contains(Path(sys.argv[1]), Path(sys.argv[2])) else 1)' {tmp_path}/real {tmp_path}/bound/sub"""
    run = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", check, sys.executable],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if run.returncode == 99 or "unshare" in run.stderr:
        pytest.skip(f"no mount name spaces here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr


def test_the_state_folder_may_not_be_watched(tmp_path: Path) -> None:
    text = f"[agent]\nstate_dir = '{tmp_path}/a/state'\n"
    assert "agent.state_dir" in only(tmp_path, text + watch(tmp_path / "a")).wrong
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert "agent.state_dir" in only(tmp_path, text + watch(tmp_path / "link")).wrong
    # Beneath the state folder is odd, but harmless.
    assert settings_of(tmp_path, text + watch(tmp_path / "a" / "state" / "out"))


def test_move_needs_a_place_outside_every_watched_folder(tmp_path: Path) -> None:
    moving = watch(tmp_path / "a") + "after_upload = 'move'\n"
    assert only(tmp_path, moving).key == "watch[0].move_to"
    for move_to in (tmp_path / "a", tmp_path / "a" / "sent", tmp_path / "b" / "sent"):
        problem = only(tmp_path, f"{moving}move_to = '{move_to}'\n{watch(tmp_path / 'b')}")
        assert problem.key == "watch[0].move_to"
        assert "uploaded again" in problem.wrong
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert "uploaded again" in only(tmp_path, f"{moving}move_to = '{tmp_path}/link/sent'\n").wrong
    # A file a/x/f would land in the watched folder when it is moved beneath the folder that contains it.
    assert "could land in it" in only(tmp_path, f"{moving}move_to = '{tmp_path}'\n").wrong
    found = settings_of(tmp_path, f"{moving}move_to = '{tmp_path}/sent'\n{watch(tmp_path / 'b')}")
    assert found.watch[0].move_to == tmp_path / "sent"


def test_a_watched_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "not a folder" in only(tmp_path, watch(tmp_path / "file")).wrong


def test_the_socket_path_has_room_for_107_bytes(tmp_path: Path) -> None:
    fits = "/run/" + "ü" * 51
    assert settings_of(tmp_path, f"[agent]\nsocket = '{fits}'\n").agent.socket == Path(fits)
    problem = only(tmp_path, f"[agent]\nsocket = '{fits}x'\n")
    assert problem.key == "agent.socket"
    assert f"{fits}x is 108 bytes long" in problem.wrong
    assert "set agent.socket to a shorter path" in problem.hint


def test_a_default_socket_path_can_be_too_long_too(tmp_path: Path) -> None:
    problem = only(tmp_path, f"[agent]\nstate_dir = '/srv/{'x' * 100}'\n")
    assert problem.key == "agent.socket"
    assert "set agent.socket" in problem.hint


def test_the_socket_does_not_lie_where_anybody_may_write(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    problem = only(tmp_path, f"[agent]\nsocket = '{shared}/agent.sock'\n")
    assert "anybody may write" in problem.wrong
    assert f"{shared}/tusd-agent/agent.sock" in problem.hint
    assert settings_of(tmp_path, f"[agent]\nsocket = '{shared}/tusd-agent/agent.sock'\n")


def test_warnings(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    quiet = settings_of(tmp_path, watch(tmp_path / "there"))
    assert quiet.warnings() == []
    missing = settings_of(tmp_path, watch(tmp_path / "there", tmp_path / "later"))
    assert missing.warnings() == [f"watch[1].path: {tmp_path}/later is not there yet"]
    unused = settings_of(tmp_path, watch(tmp_path / "there") + f"move_to = '{tmp_path}/sent'\n")
    assert unused.warnings() == ['watch[0].move_to has no effect while after_upload is "keep"']
    itself = settings_of(tmp_path, watch(tmp_path / "etc"))
    assert "would be uploaded" in itself.warnings()[0]
    assert settings_of(tmp_path, "").warnings() == ["no folder is watched: there is no [[watch]]"]


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://uploads.example/files/", True),
        ("http://127.evil.example/files/", True),
        ("https://uploads.example/files/", False),
        ("http://localhost:1080/files/", False),
        ("http://127.0.0.1:1080/files/", False),
        ("http://[::1]:1080/files/", False),
    ],
)
def test_secrets_in_clear_over_the_network_are_warned_about(tmp_path: Path, url: str, warned: bool) -> None:
    (tmp_path / "there").mkdir()
    plain = f"{watch(tmp_path / 'there')}[endpoint.default]\nurl = '{url}'\n"
    assert settings_of(tmp_path, plain).warnings() == []
    found = settings_of(tmp_path, plain + "headers = { Authorization = 'Bearer x' }\n").warnings()
    assert any("unencrypted" in text for text in found) is warned


def test_dots_are_followed_once_as_the_kernel_would(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "er")
    found = settings_of(tmp_path, watch("../outgoing", f"{tmp_path}/link/../x"))
    assert [one.path for one in found.watch] == [tmp_path / "outgoing", tmp_path / "deep" / "x"]


@pytest.mark.parametrize(
    "text",
    [
        "[endpoint.lab]\nurl = 'ftp://host/'\n",
        "[[watch]]\npath = '/srv/a'\nafter_upload = 'move'\nmove_to = 7\n",
        "[agent]\nsocket = 7\nstate_dir = '/s'\n",
    ],
)
def test_what_follows_from_a_problem_is_not_told_as_another(tmp_path: Path, text: str) -> None:
    assert only(tmp_path, text).found in {'"ftp://host/"', "7"}
