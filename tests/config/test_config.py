"""Loading: defaults, files, values, and the problems they can have, all told at once."""

from pathlib import Path

import pytest

from tusd_agent.config import ConfigError, Problem, load, parse_rate_bytes, parse_size_bytes

HOME = {"HOME": "/home/ada"}


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text), HOME, uid=1000)
    return caught.value.problems


def only(folder: Path, text: str) -> Problem:
    found = problems(folder, text)
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


def test_defaults_need_no_file() -> None:
    settings = load(None, {"HOME": "/nonexistent/ada"}, uid=1000)
    assert settings.file is None
    assert settings.config_dir is None
    assert list(settings.endpoint) == ["default"]
    assert settings.endpoint["default"].url == "http://localhost:1080/files/"
    assert settings.watch == ()
    assert settings.agent.workers == 4
    assert settings.agent.state_dir == Path("/nonexistent/ada/.local/state/tusd-agent")
    assert settings.agent.socket == settings.agent.state_dir / "control.sock"


def test_the_usual_file_is_found_and_another_can_be_named(tmp_path: Path) -> None:
    usual = tmp_path / "tusd-agent" / "config.toml"
    usual.parent.mkdir()
    usual.write_text("[agent]\nworkers = 5\n")
    other = write(tmp_path, "[agent]\nworkers = 6\n")
    environ = {**HOME, "XDG_CONFIG_HOME": str(tmp_path)}
    assert load(None, environ, uid=1000).file == usual
    assert load(None, environ, uid=1000).agent.workers == 5
    named = {**environ, "TUSD_AGENT_CONFIG": str(other)}
    assert load(None, named, uid=1000).agent.workers == 6
    assert load(usual, named, uid=1000).agent.workers == 5


def test_a_whole_file(tmp_path: Path) -> None:
    out = tmp_path / "outgoing"
    out.mkdir()
    (tmp_path / "token").write_text("abc.def\n")
    settings = load(
        write(
            tmp_path,
            f"""
            [agent]
            state_dir = "state"
            [endpoint.lab]
            url = "https://uploads.example:8443/files/"
            chunk_size = "8MiB"
            rate_limit = "25MB/s"
            headers = {{ X-Site = "lab-7" }}
            bearer_token_file = "token"
            [[watch]]
            path = "{out}"
            endpoint = "lab"
            include = ["*.tif"]
            after_upload = "move"
            move_to = "~/sent"
            metadata = {{ site = "lab-7", run = 12, dark = true, gain = 1.5 }}
            """,
        ),
        HOME,
        uid=1000,
    )
    lab, (watch,) = settings.endpoint["lab"], settings.watch
    assert "default" not in settings.endpoint
    assert (lab.chunk_size, lab.rate_limit) == (8 * 1024 * 1024, 25_000_000)
    assert settings.agent.state_dir == tmp_path / "state"
    assert watch.path == out
    assert watch.move_to == Path("/home/ada/sent")
    assert watch.include == ("*.tif",)
    assert watch.metadata == {"site": "lab-7", "run": "12", "dark": "true", "gain": "1.5"}
    assert settings.warnings() == []


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf[agent]\nworkers = 9\n")
    assert load(path, HOME, uid=1000).agent.workers == 9


def test_a_missing_file_is_said_and_who_named_it(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    with pytest.raises(ConfigError, match="no such file") as by_path:
        load(missing, HOME, uid=1000)
    assert by_path.value.problems[0].file == missing
    with pytest.raises(ConfigError, match="TUSD_AGENT_CONFIG names it"):
        load(None, {**HOME, "TUSD_AGENT_CONFIG": str(missing)}, uid=1000)


def test_an_unreadable_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        load(tmp_path, HOME, uid=1000)


def test_syntax_errors_have_line_and_column_and_no_content(tmp_path: Path) -> None:
    problem = only(tmp_path, '[agent]\nworkers = 4\n[endpoint.default]\nheaders = { X = "geheim }\n')
    assert problem.file == tmp_path / "config.toml"
    assert "line 4, column" in problem.wrong
    assert "geheim" not in str(problem)


def test_text_that_is_not_utf8_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b'[agent]\n\nstate_dir = "/srv/\xfc"\n')
    with pytest.raises(ConfigError, match="line 3 is not UTF-8"):
        load(path, HOME, uid=1000)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        [agent]
        workers = 0
        [endpoint.default]
        url = "ftp://host/"
        [[watch]]
        path = "/srv/a"
        settle_seconds = 0
        [[watch]]
        path = "/srv/a/b"
        after_upload = "archive"
        endpoint = "lab"
        """,
    )
    assert {problem.key for problem in found} == {
        "agent.workers",
        "endpoint.default.url",
        "watch[0].settle_seconds",
        "watch[1].path",
        "watch[1].after_upload",
        "watch[1].endpoint",
    }
    text = str(ConfigError(found))
    assert text.startswith("bad configuration: 6 problems\n")
    assert text.count(str(tmp_path / "config.toml")) == 1


@pytest.mark.parametrize(
    ("section", "line", "found", "allowed"),
    [
        ("[agent]", "workers = 257", "257", "from 1 to 256"),
        ("[agent]", "workers = true", "true", "from 1 to 256"),
        ("[agent]", "workers = 1.5", "1.5", "from 1 to 256"),
        ("[agent]", 'workers = "many"', '"many"', "from 1 to 256"),
        ("[agent]", "rescan_interval_seconds = 0.5", "0.5", "from 1 to"),
        ("[agent]", "rescan_interval_seconds = nan", "nan", "from 1 to"),
        ("[agent]", 'log_level = "INFO"', '"INFO"', "debug, info, warning or error"),
        ("[agent]", 'log_format = "xml"', '"xml"', "text or json"),
        ("[agent]", 'state_dir = ""', '""', "absolute"),
        ("[agent]", "state_dir = 7", "7", "absolute"),
        ("[agent]", 'socket = "~nobody-of-that-name/s"', '"~nobody-of-that-name/s"', "absolute"),
        ("[endpoint.default]", 'chunk_size = "8Mbit"', '"8Mbit"', "bytes"),
        ("[endpoint.default]", "chunk_size = -1", "-1", "bytes"),
        ("[endpoint.default]", "chunk_size = 1.5", "1.5", "bytes"),
        ("[endpoint.default]", 'rate_limit = "8MiB/h"', '"8MiB/h"', "bytes per second"),
        ("[endpoint.default]", "timeout_seconds = 0", "0", "more than 0"),
        ("[endpoint.default]", "timeout_seconds = inf", "inf", "more than 0"),
        ("[endpoint.default]", "connect_timeout_seconds = -1", "-1", "more than 0"),
        ("[endpoint.default]", 'digest = "perhaps"', '"perhaps"', "true or false"),
        ("[endpoint.default]", 'delete_proof = "hope"', '"hope"', "head or answer"),
        ("[endpoint.default]", "max_concurrent = -1", "-1", "from 0 to 256"),
        ("[endpoint.default]", 'bearer_token_env = "NOT_SET"', '"NOT_SET"', "environment variable"),
        ("[endpoint.default]", 'ca_file = "none.pem"', '"none.pem"', "path"),
        ("[endpoint.default]", 'url = "localhost:1080/files/"', '"localhost:1080/files/"', "http or https"),
        ("[endpoint.default]", 'url = "http://host/fi les/"', '"http://host/fi les/"', "http or https"),
        ("[endpoint.default]", 'url = "http:///files/"', '"http:///files/"', "http or https"),
        ("[endpoint.default]", 'url = "http://host:99999/"', '"http://host:99999/"', "http or https"),
        ('[[watch]]\npath = "/srv/a"', "settle_seconds = 0.05", "0.05", "from 0.1"),
        ('[[watch]]\npath = "/srv/a"', "priority = 101", "101", "-100 to 100"),
        ('[[watch]]\npath = "/srv/a"', 'renamed = "old"', '"old"', "same or new"),
        ('[[watch]]\npath = "/srv/a"', 'after_upload = "archive"', '"archive"', "keep, delete, move or command"),
        ('[[watch]]\npath = "/srv/a"', 'include = "*.tif"', '"*.tif"', "list of patterns"),
    ],
)
def test_a_bad_value_is_shown_with_what_is_allowed(
    tmp_path: Path, section: str, line: str, found: str, allowed: str
) -> None:
    problem = only(tmp_path, f"{section}\n{line}\n")
    name = section.split("\n")[0].strip("[]").replace("watch", "watch[0]")
    assert problem.key == f"{name}.{line.split(' = ')[0]}"
    assert problem.found == found
    assert allowed in problem.allowed
    assert problem.wrong
    assert problem.file == tmp_path / "config.toml"
    assert problem.variable is None


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("[agnt]\nworkers = 3\n", "agnt", "did you mean agent?"),
        ("workers = 3\n", "workers", "workers belongs in [agent]"),
        ("[agent]\nwrkers = 3\n", "agent.wrkers", "did you mean workers?"),
        ("[[watch]]\npath = '/srv/a'\nchunk_size = 3\n", "watch[0].chunk_size", "belongs in [endpoint.NAME]"),
        ("[[watch]]\npath = '/srv/a'\nexlude = []\n", "watch[0].exlude", "did you mean exclude?"),
        ('[agent]\nlog_level = "warn"\n', "agent.log_level", 'did you mean "warning"?'),
        ("[watch]\npath = '/srv/a'\n", "watch", "write [[watch]]"),
        ("[[endpoint]]\nname = 'a'\n", "endpoint", "write [endpoint.default]"),
    ],
)
def test_the_nearest_right_name_is_named(tmp_path: Path, text: str, key: str, hint: str) -> None:
    problem = only(tmp_path, text)
    assert problem.key == key
    assert hint in problem.hint


def test_an_unknown_key_far_from_any_gets_the_list(tmp_path: Path) -> None:
    assert "state_dir, socket" in only(tmp_path, "[agent]\nzzz = 3\n").allowed


@pytest.mark.parametrize("name", ["Lab", "lab-7", "ü", "a b"])
def test_names_of_endpoints(tmp_path: Path, name: str) -> None:
    problem = only(tmp_path, f'[endpoint."{name}"]\nurl = "http://host/"\n')
    assert "not the name of an endpoint" in problem.wrong
    assert "a-z, 0-9 and _" in problem.allowed


def test_only_the_default_endpoint_has_a_default_url(tmp_path: Path) -> None:
    assert only(tmp_path, "[endpoint.lab]\ndigest = false\n").key == "endpoint.lab.url"


def test_a_folder_needs_a_path_and_an_endpoint_that_exists(tmp_path: Path) -> None:
    assert only(tmp_path, "[[watch]]\npriority = 1\n").key == "watch[0].path"
    problem = only(tmp_path, "[endpoint.lab]\nurl = 'http://h/'\n[[watch]]\npath = '/srv/a'\n")
    assert problem.key == "watch[0].endpoint"
    assert "no [endpoint.default]" in problem.wrong
    assert 'there is only "lab"' in problem.hint


@pytest.mark.parametrize("pattern", ["[z-a]", "!", "", "# comment"])
def test_patterns_are_tried_out(tmp_path: Path, pattern: str) -> None:
    problem = only(tmp_path, f"[[watch]]\npath = '/srv/a'\nexclude = ['*.tmp', '{pattern}']\n")
    assert problem.key == "watch[0].exclude[1]"


@pytest.mark.parametrize("key", ['"a b"', '"a,b"', '""', '"ü"', '"a\\n"', "job"])
def test_metadata_keys(tmp_path: Path, key: str) -> None:
    text = f"[[watch]]\npath = '/srv/a'\nmetadata = {{ filename = 'x', mtime = '1', {key} = '1' }}\n"
    assert only(tmp_path, text).key.startswith("watch[0].metadata.")


@pytest.mark.parametrize("value", ["[1]", "{ b = 1 }", "1979-05-27"])
def test_metadata_values_are_single(tmp_path: Path, value: str) -> None:
    problem = only(tmp_path, f"[[watch]]\npath = '/srv/a'\nmetadata = {{ a = {value} }}\n")
    assert problem.key == "watch[0].metadata.a"


def test_control_characters_are_escaped_in_what_is_printed(tmp_path: Path) -> None:
    problem = only(tmp_path, '[agent]\nlog_level = "\\u001b[31mred"\n')
    assert problem.found == '"\\x1b[31mred"'
    problem = only(tmp_path, '[[watch]]\npath = "/srv/a"\nendpoint = "\\u001b[31m"\n')
    assert "no [endpoint.\\x1b[31m]" in problem.wrong


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("500k", 500_000),
        ("10MB", 10_000_000),
        ("10 mb", 10_000_000),
        ("8MiB", 8 * 1024**2),
        ("8Mi", 8 * 1024**2),
        ("1.5GiB", 3 * 512 * 1024**2),
        ("2T", 2 * 10**12),
        ("7B", 7),
        (12, 12),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size_bytes(text) == size
    assert parse_rate_bytes(text) == size
    if isinstance(text, str):
        assert parse_rate_bytes(text + "/s") == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1e6", "8MiB/s", "0.5", "1.0001k", "99999999T", "٣", True, 1.0])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="is "):
        parse_size_bytes(text)
