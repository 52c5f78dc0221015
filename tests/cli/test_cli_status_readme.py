"""The README's table of what ``status --json`` says: complete."""

import re
from pathlib import Path
from typing import get_type_hints

import pytest

from tusd_agent.control.figures import Period, Periods
from tusd_agent.control.replies import Endpoint, Folder, InFlight, Status, Watcher

SECTION = (Path(__file__).parents[2] / "README.md").read_text().partition("### Is it working?\n")[2]
TABLE = SECTION.partition("\n### ")[0]


@pytest.mark.parametrize("reply", [Status, Periods, Period, Folder, Watcher, Endpoint, InFlight])
def test_every_member_is_named(reply: type) -> None:
    assert set(get_type_hints(reply)) <= set(re.findall(r"`(\w+)`", TABLE))
