"""inotify's limits, met for real: in a user namespace that has few watches."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.intake.living import Living, living
from tests.servers import Server
from tests.support.agent import Agent
from tests.support.namespaces import in_namespaces, set_inotify_limit
from tusd_agent.intake.limits import Limit, inotify_limit, partly_watched_sentence

DIRECTORIES = [f"d{number}" for number in range(10)]
CANARY = 1
ROOT = 1


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Living]:
    with living(tmp_path) as it:
        yield it


def make_directories(folder: Path) -> None:
    for name in DIRECTORIES:
        (folder / name).mkdir()


def write_one_each(folder: Path, name: str) -> list[bytes]:
    """A file in every directory; gives their paths in the folder."""
    for directory in DIRECTORIES:
        (folder / directory / name).write_bytes(name.encode())
    return [f"{directory}/{name}".encode() for directory in DIRECTORIES]


def falls_back_and_recovers(it: Living) -> None:
    """The limit was met: everything is found by polling; once the limit is raised, by events again."""
    it.tick_until(lambda: it.state().mode == "poll (watch limit)", "the limit to be noticed")
    problem = it.state().problem
    assert problem is not None
    assert "all 5 inotify watches of this user are in use" in problem
    assert "sysctl -w user.max_inotify_watches=128" in problem
    assert it.state().available
    first = write_one_each(it.path, "first")
    it.now += 11  # poll_interval_seconds is 10
    it.tick_until_names(*first)

    # The next tries, after one minute and after two more, are in vain: the mode stays, and so does the problem.
    for seconds in (60, 120):
        it.now += seconds
        it.tick_until(lambda: it.intake.health().watches == 5, "the try")
        assert (it.state().mode, it.state().problem) == ("poll (watch limit)", problem)

    set_inotify_limit("watches", 1000)
    it.now += 240
    it.tick_until(lambda: it.state().mode == "inotify", "the folder to be watched again")
    it.tick_until(lambda: not it.state().scanning, "the scan for what came meanwhile")
    assert it.intake.health().watches == CANARY + ROOT + len(DIRECTORIES)
    assert it.state().problem is None
    scanned_at = it.state().last_scan_at
    it.tick_until_names(*first, *write_one_each(it.path, "second"))
    assert it.state().last_scan_at == scanned_at, "found by a scan, not by events"


@pytest.mark.heavy
@in_namespaces
def test_a_watch_limit_that_is_met_at_the_start(it: Living) -> None:
    make_directories(it.path)
    set_inotify_limit("watches", 5)
    falls_back_and_recovers(it)


@pytest.mark.heavy
@in_namespaces
def test_a_watch_limit_that_is_met_while_running(it: Living) -> None:
    set_inotify_limit("watches", 5)
    it.tick_until(lambda: it.state().last_scan_at, "the first scan")
    assert (it.state().mode, it.state().problem) == ("inotify", None)
    make_directories(it.path)
    falls_back_and_recovers(it)


@pytest.mark.heavy
@in_namespaces
def test_not_a_single_watch_to_be_had(it: Living, caplog: pytest.LogCaptureFixture) -> None:
    set_inotify_limit("watches", 0)
    it.tick_until(lambda: it.state().mode == "poll (watch limit)", "the limit to be noticed")
    assert f"{it.path} can't be watched: all 0 inotify watches" in (it.state().problem or "")
    assert "There is no canary for file events" in caplog.text
    (it.path / "a").write_bytes(b"content")
    it.now += 11
    it.tick_until_names(b"a")
    assert it.intake.health().restarts == 0
    set_inotify_limit("watches", 100)
    it.now += 60
    it.tick_until(lambda: it.state().mode == "inotify" and it.intake.health().canary_at, "folder and canary")


@pytest.mark.heavy
@in_namespaces
def test_no_inotify_instance_to_be_had(it: Living) -> None:
    set_inotify_limit("instances", 0)
    it.tick_until(lambda: it.state().problem, "the limit to be noticed")
    assert "sysctl -w user.max_inotify_instances=128" in (it.state().problem or "")
    it.tick_until(lambda: it.state().mode == "poll (no events to be had)", "the mode")
    assert not it.intake.health().alive
    # No busy waiting for an instance.
    it.tick_until(lambda: it.intake.tick(it.now) > 0.0, "a tick that has nothing to do", step_seconds=0.0)
    (it.path / "a").write_bytes(b"content")
    it.now += 11
    it.tick_until_names(b"a")
    set_inotify_limit("instances", 10)
    it.now += 60
    it.tick_until(lambda: it.state().mode == "inotify", "the folder to be watched")
    assert it.state().problem is None
    assert it.intake.health().restarts == 0


@pytest.mark.heavy
@in_namespaces
def test_the_agent_says_so_and_sends_what_polling_finds(
    embedded_server: Server, agent_factory: Callable[..., Agent], tmp_path: Path
) -> None:
    folder = tmp_path / "outgoing"
    folder.mkdir()
    make_directories(folder)
    set_inotify_limit("watches", 5)
    settings = {"path": folder, "settle_seconds": 0.2, "poll_interval_seconds": 0.5}
    agent = agent_factory(embedded_server.url, [settings])
    agent.start()
    status = agent.wait_until(lambda it: it["folders"][0]["mode"] == "poll (watch limit)", 30)
    assert status["state"] == "degraded"
    assert "user.max_inotify_watches" in status["reasons"][0]
    assert status["watcher"]["alive"]
    paths = write_one_each(folder, "file")
    status = agent.wait_until(lambda it: it["jobs"]["done"] == len(paths), 60)
    agent.stop()


@pytest.mark.parametrize(
    ("host", "namespace", "expected"),
    [
        ("100", "100", Limit("fs.inotify.max_user_watches", 100)),
        ("100", "2147483647", Limit("fs.inotify.max_user_watches", 100)),
        ("100", "10", Limit("user.max_inotify_watches", 10)),
        (None, "10", Limit("user.max_inotify_watches", 10)),
        ("100", None, Limit("fs.inotify.max_user_watches", 100)),
        (None, None, None),
    ],
)
def test_the_limit_that_is_met_first_is_named(
    tmp_path: Path, host: str | None, namespace: str | None, expected: Limit | None
) -> None:
    for name, number in (("fs/inotify/max_user_watches", host), ("user/max_inotify_watches", namespace)):
        (tmp_path / name).parent.mkdir(parents=True)
        if number is not None:
            (tmp_path / name).write_text(f"{number}\n")
    assert inotify_limit("watches", tmp_path) == expected


def test_limits_that_cant_be_read_are_named_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tusd_agent.intake.limits.inotify_limit", lambda what: None)
    assert "Raise the limit fs.inotify.max_user_watches (sysctl(8))" in partly_watched_sentence("out")
