"""Fixtures of the command line's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.served import Served


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A queue and a server for it that is not started."""
    served = Served(tmp_path)
    yield served
    served.close()
