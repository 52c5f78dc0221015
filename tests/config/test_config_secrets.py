"""Headers and tokens: what is refused, where tokens are found, and that none of them is ever shown."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tusd_agent.config import ConfigError, CredentialError, Problem, Settings, load

HOME = {"HOME": "/nonexistent/ada"}
SECRET = "geheim-4711"


def settings_of(folder: Path, endpoint: str, environ: dict[str, str] | None = None) -> Settings:
    path = folder / "config.toml"
    path.write_text(f"[endpoint.default]\n{endpoint}\n", encoding="utf-8")
    return load(path, {**HOME, **(environ or {})}, uid=1000)


def only(folder: Path, endpoint: str, environ: dict[str, str] | None = None) -> Problem:
    with pytest.raises(ConfigError) as caught:
        settings_of(folder, endpoint, environ)
    assert SECRET not in str(caught.value) + repr(caught.value)
    assert len(caught.value.problems) == 1, str(caught.value)
    return caught.value.problems[0]


def token_warnings(settings: Settings) -> list[str]:
    return [warning for warning in settings.warnings() if "bearer_token_file" in warning]


def authorization(settings: Settings, environ: dict[str, str] | None = None) -> Callable[[], str]:
    value = settings.endpoint["default"].request_headers(settings.config_dir, environ or {})["Authorization"]
    assert callable(value)
    return value


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("Tus-Resumable", "upload protocol"),
        ("upload-offset", "upload protocol"),
        ("Upload-Anything", "upload protocol"),
        ("Content-Length", "upload protocol"),
        ("Content-Type", "upload protocol"),
        ("Host", "follows from the url"),
        ("X Site", "not the name of a header"),
        ("", "not the name of a header"),
        ("X-Ü", "not the name of a header"),
        (f"Authorization: Bearer {SECRET}", "not the name of a header"),
    ],
)
def test_header_names_that_are_refused(tmp_path: Path, header: str, reason: str) -> None:
    problem = only(tmp_path, f'headers = {{ "{header}" = "{SECRET}" }}')
    assert problem.key.startswith("endpoint.default.headers.")
    assert reason in problem.wrong


@pytest.mark.parametrize("value", [r"a\nb", r"a\rb", r"a\u0000b", " a", "a ", r"\u001b", "€"])
def test_header_values_that_are_refused(tmp_path: Path, value: str) -> None:
    problem = only(tmp_path, f'headers = {{ X-Site = "{value}{SECRET}{value}" }}')
    assert problem.key == "endpoint.default.headers.X-Site"
    assert problem.found == '"******"'


@pytest.mark.parametrize("text", [f'"Authorization: {SECRET}"', f'["{SECRET}"]', f'{{ A = ["{SECRET}"] }}', "7"])
def test_headers_that_are_no_table_of_texts(tmp_path: Path, text: str) -> None:
    assert only(tmp_path, f"headers = {text}").key.startswith("endpoint.default.headers")


def test_a_header_is_set_once(tmp_path: Path) -> None:
    assert "twice" in only(tmp_path, "headers = { X-Site = 'a', x-site = 'b' }").wrong


@pytest.mark.parametrize(
    "endpoint",
    [
        "headers = { authorization = 'Basic x' }\nbearer_token_env = 'TOKEN'",
        "bearer_token_env = 'TOKEN'\nbearer_token_file = 'token'",
    ],
)
def test_authorization_has_one_source(tmp_path: Path, endpoint: str) -> None:
    (tmp_path / "token").write_text("abc")
    problem = only(tmp_path, endpoint, {"TOKEN": SECRET})
    assert "excludes" in problem.wrong


@pytest.mark.parametrize("key", ["bearer_token", "password", "token", "authorization"])
def test_secrets_under_a_wrong_name_are_not_repeated(tmp_path: Path, key: str) -> None:
    assert only(tmp_path, f'{key} = "{SECRET}"').found is None


@pytest.mark.parametrize(
    "url",
    [
        f"https://ada:{SECRET}@host/files/",
        f"ada:{SECRET}@host/files/",
        f"//ada:{SECRET}@host/",
        f"https://host/files/?token={SECRET}",
        f"https://host/files/#{SECRET}",
        f"https://ada:p/{SECRET}@host/files/",
    ],
)
def test_secrets_in_urls_are_refused_and_masked(tmp_path: Path, url: str) -> None:
    problem = only(tmp_path, f'url = "{url}"')
    assert problem.found is not None
    assert "******" in problem.found


def test_nothing_that_is_printed_shows_a_header(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f"headers = {{ X-Key = '{SECRET}' }}")
    for text in (repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json()):
        assert "X-Key" in text
        assert SECRET not in text
    assert settings.endpoint["default"].request_headers(None, {}) == {"X-Key": SECRET}


def test_a_token_file_lies_among_the_credentials_or_beside_the_configuration(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    (warning,) = token_warnings(settings_of(tmp_path, "bearer_token_file = 'token'", environ))
    assert f"looked for {credentials}/token and {tmp_path}/token; until then its jobs wait" in warning
    (tmp_path / "token").write_text("beside\n")
    settings = settings_of(tmp_path, "bearer_token_file = 'token'", environ)
    token = authorization(settings, environ)
    assert token() == "Bearer beside"
    (credentials / "token").write_text("credential\r\n")
    assert token() == "Bearer credential"


def test_an_absolute_token_file_has_one_place(tmp_path: Path) -> None:
    environ = {
        "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"),
        "HOME": str(tmp_path),
        "STATE_DIRECTORY": "/state",
    }
    path = tmp_path / "elsewhere"
    (warning,) = token_warnings(settings_of(tmp_path, f"bearer_token_file = '{path}'", environ))
    assert f"looked for {path};" in warning
    path.write_text("abc")
    assert authorization(settings_of(tmp_path, f"bearer_token_file = '{path}'", environ), environ)() == "Bearer abc"
    at_home = settings_of(tmp_path, "bearer_token_file = '~/elsewhere'", environ)
    assert authorization(at_home, environ)() == "Bearer abc"


def test_a_renewed_token_is_used_by_the_next_request(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    token = authorization(settings_of(tmp_path, "bearer_token_file = 'token'"))
    assert token() == "Bearer first"
    (tmp_path / "new").write_text("second\n")
    (tmp_path / "new").replace(file)
    assert token() == "Bearer second"
    file.unlink()
    with pytest.raises(CredentialError, match="no such file"):
        token()


@pytest.mark.parametrize("content", ["", " \n\n"])
def test_a_token_that_is_not_there_yet_is_waited_for(tmp_path: Path, content: str) -> None:
    """An empty file is one that somebody is about to write; an empty variable stays empty."""
    (tmp_path / "token").write_text(content)
    (warning,) = token_warnings(settings_of(tmp_path, "bearer_token_file = 'token'"))
    assert f"{tmp_path / 'token'} is empty" in warning
    assert "is empty" in only(tmp_path, "bearer_token_env = 'TOKEN'", {"TOKEN": content}).wrong


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (f"{SECRET}\nsecond\n", "more than one line"),
        (f"Bearer {SECRET}", 'begins with the word "Bearer"'),
        (f"{SECRET} x", "no token may"),
        (f"{SECRET}\x07x", "no token may"),
        (f"{SECRET}ü", "no token may"),
        (SECRET * 2000, "which is no token"),
    ],
)
def test_what_is_no_token(tmp_path: Path, content: str, wrong: str) -> None:
    (tmp_path / "token").write_text(content, encoding="utf-8")
    by_file = only(tmp_path, "bearer_token_file = 'token'")
    assert wrong in by_file.wrong
    assert str(tmp_path / "token") in by_file.wrong
    by_variable = only(tmp_path, "bearer_token_env = 'TOKEN'", {"TOKEN": content})
    assert wrong in by_variable.wrong


def test_a_token_from_the_environment(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "bearer_token_env = 'TOKEN'", {"TOKEN": SECRET})
    assert authorization(settings, {"TOKEN": SECRET})() == f"Bearer {SECRET}"
    assert "TOKEN is not set" in only(tmp_path, "bearer_token_env = 'TOKEN'").wrong


@pytest.mark.parametrize(
    "line",
    [
        f"bearer_token_file = 'eyJhbGciOi.{SECRET}'",
        f"bearer_token_file = '{SECRET * 8}'",
        f"bearer_token_file = 'Bearer {SECRET}'",
        f"bearer_token_env = '{SECRET}'",
    ],
)
def test_a_token_in_place_of_its_name_is_not_repeated(tmp_path: Path, line: str) -> None:
    assert only(tmp_path, line).found == '"******"'


def test_client_certificates(tmp_path: Path) -> None:
    (tmp_path / "key.pem").touch()
    problem = only(tmp_path, "client_key = 'key.pem'")
    assert (problem.key, problem.wrong) == ("endpoint.default.client_key", "needs client_cert beside it")
    assert "no such file" in only(tmp_path, "client_cert = 'none.pem'").wrong
    (tmp_path / "cert.pem").touch()
    default = settings_of(tmp_path, "client_cert = 'cert.pem'\nclient_key = 'key.pem'").endpoint["default"]
    assert (default.client_cert, default.client_key) == (tmp_path / "cert.pem", tmp_path / "key.pem")
