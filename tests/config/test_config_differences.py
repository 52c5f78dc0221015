"""What a reload says has changed, and what it keeps as it was."""

from pathlib import Path

from tusd_agent.config import AgentSettings, Settings, load
from tusd_agent.service.differences import NEEDS_RESTART, differences, sends_like

BEFORE = """
[agent]
state_dir = "state"
[endpoint.default]
headers = { X-Token = "old-secret" }
[endpoint.gone]
url = "http://localhost:1/"
[[watch]]
path = "a"
[[watch]]
path = "b"
"""
AFTER = """
[agent]
state_dir = "elsewhere"
workers = 8
[endpoint.default]
headers = { X-Token = "new-secret" }
rate_limit = 5
[endpoint.new]
url = "http://localhost:2/"
[[limits]]
from = "08:00"
to = "18:00"
rate = 1000
[[watch]]
path = "b"
priority = 3
exclude = ["*.tmp"]
[[watch]]
path = "c"
"""


def settings(folder: Path, text: str) -> Settings:
    config = folder / "config.toml"
    config.write_text(text)
    return load(config, {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)})


def test_each_difference_is_named_and_no_secret_is_told(tmp_path: Path) -> None:
    before, after = settings(tmp_path, BEFORE), settings(tmp_path, AFTER)
    found = differences(before, after)
    assert found.changed == [
        "agent.workers: 4 → 8",
        "endpoint gone: removed",
        "endpoint default: headers, rate_limit",
        "endpoint new: added",
        "limits: the timetable",
        f"watch {tmp_path}/a: removed",
        f"watch {tmp_path}/b: exclude, priority",
        f"watch {tmp_path}/c: added",
    ]
    assert found.needs_restart == [f"agent.state_dir: {tmp_path}/state → {tmp_path}/elsewhere"]
    assert found.settings.agent.state_dir == before.agent.state_dir, "what needs a restart holds on"
    assert (found.settings.agent.workers, found.settings.file) == (8, after.file)
    again = differences(found.settings, after)
    assert (again.changed, again.needs_restart) == ([], found.needs_restart)


def test_a_limit_does_not_change_how_requests_go_and_a_header_does(tmp_path: Path) -> None:
    before, after = settings(tmp_path, BEFORE).endpoint["default"], settings(tmp_path, AFTER).endpoint["default"]
    assert not sends_like(before, after)
    assert sends_like(before, before.model_copy(update={"rate_limit": 7, "max_concurrent": 2}))
    assert not sends_like(before, before.model_copy(update={"delete_proof": "answer"}))


def test_of_each_setting_of_the_agent_it_is_settled_whether_a_reload_can_change_it() -> None:
    """Who adds one has it hold in `Reloading`, or lists it among those that need a restart."""
    reloaded = {"workers", "rescan_interval_seconds", "retention_days", "retention_jobs", "rate_limit", "log_level"}
    assert set(AgentSettings.model_fields) == reloaded | set(NEEDS_RESTART)
    assert not reloaded & set(NEEDS_RESTART)
