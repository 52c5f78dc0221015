"""A disk that goes and comes back: its files are not taken for deleted, and are sent when it is there again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import write
from tests.support.namespaces import bind, in_namespaces, mount_tmpfs, unmount
from tests.support.relay import Relay

from .test_whole_path import assert_arrived_once, done

SECONDS = 60


def unavailable(status: dict[str, Any]) -> bool:
    return not status["folders"][0]["available"] and bool(status["folders"][0]["problem"])


def available(status: dict[str, Any]) -> bool:
    return bool(status["folders"][0]["available"]) and not status["folders"][0]["scanning"]


def waiting(count: int) -> Callable[[dict[str, Any]], bool]:
    return lambda status: bool(status["jobs"]["pending"] + status["jobs"]["uploading"] == count)


@pytest.mark.heavy
@in_namespaces
@pytest.mark.parametrize("kind", ["the mount point", "a folder below it", "a link to it"])
def test_a_disk_that_is_unmounted_and_mounted_again(
    embedded_server: Server,
    relay: Callable[[Server], Relay],
    agent_factory: Callable[..., Agent],
    tmp_path: Path,
    kind: str,
) -> None:
    point = tmp_path / "media/disk"
    below = "deep/outgoing" if kind == "a folder below it" else "."
    # What is there while the disk is not: an empty folder of the same name, the meanest case.
    (point / below).mkdir(parents=True)
    disk = tmp_path / "plugged"
    mount_tmpfs(disk)
    (disk / below).mkdir(parents=True, exist_ok=True)
    folder = point / below
    if kind == "a link to it":
        folder = tmp_path / "link"
        folder.symlink_to(point)
    bind(disk, point)
    network = relay(embedded_server)
    network.refuse = True
    settings = {"path": folder, "settle_seconds": 0.2}
    agent = agent_factory(network.url_for(embedded_server), [settings], rescan_interval_seconds=1)
    agent.start()
    (folder / "sub").mkdir()
    sums = {name: write(folder / name, 1000, seed) for seed, name in enumerate(["a", "b", "sub/c"])}
    agent.wait_until(waiting(3), SECONDS)

    unmount(point)
    assert list((point / below).iterdir()) == []
    status = agent.wait_until(unavailable, SECONDS)
    assert f"nothing is mounted at {point} any more, so its jobs wait" in status["folders"][0]["problem"]
    assert status["state"] == "degraded"

    # What only lies beneath the mount point is not the folder's, and the server is there again: still nothing moves.
    (point / below / "astray").write_bytes(b"not on the disk")
    network.refuse = False
    agent.stop()
    agent.start()
    status = agent.wait_until(unavailable, SECONDS)
    assert f"nothing is mounted at {point} any more" in status["folders"][0]["problem"]
    assert waiting(3)(status)
    assert status["jobs"]["vanished"] == 0
    (point / below / "astray").unlink()

    bind(disk, point)
    status = agent.wait_until(lambda it: available(it) and done(3)(it), SECONDS)
    assert status["folders"][0]["problem"] is None
    assert_arrived_once(embedded_server, sums)
    # Its events come again as well.
    sums["later"] = write(folder / "later", 1000, 9)
    agent.wait_until(done(4), SECONDS)
    assert_arrived_once(embedded_server, sums)
    agent.stop()


@pytest.mark.heavy
@in_namespaces
def test_without_mount_check_an_empty_mount_point_counts(
    embedded_server: Server,
    relay: Callable[[Server], Relay],
    agent_factory: Callable[..., Agent],
    tmp_path: Path,
) -> None:
    disk, point = tmp_path / "plugged", tmp_path / "disk"
    point.mkdir()
    mount_tmpfs(disk)
    bind(disk, point)
    network = relay(embedded_server)
    network.refuse = True
    settings = {"path": point, "settle_seconds": 0.2, "mount_check": False}
    agent = agent_factory(network.url_for(embedded_server), [settings], rescan_interval_seconds=1)
    agent.start()
    write(point / "on-the-disk", 1000)
    agent.wait_until(waiting(1), SECONDS)
    unmount(point)
    agent.wait_until(lambda it: it["jobs"]["vanished"] == 1 and it["folders"][0]["available"], SECONDS)
    network.refuse = False
    sums = {"beneath": write(point / "beneath", 1000, 1)}
    agent.wait_until(done(1), SECONDS)
    assert_arrived_once(embedded_server, sums)
    agent.stop()


@pytest.mark.heavy
def test_a_guard_file_that_is_missing_keeps_everything_where_it_is(
    embedded_server: Server,
    relay: Callable[[Server], Relay],
    agent_factory: Callable[..., Agent],
    tmp_path: Path,
) -> None:
    folder, away = tmp_path / "outgoing", tmp_path / "away"
    folder.mkdir()
    (folder / "THE-DISK").write_bytes(b"guard")
    network = relay(embedded_server)
    network.refuse = True
    settings = {"path": folder, "settle_seconds": 0.2, "guard_file": "THE-DISK"}
    agent = agent_factory(network.url_for(embedded_server), [settings], rescan_interval_seconds=1)
    agent.start()
    sums = {"a": write(folder / "a", 1000, 1)}
    agent.wait_until(waiting(1), SECONDS)

    folder.rename(away)
    folder.mkdir()
    status = agent.wait_until(unavailable, SECONDS)
    assert "its guard file THE-DISK is not there" in status["folders"][0]["problem"]
    network.refuse = False
    agent.stop()
    agent.start()
    status = agent.wait_until(unavailable, SECONDS)
    assert "its guard file THE-DISK is not there" in status["folders"][0]["problem"]
    assert (status["jobs"]["vanished"], status["jobs"]["done"]) == (0, 0)

    folder.rmdir()
    away.rename(folder)
    agent.wait_until(lambda it: available(it) and done(1)(it), SECONDS)
    # The guard itself is not sent.
    assert_arrived_once(embedded_server, sums)
    agent.stop()
