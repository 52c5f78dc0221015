"""What is to happen after an upload: commands that can be trusted, and settings that go together."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from tusd_agent.cli.check_config import check_config_command
from tusd_agent.config import ConfigError, Problem, Settings, load

HOME = {"HOME": "/nonexistent/ada"}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "bin" / "after"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def settings_of(folder: Path, text: str, **environ: str) -> Settings:
    path = folder / "config.toml"
    path.write_text(f"[[watch]]\npath = '{folder}'\n{text}")
    return load(path, {**HOME, **environ})


def only(folder: Path, text: str) -> Problem:
    with pytest.raises(ConfigError) as caught:
        settings_of(folder, text)
    assert len(caught.value.problems) == 1, str(caught.value)
    return caught.value.problems[0]


def running(program: Path, *arguments: str) -> str:
    return f"after_upload = 'command'\ncommand = {[str(program), *arguments]}\n"


def test_a_command_is_a_list(tmp_path: Path, program: Path) -> None:
    found = settings_of(tmp_path, running(program, "--flag", "") + "command_timeout_seconds = 5").watch[0]
    assert (found.after_upload, found.command) == ("command", (str(program), "--flag", ""))
    assert found.command_timeout_seconds == 5


@pytest.mark.parametrize(
    ("text", "key", "wrong"),
    [
        ("after_upload = 'command'", "command", "is missing"),
        ("command = 'after --flag'", "command", "is not a list"),
        ("command = ['after']", "command", "does not begin with an absolute path"),
        ("command = ['~/after']", "command", "does not begin with an absolute path"),
        ("command = ['/bin/sh', 7]", "command[1]", "is not a text"),
        ('command = ["/bin/sh", "\\u0000"]', "command[1]", "zero byte"),
        ("after_upload = 'command'\ncommand = ['/nonexistent/after']", "command", "there is no such file"),
        ("after_upload = 'command'\ncommand = ['/etc/passwd']", "command", "can't be run"),
        ("after_upload = 'command'\ncommand = ['/etc']", "command", "can't be run"),
        ("command_timeout_seconds = 0", "command_timeout_seconds", "is too small"),
        ("remove_empty_folders = 'often'", "remove_empty_folders", "is neither true nor false"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, text: str, key: str, wrong: str) -> None:
    problem = only(tmp_path, text)
    assert problem.key == f"watch[0].{key}"
    assert wrong in problem.wrong


def test_what_others_may_change_is_not_run(tmp_path: Path, program: Path) -> None:
    config = tmp_path / "config.toml"
    config.touch()
    for weak, what in ((program, "the program"), (program.parent, "the program"), (config, "the configuration file")):
        before = weak.stat().st_mode
        weak.chmod(before | 0o020)
        problem = only(tmp_path, running(program))
        assert problem.key == "watch[0].command"
        assert problem.wrong == f"others could change {what}, and with it what is run: its group may write to {weak}"
        assert problem.hint == f"chmod go-w {weak}"
        weak.chmod(before)
    settings_of(tmp_path, running(program))


def test_nobody_has_to_trust_what_is_not_run(tmp_path: Path, program: Path) -> None:
    program.chmod(0o777)
    (tmp_path / "config.toml").touch()
    (tmp_path / "config.toml").chmod(0o666)
    found = settings_of(tmp_path, f"command = ['{program}']\nremove_empty_folders = true\n")
    assert [text for text in found.warnings() if "no effect" in text] == [
        'watch[0].command has no effect while after_upload is "keep"',
        'watch[0].remove_empty_folders has no effect while after_upload is "keep"',
    ]


def test_what_a_command_is_told_is_no_setting_for_what_it_calls(tmp_path: Path) -> None:
    told = {
        f"TUSD_AGENT_{name}": "x"
        for name in ("PATH", "RELATIVE_PATH", "FOLDER", "ENDPOINT", "URL", "SIZE", "SHA256", "JOB")
    }
    assert settings_of(tmp_path, "", **told).variables == ()
    with pytest.raises(ConfigError, match="TUSD_AGENT_URL"):
        settings_of(tmp_path, "", TUSD_AGENT_URL="x")


def test_check_config_shows_what_happens(tmp_path: Path, program: Path) -> None:
    path = tmp_path / "config.toml"

    def shown(text: str) -> str:
        path.write_text(f"[[watch]]\npath = '{tmp_path / 'out'}'\n{text}")
        return CliRunner().invoke(check_config_command, ["--config", str(path)], env=HOME).stdout

    assert f"after upload   run {program} 'a b', for at most 300 s" in shown(running(program, "a b"))
    assert "empty folders  are removed" in shown("after_upload = 'delete'\nremove_empty_folders = true\n")
