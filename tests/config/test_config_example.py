"""config.example.toml says every setting and every default, and nothing else."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tusd_agent.config import AgentSettings, EndpointSettings, LimitSettings, WatchSettings, load
from tusd_agent.config.explaining import fields_of

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
SECTIONS: dict[str, type[BaseModel]] = {
    "agent": AgentSettings,
    "endpoint": EndpointSettings,
    "limits": LimitSettings,
    "watch": WatchSettings,
}


def uncommented() -> str:
    """The example with the "#" taken from each setting; explanations have a space after theirs."""
    return re.sub(r"^#(?! |$)", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def tables() -> dict[str, dict[str, Any]]:
    document = tomllib.loads(uncommented())
    assert document.keys() == SECTIONS.keys()
    (endpoint,) = document["endpoint"].values()
    (limits,) = document["limits"]
    (watch,) = document["watch"]
    return {"agent": document["agent"], "endpoint": endpoint, "limits": limits, "watch": watch}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_there_in_order_and_no_other(section: str) -> None:
    assert list(tables()[section]) == list(fields_of(SECTIONS[section]))


def test_as_shipped_it_equals_the_defaults() -> None:
    shipped, defaults = load(EXAMPLE, {}, uid=0), load(None, {"TUSD_AGENT_CONFIG": "", "HOME": "/root"}, uid=4711)
    root = {"state_dir": Path("/var/lib/tusd-agent"), "socket": Path("/run/tusd-agent/control.sock")}
    assert shipped.agent == defaults.agent.model_copy(update=root)
    assert shipped.endpoint == defaults.endpoint
    assert shipped.limits == defaults.limits == ()
    assert shipped.watch == defaults.watch


def test_uncommented_it_still_says_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(uncommented(), encoding="utf-8")
    shipped, spelled_out = load(EXAMPLE, {}, uid=0), load(path, {}, uid=0)
    assert spelled_out.agent == shipped.agent
    assert spelled_out.endpoint == shipped.endpoint
    assert spelled_out.limits == (LimitSettings.model_validate({"from": "08:00", "to": "18:00", "rate": "2MiB/s"}),)
    assert spelled_out.watch == (WatchSettings(path=Path("/srv/outgoing")),)


@pytest.mark.parametrize("section", SECTIONS)
def test_defaults_are_written_in_the_type_of_the_setting(section: str) -> None:
    for key, written in tables()[section].items():
        field = fields_of(SECTIONS[section])[key]
        if not field.is_required():
            default = field.get_default(call_default_factory=True, validated_data={})
            expected = "" if default is None else list(default) if isinstance(default, tuple) else default
            assert (key, written, type(written)) == (key, expected, type(expected))


def test_every_setting_is_explained_and_says_what_is_allowed() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    for before, line in pairwise(lines):
        if line.startswith("#") and line[1:2].isalpha():
            # client_key shares the explanation of client_cert.
            assert before.startswith(("# ", "#client_cert")), line
    for model in SECTIONS.values():
        assert all(field.description for field in model.model_fields.values())
