"""Fixtures of all tests, and the two options that choose how much is run.

pytest                        the tests that need nothing but the package's extra ``test``
pytest --servers=all          `any_server` also is tusd and @tus/server (`python -m tests.servers install`)
pytest --heavy                also what is marked ``heavy``
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import KINDS, EmbeddedServer, NotInstalled, Server
from tests.support.agent import Agent
from tests.support.relay import Relay

LOG_CHARACTERS = 8000


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--servers",
        choices=("embedded", "all"),
        default="embedded",
        help="the servers that `any_server` stands for: embedded (tuspyserver) or all (also tusd, @tus/server)",
    )
    parser.addoption("--heavy", action="store_true", help="also run the tests marked `heavy`")


def pytest_configure() -> None:
    """What we start must hear Ctrl-C even where we ourselves were started with it ignored, as a shell's ``&`` does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--heavy"):
        return
    for item in items:
        if item.get_closest_marker("heavy"):
            item.add_marker(pytest.mark.skip(reason="heavy: run with --heavy"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "any_server" in metafunc.fixturenames:
        names = list(KINDS) if metafunc.config.getoption("--servers") == "all" else [EmbeddedServer.name]
        metafunc.parametrize("any_server", names, indirect=True)


@pytest.fixture
def server_factory(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers and closes them at the end: ``server_factory("tusd", flags=["-max-size", "1000"])``.

    One that is not installed skips the test; with CI in the environment it fails it.
    """
    servers: list[Server] = []

    def start(name: str = EmbeddedServer.name, flags: tuple[str, ...] | list[str] = ()) -> Server:
        server = KINDS[name](tmp_path / f"server-{len(servers)}", flags)
        servers.append(server)
        try:
            server.start()
        except NotInstalled as missing:
            if os.environ.get("CI"):
                pytest.fail(str(missing), pytrace=False)
            pytest.skip(str(missing))
        return server

    yield start
    for server in servers:
        server.close()
        _show(f"log of {server.name}", server.log_text())


@pytest.fixture
def embedded_server(server_factory: Callable[..., Server]) -> Server:
    """tuspyserver, running."""
    return server_factory(EmbeddedServer.name)


@pytest.fixture
def any_server(request: pytest.FixtureRequest, server_factory: Callable[..., Server]) -> Server:
    """Each server that ``--servers`` asks for in turn, running."""
    return server_factory(request.param)


@pytest.fixture
def relay() -> Iterator[Callable[[Server], Relay]]:
    """Puts a relay before a server: ``network = relay(any_server)``; clients get ``network.url_for(any_server)``."""
    relays: list[Relay] = []

    def put_before(server: Server) -> Relay:
        relays.append(Relay("127.0.0.1", server.port))
        return relays[-1]

    yield put_before
    for each in relays:
        each.close()


@pytest.fixture
def agent_factory(tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """Makes agents (not yet started) and ends them: ``agent_factory(server.url, [{"path": folder}], workers=2)``.

    Each has a folder of its own below ``tmp_path``; what it logged is shown when the test fails.
    """
    agents: list[Agent] = []

    def make(endpoint_url: str, folders: list[dict[str, object]], **settings: Any) -> Agent:
        agents.append(Agent(tmp_path / f"agent-{len(agents)}", endpoint_url, folders, **settings))
        return agents[-1]

    yield make
    for agent in agents:
        agent.close()
        _show("log of the agent", agent.log_text())


def _show(what: str, text: str) -> None:
    """Pytest shows what is written during teardown with the failure of the test, and only then."""
    sys.stdout.write(f"---- {what} ----\n{text[-LOG_CHARACTERS:]}\n")
