"""What Tab offers, and the scripts that make shells ask for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from tests.cli.test_cli_group import DEAR, NAMES, loaded_by
from tusd_agent.cli import main
from tusd_agent.jobs.states import State

CONFIG = """
[endpoint.default]
url = "http://127.0.0.1/"
[endpoint.dmz]
url = "http://127.0.0.1/"
[[watch]]
path = "/srv/out going"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration in its usual place."""
    for name in ("TUSD_AGENT_CONFIG", "CONFIGURATION_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tusd_agent.cli.completing.places.config_file", lambda environ, uid: tmp_path / "config.toml")
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path / "config.toml"


def offered(*words: str) -> list[str]:
    """What is offered for the last word."""
    *before, incomplete = words
    shell = ShellComplete(main, {}, "tusd-agent", "_TUSD_AGENT_COMPLETE")
    return [item.value for item in shell.get_completions(before, incomplete)]


def test_commands_and_options() -> None:
    assert offered("") == NAMES
    assert offered("stat") == ["status"]
    assert offered("--ver") == ["--version"]
    assert "--watch" in offered("status", "--")
    assert offered("completion", "") == ["bash", "zsh", "fish"]


def test_states_folders_and_endpoints(config: Path) -> None:
    assert offered("jobs", "--state", "") == [str(state) for state in State]
    assert offered("retry", "--state", "fa") == ["failed"]
    for command in ("jobs", "pause", "cancel"):
        assert offered(command, "--folder", "/srv") == ["/srv/out going"]
        assert offered(command, "--endpoint", "d") == ["default", "dmz"]
    assert offered("limit", "--endpoint", "dm") == ["dmz"]
    assert offered("rescan", "/s") == ["/srv/out going"]


def test_another_configuration_that_was_named(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.toml"
    other.write_text("[endpoint.far]\nurl = 'http://127.0.0.1/'\n")
    assert offered("jobs", "--config", str(other), "--endpoint", "") == ["far"]
    monkeypatch.setenv("TUSD_AGENT_CONFIG", str(other))
    assert offered("jobs", "--endpoint", "") == ["far"]


@pytest.mark.parametrize("text", ["[endpoint", "endpoint = 7\nwatch = 'x'", "\xff"])
def test_a_configuration_that_is_none_offers_nothing(config: Path, text: str) -> None:
    config.write_text(text, "latin-1")
    assert offered("jobs", "--endpoint", "") == []
    assert offered("jobs", "--folder", "/x") == ["/x"], "the shell's own files"
    config.unlink()
    assert offered("jobs", "--endpoint", "") == []


def test_offering_commands_is_cheap() -> None:
    program = (
        "from click.shell_completion import ShellComplete\n"
        "from tusd_agent.cli import main\n"
        "ShellComplete(main, {}, 'tusd-agent', 'X').get_completions([], '')\n"
        "ShellComplete(main, {}, 'tusd-agent', 'X').get_completions(['jobs', '--endpoint'], '')\n"
    )
    assert not loaded_by(program) & DEAR


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert f"_TUSD_AGENT_COMPLETE={shell}_complete" in result.stdout
    assert "tusd-agent" in result.stdout
    checked = shutil.which(shell)
    if checked:
        subprocess.run([checked, "-n"], input=result.stdout, text=True, check=True, timeout=30)


def test_another_shell_is_refused() -> None:
    result = CliRunner().invoke(main, ["completion", "tcsh"])
    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in result.stderr


def test_a_real_bash_completes(tmp_path: Path) -> None:
    program = tmp_path / "tusd-agent"
    program.write_text(f"#!{sys.executable}\nfrom tusd_agent.cli import main\nmain(prog_name='tusd-agent')\n")
    program.chmod(0o755)
    script = CliRunner().invoke(main, ["completion", "bash"]).stdout
    asking = (
        'COMP_WORDS=(tusd-agent jobs --state "sup"); COMP_CWORD=3; _tusd_agent_completion tusd-agent; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    bash = shutil.which("bash")
    assert bash is not None
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        [bash, "--norc", "-c", f"{script}\n{asking}"],
        capture_output=True, text=True, check=True, timeout=60, env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert (ended.stdout, ended.stderr) == ("superseded\n", "")
