"""How fast the agent sends, measured on the wire."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import content, wait_for, write
from tests.support.relay import Relay
from tusd_agent.delivery.bandwidth import Bandwidth, ThrottledSource
from tusd_agent.tus import TUSClient

from .test_whole_path import assert_arrived_once, done

KIB, MIB = 1 << 10, 1 << 20
MEASURED_SECONDS = 10.0


@pytest.fixture
def outgoing(tmp_path: Path) -> Path:
    folder = tmp_path / "outgoing"
    folder.mkdir()
    return folder


def measured(network: Relay, seconds: float) -> float:
    """Bytes per second that go to the server over the next `seconds`."""
    begun_at, begun = time.monotonic(), network.bytes_to_server
    wait_for(lambda: time.monotonic() > begun_at + seconds, 2 * seconds, "the time that is measured over")
    return (network.bytes_to_server - begun) / (time.monotonic() - begun_at)


@pytest.mark.heavy
@pytest.mark.parametrize("limited", ["agent", "endpoint", "timetable"])
def test_four_workers_together_keep_the_rate_within_five_percent(
    embedded_server: Server,
    relay: Callable[[Server], Relay],
    agent_factory: Callable[..., Agent],
    outgoing: Path,
    limited: str,
) -> None:
    rate = 4 * MIB
    network = relay(embedded_server)
    for number in range(4):
        write(outgoing / f"{number}.bin", 15 * MIB, seed=number)  # small files: four at once
    agent = agent_factory(
        network.url_for(embedded_server),
        [{"path": outgoing, "settle_seconds": 0.2}],
        workers=4,
        endpoint={"rate_limit": rate} if limited == "endpoint" else {},
        **({"rate_limit": rate} if limited == "agent" else {}),
    )
    if limited == "timetable":
        with agent.config.open("a") as config:
            config.write(f'[[limits]]\nfrom = "00:00"\nto = "24:00"\nrate = {rate}\n')
    agent.start()
    agent.wait_until(lambda s: len(s["in_flight"]) == 4 and all(f["offset_bytes"] for f in s["in_flight"]), 30)
    found = measured(network, MEASURED_SECONDS)
    sys.stdout.write(f"limited by the {limited}: {found / rate:.4f} of the rate over {MEASURED_SECONDS:g} s\n")
    assert found == pytest.approx(rate, rel=0.05)


@pytest.mark.heavy
def test_many_small_files_count_too(
    embedded_server: Server, relay: Callable[[Server], Relay], agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    network = relay(embedded_server)
    total = 0
    for number in range(150):
        size = 500 + number * 7
        write(outgoing / f"{number}.dat", size, seed=number)
        total += size
    agent = agent_factory(
        network.url_for(embedded_server), [{"path": outgoing, "settle_seconds": 0.2}], workers=4, rate_limit=10 * KIB
    )
    agent.start()
    wait_for(network.body_bytes, 30, "the first bytes")
    begun_at, begun = time.monotonic(), network.body_bytes()
    agent.wait_until(done(150), 120)
    found = (total - begun) / (time.monotonic() - begun_at)
    sys.stdout.write(f"small files: {found / (10 * KIB):.4f} of the rate\n")
    assert network.body_bytes() == total
    assert found < 10.5 * KIB


@pytest.mark.heavy
def test_a_very_low_rate_times_nothing_out_and_a_stop_is_prompt(
    any_server: Server, relay: Callable[[Server], Relay], agent_factory: Callable[..., Agent], outgoing: Path
) -> None:
    network = relay(any_server)
    expected = write(outgoing / "file.bin", 300 * KIB)
    folders: list[dict[str, object]] = [{"path": outgoing, "settle_seconds": 0.2}]
    url = network.url_for(any_server)
    agent = agent_factory(url, folders, endpoint={"timeout_seconds": 1.0}, rate_limit=KIB)
    agent.start()
    wait_for(lambda: network.body_bytes() > 4 * KIB, 60, "four seconds' worth")
    assert [request.method for request in network.requests_seen()].count("PATCH") == 1
    assert agent.stop() < 3
    sent = network.body_bytes()
    agent.configure(url, folders)
    agent.start()
    agent.wait_until(done(1), 30)
    assert_arrived_once(any_server, {"file.bin": expected})
    assert network.body_bytes() <= 300 * KIB + sent


def test_a_limit_is_lifted_and_set_while_a_body_is_sent(any_server: Server, relay: Callable[[Server], Relay]) -> None:
    network = relay(any_server)
    bandwidth = Bandwidth(0, {"default": 20 * KIB})
    data = content(4 * MIB, seed=1)

    class InMemory:
        size = len(data)

        def readinto(self, offset: int, buffer: memoryview) -> int:
            part = data[offset : offset + len(buffer)]
            buffer[: len(part)] = part
            return len(part)

    stop = Event()
    client = TUSClient(network.url_for(any_server))
    source = ThrottledSource(InMemory(), bandwidth.throttle("default"), stop)
    thread = Thread(target=lambda: client.send(source, cancel=stop), daemon=True)
    thread.start()
    wait_for(lambda: 8 * KIB < network.body_bytes() < 200 * KIB, 30, "it goes slowly")
    bandwidth.set_limit(2 * MIB, "default")
    wait_for(lambda: network.body_bytes() > MIB, 10, "it goes fast")
    bandwidth.set_limit(20 * KIB, "default")
    slow_at, slow = time.monotonic(), network.body_bytes()
    wait_for(lambda: network.body_bytes() > slow + 10 * KIB, 30, "it goes slowly again")
    assert network.body_bytes() - slow < (time.monotonic() - slow_at + 1) * 20 * KIB + 600 * KIB
    bandwidth.set_limit(0, "default")
    thread.join(30)
    assert not thread.is_alive()
    (upload,) = any_server.stored()
    assert upload.path.read_bytes() == data
