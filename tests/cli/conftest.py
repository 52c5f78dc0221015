"""Fixtures of the command line's tests."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.control.served import Served
from tusd_agent.cli import main


class Line:
    """The command line, with the agent's places named by the environment."""

    def __init__(self, served: Served) -> None:
        self.environ: dict[str, str | None] = {
            "TUSD_AGENT_CONFIG": None,
            "TUSD_AGENT_AGENT__SOCKET": str(served.socket),
            "TUSD_AGENT_AGENT__STATE_DIR": str(served.database.path.parent),
        }

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, env=self.environ)

    def json(self, *arguments: str) -> list[Any]:
        return [json.loads(line) for line in self(*arguments, "--json").stdout.splitlines()]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A queue and a server for it that is not started."""
    served = Served(tmp_path)
    yield served
    served.close()


@pytest.fixture
def line(served: Served) -> Line:
    """A command line that asks `served`."""
    return Line(served)
