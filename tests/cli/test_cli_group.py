"""The group: what there is, what importing it costs, and the help of each command."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from tests.control.served import Served
from tusd_agent import __version__
from tusd_agent.cli import COMMANDS, main

NAMES = [name for section in COMMANDS.values() for name in section]
DEAR = {"requests", "urllib3", "watchdog", "pydantic", "rich", "tenacity", "prometheus_client"}


def loaded_by(program: str) -> set[str]:
    ended = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return set(ended.stdout.split())


def test_the_group_imports_no_command() -> None:
    loaded = loaded_by("import tusd_agent.cli")
    ours = {name for name in loaded if name.startswith("tusd_agent.")}
    assert ours == {"tusd_agent.cli"}
    assert not loaded & DEAR


@pytest.mark.parametrize("arguments", ["--help", "status --help", "jobs --help", "show --help", "run --help"])
def test_help_is_cheap(arguments: str) -> None:
    program = f"from tusd_agent.cli import main\nmain({arguments.split()!r}, standalone_mode=False)"
    assert not loaded_by(program) & DEAR


@pytest.mark.parametrize("arguments", ["status", "status --json", "jobs", "jobs --json", "show 1"])
def test_looking_is_cheap(arguments: str) -> None:
    program = (
        "from tusd_agent.cli import main\n"
        f"try: main({[*arguments.split(), '--socket', '/nonexistent/control.sock']!r})\n"
        "except SystemExit: pass"
    )
    assert not loaded_by(program) & DEAR


def test_asking_a_running_agent_is_cheaper_still(served: Served) -> None:
    """Whoever asks often pays neither for SQLite nor for what reads it."""
    served.enqueue(b"a")
    served.server.start()
    program = (
        "from tusd_agent.cli import main\n"
        f"try: main(['status', '--socket', {str(served.socket)!r}])\n"
        "except SystemExit: pass"
    )
    loaded = loaded_by(program)
    assert not loaded & (DEAR | {"sqlite3", "dataclasses", "tomllib", "shutil", "traceback", "difflib"})
    assert {name for name in loaded if name.startswith("tusd_agent.jobs.")} == {"tusd_agent.jobs.showing"}


def test_the_help_shows_all_commands_in_their_groups() -> None:
    result = CliRunner().invoke(main, ["-h"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    shown = [line.split()[0] for line in lines[lines.index("The agent:") :] if line.startswith("  ")]
    assert shown[: len(NAMES)] == NAMES
    assert len(lines) <= 54, "a window"
    assert main.list_commands(click.Context(main)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_help_fits_a_screen(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    result = CliRunner().invoke(main, [name, "--help"], terminal_width=80)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) <= 24
    assert "Example: tusd-agent " + name in result.stdout
    assert CliRunner().invoke(main, [name, "-h"]).stdout == CliRunner().invoke(main, [name, "--help"]).stdout


@pytest.mark.parametrize("name", ["run", "status", "jobs", "show"])
def test_config_and_socket_can_be_named(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert "--config FILE" in result.stdout
    assert "--socket PATH" in result.stdout


def test_the_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == f"tusd-agent {__version__}\n"


def test_python_m_is_the_same() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tusd_agent", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout == f"tusd-agent {__version__}\n"


def test_check_config_is_wired_in(tmp_path: object) -> None:
    result = CliRunner().invoke(main, ["check-config", "--config", f"{tmp_path}/none.toml"])
    assert result.exit_code == 78


def test_a_missing_extra_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tuspyserver", None)
    monkeypatch.setitem(sys.modules, "tusd_agent.demo.show", None)

    class Finder:
        """Importing the demonstration fails as it does without the extra."""

        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "tusd_agent.demo.show":
                raise ModuleNotFoundError("No module named 'tuspyserver'", name="tuspyserver")

    monkeypatch.delitem(sys.modules, "tusd_agent.demo.show")
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    result = CliRunner().invoke(main, ["demo"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "pip install 'tusd-agent[demo]'" in result.stderr
