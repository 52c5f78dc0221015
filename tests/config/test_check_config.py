"""The command check-config: what it prints, where, and its exit code."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tusd_agent.cli.check_config import check_config_command

SECRET = "geheim-4711"


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(check_config_command, arguments, env={"TUSD_AGENT_CONFIG": None, **environ})


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(
        f"""
        [endpoint.default]
        url = "https://uploads.example/files/"
        chunk_size = "8MiB"
        headers = {{ X-Key = "{SECRET}" }}
        bearer_token_env = "SITE_TOKEN"
        [[watch]]
        path = "later"
        exclude = ["*.tmp"]
        after_upload = "move"
        move_to = "sent"
        metadata = {{ site = "lab-7" }}
        """
    )
    return path


def test_what_holds_is_printed_without_secrets(good: Path, tmp_path: Path) -> None:
    result = run("--config", str(good), SITE_TOKEN=SECRET, TUSD_AGENT_AGENT__WORKERS="7")
    assert (result.exit_code, result.stderr) == (0, "")
    shown = {tuple(line.split(maxsplit=1)) for line in result.stdout.splitlines() if line}
    assert {
        ("configuration", str(good)),
        ("environment", "TUSD_AGENT_AGENT__WORKERS"),
        ("workers", "7"),
        ("url", "https://uploads.example/files/"),
        ("header", "X-Key: ******"),
        ("token", "environment variable SITE_TOKEN"),
        ("chunks", "8388608 bytes"),
        ("watch[0]", str(tmp_path / "later")),
        ("exclude", "*.tmp"),
        ("metadata", "site=lab-7"),
        ("warning", f"watch[0].path: {tmp_path}/later is not there yet"),
    } <= shown
    assert f"move to {tmp_path}/sent" in result.stdout
    assert SECRET not in result.output


def test_values_are_aligned(good: Path) -> None:
    lines = run("--config", str(good), SITE_TOKEN="x").stdout.splitlines()
    for indent in ("", "  "):
        column = len(indent) + 15
        block = [line for line in lines[:-1] if line and (line[:2] == "  ") is bool(indent)]
        assert block
        assert all(line[column - 1] == " " and line[column] != " " for line in block)


def test_json(good: Path) -> None:
    result = run("--config", str(good), "--json", SITE_TOKEN=SECRET)
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["ok"] is True
    assert document["file"] == str(good)
    assert document["settings"]["endpoint"]["default"]["chunk_size"] == 8 * 1024**2
    assert document["settings"]["watch"][0]["metadata"] == {"site": "lab-7"}
    assert len(document["warnings"]) == 1
    assert SECRET not in result.output


def test_every_problem_goes_to_stderr_and_the_exit_code_is_78(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[agent]\nworkers = 0\n[[watch]]\npath = '/srv/a'\nafter_upload = 'archive'\n")
    result = run("--config", str(path), TUSD_AGENT_WORKERS="3")
    assert (result.exit_code, result.stdout) == (78, "")
    for text in (str(path), "agent.workers = 0", 'watch[0].after_upload = "archive"', "TUSD_AGENT_WORKERS"):
        assert text in result.stderr
    assert "Traceback" not in result.output


def test_problems_as_json(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[agent]\nwrkers = 3\n")
    result = run("--config", str(path), "--json")
    assert result.exit_code == 78
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert document["problems"] == [
        {
            "file": str(path),
            "variable": None,
            "key": "agent.wrkers",
            "wrong": "unknown setting",
            "found": None,
            "allowed": "",
            "hint": "did you mean workers?",
        }
    ]
    assert "agent.wrkers" in result.stderr


def test_a_missing_file_is_a_bad_configuration(tmp_path: Path) -> None:
    assert run("--config", str(tmp_path / "none.toml")).exit_code == 78
    assert run(TUSD_AGENT_CONFIG=str(tmp_path / "none.toml")).exit_code == 78


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    result = run(CONFIGURATION_DIRECTORY=str(tmp_path))
    assert result.exit_code == 0
    assert "none, defaults only" in result.stdout


def test_names_with_control_characters_are_escaped(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[[watch]]\npath = "/srv/\\u001b[31mred"\n')
    output = run("--config", str(path)).output
    assert "\x1b" not in output
    assert "/srv/\\x1b[31mred" in output
