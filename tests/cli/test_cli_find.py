"""Finding the agent: which socket and which database are meant."""

import os
from pathlib import Path

import pytest

from tusd_agent import places
from tusd_agent.cli.find import AgentPaths, ConfigUnreadable, find_agent
from tusd_agent.config import load

USER = 4711


class Home:
    """A user's home, and the environment that goes with it. A file is as good as a socket here: nobody connects."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environ = {"HOME": str(path)}
        self.usual = AgentPaths(
            path / ".local/state/tusd-agent/control.sock", path / ".local/state/tusd-agent/queue.db"
        )
        self.config = path / ".config/tusd-agent/config.toml"
        self.config.parent.mkdir(parents=True)

    def put(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def find(self, socket: Path | None = None, config: Path | None = None, **environ: str) -> AgentPaths:
        return find_agent(socket, config, {**self.environ, **environ}, USER)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The system's agent has its places below `tmp_path` too: this machine may have one that runs."""
    real = places.socket_path

    def socket_path(environ: dict[str, str], uid: int, state_dir: Path) -> Path:
        found = real(environ, uid, state_dir)
        return tmp_path / "system" / found.relative_to("/") if uid == places.ROOT_UID else found

    monkeypatch.setattr(places, "socket_path", socket_path)
    return Home(tmp_path / "home")


def test_nothing_named_and_nothing_there_is_the_usual_place(home: Home) -> None:
    assert home.find() == home.usual


def test_the_option_counts_above_all(home: Home) -> None:
    home.config.write_text('[agent]\nsocket = "/from/file.sock"\nstate_dir = "/from/file"\n')
    found = home.find(Path("/named.sock"), home.config, TUSD_AGENT_AGENT__SOCKET="/from/environment.sock")
    assert found == AgentPaths(Path("/named.sock"), Path("/from/file/queue.db"))


def test_the_environment_counts_above_the_file(home: Home) -> None:
    home.config.write_text('[agent]\nsocket = "/from/file.sock"\nstate_dir = "/from/file"\n')
    found = home.find(
        TUSD_AGENT_AGENT__SOCKET="/from/environment.sock", TUSD_AGENT_AGENT__STATE_DIR="/from/environment"
    )
    assert found == AgentPaths(Path("/from/environment.sock"), Path("/from/environment/queue.db"))


def test_a_named_file_counts_above_the_usual_place(home: Home) -> None:
    home.put(home.usual.socket)
    other = home.path / "other.toml"
    other.write_text('[agent]\nstate_dir = "state"\n')
    there = AgentPaths(home.path / "state/control.sock", home.path / "state/queue.db")
    assert home.find(config=other) == there
    assert home.find(TUSD_AGENT_CONFIG=str(other)) == there
    assert home.find(TUSD_AGENT_CONFIG="~/other.toml") == there


def test_the_usual_file_counts_where_the_usual_place_has_no_socket(home: Home) -> None:
    home.config.write_text('[agent]\nsocket = "~/run/agent.sock"\nstate_dir = "~/state"\n')
    from_file = AgentPaths(home.path / "run/agent.sock", home.path / "state/queue.db")
    assert home.find() == from_file
    home.put(home.usual.socket)
    assert home.find() == home.usual


def test_what_the_settings_say_is_found(home: Home) -> None:
    home.config.write_text('[agent]\nstate_dir = "/srv/state"\n')
    agent = load(home.config, home.environ, uid=USER).agent
    assert home.find() == AgentPaths(Path(agent.socket), Path(agent.state_dir) / "queue.db")


def test_a_user_without_an_agent_means_the_systems(home: Home, tmp_path: Path) -> None:
    system = tmp_path / "system/run/tusd-agent/control.sock"
    home.put(system)
    assert home.find() == AgentPaths(system, Path("/var/lib/tusd-agent/queue.db"))
    home.put(home.usual.socket)
    assert home.find() == home.usual


def test_a_folder_that_can_not_be_looked_into_may_hold_the_systems_agent(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "system/run/tusd-agent/control.sock"
    system.parent.mkdir(parents=True)
    assert home.find() == home.usual
    monkeypatch.setattr(os, "access", lambda path, mode, **options: path != system.parent)
    assert home.find().socket == system


def test_a_named_file_that_can_not_be_read_is_said(home: Home) -> None:
    with pytest.raises(ConfigUnreadable, match=r"none\.toml can't be read: No such file"):
        home.find(config=home.path / "none.toml")
    home.config.write_text('[agent]\nbearer = secret"\n')
    with pytest.raises(ConfigUnreadable, match="is not TOML") as raised:
        home.find(config=home.config)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("content", [b"no toml", b"\xff\xfe", b"agent = 3", b"[agent]\nstate_dir = 3\nsocket = []"])
def test_a_file_in_the_usual_place_may_be_anything(home: Home, content: bytes) -> None:
    home.config.write_bytes(content)
    assert home.find() == home.usual


def test_without_a_home_a_named_socket_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(environ: dict[str, str], uid: int) -> Path:
        raise places.HomeUnknownError("nobody knows")

    monkeypatch.setattr(places, "home_dir", unknown)
    assert find_agent(tmp_path / "a.sock", None, {}, USER) == AgentPaths(tmp_path / "a.sock", None)
    with pytest.raises(places.HomeUnknownError):
        find_agent(None, None, {}, USER)
