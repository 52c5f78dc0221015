"""sd_notify over a real socket: what systemd would read."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tusd_agent.systemd import Notifier, watchdog_seconds


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A bound datagram socket, and what $NOTIFY_SOCKET would say of it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(10)
        if request.param == "abstract":
            name = f"tusd-agent-test-{os.getpid()}-{time.monotonic_ns()}"
            receiver.bind("\0" + name)
            yield receiver, "@" + name
        else:
            path = tmp_path / "notify"
            receiver.bind(str(path))
            yield receiver, str(path)


def test_each_state_is_one_datagram(listening: tuple[socket.socket, str]) -> None:
    receiver, address = listening
    notifier = Notifier({"NOTIFY_SOCKET": address}, monotonic_ns=lambda: 1_234_567_890)
    said = [
        notifier.ready(),
        notifier.status("3 uploads"),
        notifier.reloading(),
        notifier.watchdog(),
        notifier.stopping(),
    ]
    assert said == [True] * 5
    assert [receiver.recv(4096) for _ in said] == [
        b"READY=1",
        b"STATUS=3 uploads",
        b"RELOADING=1\nMONOTONIC_USEC=1234567",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ]


def test_a_status_can_not_smuggle_another_state(listening: tuple[socket.socket, str]) -> None:
    receiver, address = listening
    Notifier({"NOTIFY_SOCKET": address}).status("file a\nSTOPPING=1\r\nö \udcff")
    assert receiver.recv(4096) == "STATUS=file a STOPPING=1 ö ?".encode()


def test_reloading_tells_the_clock_systemd_compares_with(listening: tuple[socket.socket, str]) -> None:
    receiver, address = listening
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier({"NOTIFY_SOCKET": address}).reloading()
    usec = int(receiver.recv(4096).partition(b"MONOTONIC_USEC=")[2])
    assert before <= usec <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_what_takes_long_asks_for_more_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it lasts, and no longer than was said; who is watched is alive meanwhile."""
    monkeypatch.setattr("tusd_agent.systemd.EXTEND_EVERY_SECONDS", 0.01)
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(10)
        receiver.bind(str(path))
        notifier = Notifier({"NOTIFY_SOCKET": str(path)})
        with notifier.extending(60):
            assert [receiver.recv(4096) for _ in range(3)] == [b"EXTEND_TIMEOUT_USEC=15000000\nWATCHDOG=1"] * 3
        receiver.setblocking(False)
        with pytest.raises(BlockingIOError):  # noqa: PT012 - what was sent before the end is still to be read
            while True:
                receiver.recv(4096)
        with notifier.extending(0):
            time.sleep(0.05)
        with pytest.raises(BlockingIOError):
            receiver.recv(4096)
    with Notifier({}).extending(60):
        assert not [thread for thread in threading.enumerate() if thread.name == "extending"]


@pytest.mark.parametrize("value", [None, "", "@", "relative", "vsock:2:1234"])
def test_without_systemd_nothing_happens(value: str | None) -> None:
    notifier = Notifier({} if value is None else {"NOTIFY_SOCKET": value})
    assert notifier.ready() is False
    assert notifier.status("idle") is False


def test_a_socket_nobody_reads_any_more_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
    assert Notifier({"NOTIFY_SOCKET": str(path)}).ready() is False
    path.unlink()
    assert Notifier({"NOTIFY_SOCKET": str(path)}).ready() is False


def test_a_full_socket_does_not_hold_the_service_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tusd_agent.systemd.SEND_TIMEOUT_SECONDS", 0.05)
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        notifier = Notifier({"NOTIFY_SOCKET": str(path)})
        # The queue of a datagram socket is short (net.unix.max_dgram_qlen), the bound only ends a broken test.
        assert any(notifier.watchdog() is False for _ in range(100_000))


def test_watchdog_seconds() -> None:
    assert watchdog_seconds({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 42) == 30.0
    assert watchdog_seconds({"WATCHDOG_USEC": "1500000"}, 42) == 1.5


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "41"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "", "WATCHDOG_PID": "42"},
    ],
)
def test_no_watchdog_is_asked_for(environ: dict[str, str]) -> None:
    assert watchdog_seconds(environ, 42) is None
