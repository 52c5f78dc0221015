"""[[limits]]: how fast bodies may be sent at certain hours."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from tusd_agent.cli.check_config import check_config_command
from tusd_agent.config import ConfigError, Problem, Settings, load, minute_of_day

HOME = {"HOME": "/nonexistent/ada"}


def settings_of(folder: Path, text: str, **environ: str) -> Settings:
    path = folder / "config.toml"
    path.write_text(text)
    return load(path, {**HOME, **environ}, uid=1000)


def only(folder: Path, text: str, **environ: str) -> Problem:
    with pytest.raises(ConfigError) as caught:
        settings_of(folder, text, **environ)
    assert len(caught.value.problems) == 1, str(caught.value)
    return caught.value.problems[0]


def limit(**settings: str) -> str:
    given = {"from": "'08:00'", "to": "'18:00'", "rate": "'2MiB/s'", **settings}
    return "[[limits]]\n" + "".join(f"{key} = {value}\n" for key, value in given.items() if value)


def test_limits_are_read(tmp_path: Path) -> None:
    text = "[agent]\nrate_limit = '1MB/s'\n" + limit(days='["mon", "fri"]') + limit(endpoint="'default'", to="'06:00'")
    found = settings_of(tmp_path, text)
    assert found.agent.rate_limit == 1_000_000
    first, second = found.limits
    assert (first.begins, first.ends, first.rate, first.days, first.endpoint) == (
        "08:00", "18:00", 2 * 1024**2, ("mon", "fri"), None,
    )  # fmt: skip
    assert (second.ends, second.days, second.endpoint) == ("06:00", (), "default")


@pytest.mark.parametrize(("written", "read"), [("'00:00'", "00:00"), ("09:30:00", "09:30"), ("'23:59'", "23:59")])
def test_times_are_texts_or_times_of_toml(tmp_path: Path, written: str, read: str) -> None:
    (found,) = settings_of(tmp_path, limit(**{"from": written})).limits
    assert found.begins == read


def test_the_minute_of_a_time() -> None:
    assert [minute_of_day(text) for text in ("00:00", "08:05", "24:00")] == [0, 485, 1440]


@pytest.mark.parametrize(
    ("key", "written", "wrong"),
    [
        ("from", "'8:00'", "is not a time of the day"),
        ("from", "'24:01'", "is not a time of the day"),
        ("from", "8", "is not a time of the day"),
        ("from", "08:00:30", "has seconds"),
        ("from", "'24:00'", "ends the day"),
        ("from", "", "is missing"),
        ("to", "'25:00'", "is not a time of the day"),
        ("to", "'08:00'", "is the same as from"),
        ("rate", "0", "is no limit"),
        ("rate", "'fast'", "is not a rate"),
        ("rate", "", "is missing"),
        ("endpoint", "'lab'", "there is no [endpoint.lab]"),
    ],
)
def test_bad_limits_are_refused(tmp_path: Path, key: str, written: str, wrong: str) -> None:
    problem = only(tmp_path, limit(**{key: written}))
    assert problem.key == f"limits[0].{key}"
    assert wrong in problem.wrong


def test_what_is_allowed_and_meant_is_said(tmp_path: Path) -> None:
    assert "mon, tue, wed" in only(tmp_path, limit(days='["monday"]')).allowed
    assert only(tmp_path, limit(form="'08:00'")).hint == "did you mean from?"
    assert only(tmp_path, "[limits]\nrate = 1\n").hint == "write [[limits]]"
    assert "belongs in [[limits]]" in only(tmp_path, "[agent]\ndays = ['mon']\n").hint


def test_limits_from_the_environment(tmp_path: Path) -> None:
    given = '[{"from": "22:00", "to": "06:00", "rate": "1MiB"}]'
    (found,) = settings_of(tmp_path, "", TUSD_AGENT_LIMITS=given).limits
    assert (found.begins, found.ends, found.rate) == ("22:00", "06:00", 1024**2)
    problem = only(tmp_path, "", TUSD_AGENT_LIMITS=given.replace("22:00", "22"))
    assert (problem.variable, problem.key) == ("TUSD_AGENT_LIMITS", "limits[0].from")
    assert "TUSD_AGENT_LIMITS='[{" in only(tmp_path, "", TUSD_AGENT_LIMITS='{"rate": 1}').hint


def test_check_config_shows_limits(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[agent]\nrate_limit = 5000\n" + limit(**{"from": "'22:00'", "to": "'06:00'", "days": "['fri']"}))
    shown = CliRunner().invoke(check_config_command, ["--config", str(path)], env=HOME).stdout
    assert "rate limit     5000 bytes/s" in shown
    assert "limits[0]      from 22:00 to 06:00 of the next day, fri: 2097152 bytes/s for the whole agent" in shown
    as_json = CliRunner().invoke(check_config_command, ["--config", str(path), "--json"], env=HOME).stdout
    assert '"from": "22:00"' in as_json
