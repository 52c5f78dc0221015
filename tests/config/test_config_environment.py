"""The environment above the file: which variables count, what wins, and whose fault an error is."""

import json
from pathlib import Path

import pytest

from tusd_agent.config import ConfigError, Problem, Settings, load

HOME = {"HOME": "/nonexistent/ada"}


def loaded(environ: dict[str, str], file: Path | None = None) -> Settings:
    return load(file, {**HOME, **environ}, uid=1000)


def only(environ: dict[str, str], file: Path | None = None) -> Problem:
    with pytest.raises(ConfigError) as caught:
        loaded(environ, file)
    assert len(caught.value.problems) == 1, str(caught.value)
    return caught.value.problems[0]


def test_variables_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        "[agent]\nworkers = 2\nlog_level = 'debug'\n"
        "[endpoint.default]\ndigest = false\nheaders = { A = '1', B = '2' }\n"
        "[[watch]]\npath = '/srv/a'\n"
    )
    settings = loaded(
        {
            "TUSD_AGENT_AGENT__WORKERS": "8",
            "TUSD_AGENT_ENDPOINT__DEFAULT__URL": "https://host/files/",
            "TUSD_AGENT_ENDPOINT__DEFAULT__HEADERS": '{"B": "3", "X-Site": "lab-7"}',
            "TUSD_AGENT_WATCH": json.dumps([{"path": "/srv/b", "priority": 3}, {"path": "/srv/c"}]),
        },
        file,
    )
    default = settings.endpoint["default"]
    assert (settings.agent.workers, settings.agent.log_level) == (8, "debug")
    assert (default.url, default.digest) == ("https://host/files/", False)
    assert default.request_headers(None, {}) == {"A": "1", "B": "3", "X-Site": "lab-7"}
    assert [(watch.path, watch.priority) for watch in settings.watch] == [(Path("/srv/b"), 3), (Path("/srv/c"), 0)]
    assert settings.variables == (
        "TUSD_AGENT_WATCH",
        "TUSD_AGENT_AGENT__WORKERS",
        "TUSD_AGENT_ENDPOINT__DEFAULT__HEADERS",
        "TUSD_AGENT_ENDPOINT__DEFAULT__URL",
    )


def test_case_of_names_does_not_matter_and_whole_tables_are_json() -> None:
    settings = loaded(
        {
            "tusd_agent_agent__log_level": "error",
            "TUSD_AGENT_AGENT": '{"workers": 3, "log_level": "debug"}',
            "TUSD_AGENT_ENDPOINT__LAB": '{"url": "http://lab/"}',
        }
    )
    assert (settings.agent.workers, settings.agent.log_level) == (3, "error")
    assert list(settings.endpoint) == ["lab"]


def test_every_setting_can_come_from_the_environment(tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.touch()
    endpoint = {
        "URL": "http://host/",
        "CHUNK_SIZE": "8MiB",
        "HEADERS": '{"X-Site": "lab-7"}',
        "BEARER_TOKEN_ENV": "TUSD_AGENT_TOKEN",
        "DIGEST": "false",
        "TIMEOUT_SECONDS": "5.5",
        "RATE_LIMIT": "1MB/s",
        "CA_FILE": str(pem),
        "DELETE_PROOF": "answer",
        "ALLOW_OTHER_ORIGIN": "true",
        "MAX_CONCURRENT": "2",
    }
    environ = {f"TUSD_AGENT_ENDPOINT__DEFAULT__{key}": value for key, value in endpoint.items()}
    # A variable that holds a token may have our prefix: it is named by a setting.
    default = loaded({**environ, "TUSD_AGENT_TOKEN": "abc"}).endpoint["default"]
    assert default.chunk_size == 8 * 1024**2
    assert (default.digest, default.allow_other_origin) == (False, True)
    assert (default.timeout_seconds, default.rate_limit, default.max_concurrent) == (5.5, 1_000_000, 2)
    assert (default.ca_file, default.delete_proof) == (pem, "answer")


def test_empty_variables_count_as_not_set() -> None:
    settings = loaded({"TUSD_AGENT_AGENT__WORKERS": "", "TUSD_AGENT_WATCH": "", "TUSD_AGENT_CONFIG": ""})
    assert settings.agent.workers == 4
    assert settings.variables == ()


def test_a_bad_value_names_its_variable(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[agent]\nworkers = 2\n")
    problem = only({"TUSD_AGENT_AGENT__WORKERS": "many"}, file)
    assert problem.variable == "TUSD_AGENT_AGENT__WORKERS"
    assert (problem.key, problem.found) == ("agent.workers", '"many"')
    assert "environment variable TUSD_AGENT_AGENT__WORKERS" in str(ConfigError([problem]))


def test_a_bad_value_inside_json_names_variable_and_key() -> None:
    problem = only({"TUSD_AGENT_WATCH": '[{"path": "/srv/a"}, {"path": "/srv/b", "priority": 999}]'})
    assert (problem.variable, problem.key) == ("TUSD_AGENT_WATCH", "watch[1].priority")


def test_a_folder_of_the_file_is_not_blamed_on_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[[watch]]\npath = '/srv/a'\npriority = 999\n")
    problem = only({"TUSD_AGENT_AGENT__WORKERS": "3"}, file)
    assert (problem.variable, problem.file) == (None, file)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("TUSD_AGENT_WORKERS", "TUSD_AGENT_AGENT__WORKERS"),
        ("TUSD_AGENT_URL", "TUSD_AGENT_ENDPOINT__DEFAULT__URL"),
        ("TUSD_AGENT_AGENT__WRKERS", "TUSD_AGENT_AGENT__WORKERS"),
        ("TUSD_AGENT_AGENT_WORKERS", "TUSD_AGENT_AGENT__WORKERS"),
        ("TUSD_AGENT_ENDPOINT__DEFAULT__ULR", "TUSD_AGENT_ENDPOINT__DEFAULT__URL"),
        ("TUSD_AGENT_WATCHES", "TUSD_AGENT_WATCH"),
    ],
)
def test_unknown_variables_are_refused_with_the_nearest_name(name: str, right: str) -> None:
    problem = only({name: "8"})
    assert problem.variable == name
    assert "unknown" in problem.wrong
    assert f"did you mean {right}?" in problem.hint
    assert '"8"' not in str(problem)


@pytest.mark.parametrize("name", ["TUSD_AGENT_WATCH", "TUSD_AGENT_ENDPOINT", "TUSD_AGENT_AGENT"])
def test_broken_json_is_located_but_not_shown(name: str) -> None:
    problem = only({name: '{"headers": {"Authorization": "Bearer geheim"'})
    assert problem.variable == name
    assert "is not JSON at line 1, column" in problem.wrong
    assert "geheim" not in str(problem)


@pytest.mark.parametrize("value", ["[", '"Bearer geheim"', "7"])
def test_a_section_that_is_no_table_is_not_shown(value: str) -> None:
    problem = only({"TUSD_AGENT_ENDPOINT__DEFAULT": value})
    assert problem.key == "endpoint.default"
    assert "geheim" not in str(problem)


def test_folders_by_index_are_pointed_to_json() -> None:
    problem = only({"TUSD_AGENT_WATCH__0__PATH": "/srv/a"})
    assert "TUSD_AGENT_WATCH='[{" in problem.hint


def test_a_single_header_is_refused_since_its_name_would_not_survive() -> None:
    problem = only({"TUSD_AGENT_ENDPOINT__DEFAULT__HEADERS__X_SITE": "geheim"})
    assert "TUSD_AGENT_ENDPOINT__DEFAULT__HEADERS='" in problem.hint
    assert "geheim" not in str(problem)


def test_relative_paths_need_a_file(tmp_path: Path) -> None:
    environ = {"TUSD_AGENT_WATCH": '[{"path": "outgoing"}]'}
    assert "relative" in only(environ).wrong
    file = tmp_path / "config.toml"
    file.touch()
    assert loaded(environ, file).watch[0].path == tmp_path / "outgoing"


def test_a_uid_without_home_is_told_what_to_set() -> None:
    def load_as_unknown(environ: dict[str, str]) -> Settings:
        return load(None, environ, uid=2**31 - 7)

    with pytest.raises(ConfigError, match="no entry in the user database") as caught:
        load_as_unknown({})
    assert caught.value.problems[0].key == "agent.state_dir"
    settings = load_as_unknown({"TUSD_AGENT_AGENT__STATE_DIR": "/data"})
    assert settings.agent.socket == Path("/data/control.sock")
    with pytest.raises(ConfigError, match="no home folder is known"):
        load_as_unknown({"TUSD_AGENT_AGENT__STATE_DIR": "~/state"})
