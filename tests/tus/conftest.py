"""Shared by the tests of the client library."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tusd_agent.tus import TUSClient

from .fault_server import FaultServer


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy and no netrc of the machine that runs the tests."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def quick(endpoint: str, **options: Any) -> TUSClient:
    """A client that does not wait between attempts."""
    return TUSClient(endpoint, **{"retry_delay": 0.0, "min_retry_delay": 0.0, "timeout": 10.0, **options})


@pytest.fixture
def client(server: FaultServer) -> Iterator[TUSClient]:
    with quick(server.endpoint) as made:
        yield made
