"""The tests' own instruments: a relay, servers or files that lie would make every other test worthless."""

import base64
import hashlib
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.servers import Server, Stored
from tests.support import toml
from tests.support.files import content, sha256_of, wait_for, write
from tests.support.relay import Relay

pytestmark = pytest.mark.heavy  # each of them starts servers of its own

MIB = 1 << 20
TUS = {"Tus-Resumable": "1.0.0"}
BODY = {**TUS, "Content-Type": "application/offset+octet-stream"}
PutBefore = Callable[[Server], Relay]


def create(url: str, size: int) -> str:
    metadata = ",".join(
        f"{name} {base64.b64encode(text).decode()}"
        for name, text in {"filename": "größe.bin".encode(), "filetype": b"text/plain"}.items()
    )
    headers = {**TUS, "Upload-Length": str(size), "Upload-Metadata": metadata}
    answer = requests.post(url, headers=headers, timeout=30)
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"]


def patch(upload_url: str, offset: int, data: bytes) -> int:
    headers = {**BODY, "Upload-Offset": str(offset)}
    answer = requests.patch(upload_url, data=data, headers=headers, timeout=30)
    assert answer.status_code == 204, answer.text
    return int(answer.headers["Upload-Offset"])


def offset_of(upload_url: str) -> int:
    """Where the server stands; tusd may take seconds to take the lock from a request that was cut."""
    answer = requests.head(upload_url, headers=TUS, timeout=60)
    assert answer.status_code == 200, answer.status_code
    return int(answer.headers["Upload-Offset"])


def only(server: Server) -> Stored:
    (upload,) = server.stored()
    return upload


def test_server_shows_what_it_stores(any_server: Server) -> None:
    data = content(100_000, seed=1)
    upload_url = create(any_server.url, len(data))

    fresh = only(any_server)
    assert upload_url.endswith("/" + fresh.id)
    assert (fresh.size, fresh.offset, fresh.complete) == (100_000, 0, False)
    assert fresh.metadata["filename"] == "größe.bin".encode()
    assert fresh.metadata["filetype"] == b"text/plain"

    assert patch(upload_url, 0, data[:40_000]) == 40_000
    assert (only(any_server).offset, only(any_server).complete) == (40_000, False)
    assert patch(upload_url, 40_000, data[40_000:]) == 100_000
    assert only(any_server).complete
    assert only(any_server).sha256() == hashlib.sha256(data).hexdigest()

    assert requests.delete(upload_url, headers=TUS, timeout=30).status_code == 204
    assert any_server.stored() == []


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_server_comes_back_where_it_was(any_server: Server, end: str) -> None:
    upload_url = create(any_server.url, 3000)
    assert patch(upload_url, 0, bytes(1000)) == 1000
    getattr(any_server, end)()
    with pytest.raises(requests.ConnectionError):
        offset_of(upload_url)

    any_server.start()

    assert offset_of(upload_url) == 1000
    assert patch(upload_url, 1000, bytes(2000)) == 3000


def test_server_killed_in_the_middle_of_a_body_goes_on_at_the_right_byte(any_server: Server, relay: PutBefore) -> None:
    network = relay(any_server)
    network.bytes_per_second = 2 * MIB
    data = content(4 * MIB, seed=2)
    upload_url = create(network.url_for(any_server), len(data))
    sender = threading.Thread(target=send_in_vain, args=(upload_url, data))
    sender.start()
    wait_for(lambda: only(any_server).offset > MIB, 30, "a part of the body on the server's disk")

    any_server.kill()
    sender.join()
    any_server.start()
    network.bytes_per_second = None
    offset = offset_of(upload_url)
    assert offset >= MIB
    patch(upload_url, offset, data[offset:])

    assert only(any_server).sha256() == hashlib.sha256(data).hexdigest()


def send_in_vain(upload_url: str, data: bytes) -> None:
    with suppress(requests.RequestException, AssertionError):
        patch(upload_url, 0, data)


def test_server_lets_a_client_come_back_while_its_old_connection_hangs(any_server: Server) -> None:
    data = content(200_000, seed=3)
    upload_url = create(any_server.url, len(data))
    with socket.create_connection(("127.0.0.1", any_server.port)) as hanging:
        header = f"PATCH {urlsplit(upload_url).path} HTTP/1.1\r\nHost: {urlsplit(upload_url).netloc}\r\n"
        fields = {**BODY, "Upload-Offset": "0", "Content-Length": str(len(data))}
        header += "".join(f"{name}: {text}\r\n" for name, text in fields.items())
        hanging.sendall(header.encode() + b"\r\n" + data[:100_000])
        wait_for(lambda: only(any_server).offset == 100_000, 30, "the first half on the server's disk")

        # The rest never comes. @tus/server ends the old request with a delay, the two others at once.
        begun = time.monotonic()
        offset = offset_of(upload_url)
        with suppress(AssertionError):
            patch(upload_url, offset, data[offset:])
        offset = offset_of(upload_url)
        if offset < len(data):
            patch(upload_url, offset, data[offset:])
        assert time.monotonic() - begun < 20
    assert only(any_server).sha256() == hashlib.sha256(data).hexdigest()


def test_frozen_server_accepts_and_does_not_answer(embedded_server: Server) -> None:
    embedded_server.freeze()
    with pytest.raises(requests.ReadTimeout):
        requests.options(embedded_server.url, timeout=0.3)
    embedded_server.thaw()
    assert requests.options(embedded_server.url, timeout=30).ok
    embedded_server.freeze()
    embedded_server.stop()
    assert not embedded_server.running


def test_embedded_server_answers_with_and_without_the_last_slash(embedded_server: Server) -> None:
    for url in (embedded_server.url, embedded_server.url.rstrip("/")):
        options = requests.options(url, timeout=30, allow_redirects=False)
        assert (options.status_code, options.headers["Tus-Version"]) == (204, "1.0.0")
        assert create(url, 1).startswith(embedded_server.url)


def test_embedded_server_says_when_it_answers_and_ends_with_its_stdin(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tusd_agent.demo.server",
        "--folder",
        str(tmp_path / "new"),
        "--until-stdin-closes",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin
        assert child.stdout
        said, url = child.stdout.readline().rsplit(" ", 1)
        assert said == "listening on"
        assert requests.options(url.strip(), timeout=30).ok
        child.stdin.close()
        assert child.wait(30) == 0
        assert child.stdout.read() == ""


def test_embedded_server_names_the_extra_it_needs(tmp_path: Path) -> None:
    without = "import sys; sys.modules['tuspyserver'] = None; from tusd_agent.demo.server import main; main()"
    command = [sys.executable, "-c", without, "--folder", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "pip install 'tusd-agent[demo]'" in ended.stderr


def test_server_that_does_not_start_shows_its_log(server_factory: Callable[..., Server]) -> None:
    with pytest.raises(AssertionError, match="unrecognized arguments: --nonsense"):
        server_factory(flags=["--nonsense"])


def test_location_leads_through_the_relay_and_the_relay_counts(any_server: Server, relay: PutBefore) -> None:
    network = relay(any_server)
    data = content(300_000, seed=4)

    upload_url = create(network.url_for(any_server), len(data))
    assert upload_url.startswith(network.url_for(any_server))
    patch(upload_url, 0, data[:200_000])
    patch(upload_url, 200_000, data[200_000:])

    seen = [(each.method, each.upload_offset, each.content_length) for each in network.requests_seen()]
    assert seen == [("POST", None, 0), ("PATCH", 0, 200_000), ("PATCH", 200_000, 100_000)]
    assert network.body_bytes(upload_url) == network.body_bytes() == 300_000
    assert network.body_bytes(network.url_for(any_server)) == 0
    assert 300_000 < network.bytes_to_server < 310_000
    assert 100 < network.bytes_to_client < 10_000
    assert (network.connections, network.cuts) == (3, 0)


def test_relay_reads_requests_on_one_kept_connection(embedded_server: Server, relay: PutBefore) -> None:
    network = relay(embedded_server)
    data = content(3 * MIB, seed=5)
    with requests.Session() as session:
        session.headers.update(BODY)
        created = session.post(network.url_for(embedded_server), headers={"Upload-Length": str(len(data))}, timeout=30)
        for start in range(0, len(data), MIB):
            headers = {"Upload-Offset": str(start)}
            session.patch(created.headers["Location"], data[start : start + MIB], headers=headers, timeout=30)
    assert [each.method for each in network.requests_seen()] == ["POST", "PATCH", "PATCH", "PATCH"]
    assert [each.body_bytes for each in network.requests_seen()] == [0, MIB, MIB, MIB]
    assert network.connections == 1
    assert only(embedded_server).complete


def test_relay_throttles(embedded_server: Server, relay: PutBefore) -> None:
    network = relay(embedded_server)
    data = content(MIB, seed=6)
    upload_url = create(network.url_for(embedded_server), len(data))
    network.bytes_per_second = MIB
    begun = time.monotonic()
    patch(upload_url, 0, data)
    assert 0.7 < time.monotonic() - begun < 20


def test_relay_cuts_after_so_many_bytes(any_server: Server, relay: PutBefore) -> None:
    network = relay(any_server)
    data = content(2 * MIB, seed=7)
    upload_url = create(network.url_for(any_server), len(data))
    network.cut_after(MIB)
    with pytest.raises(requests.ConnectionError):
        patch(upload_url, 0, data)
    assert network.cuts == 1

    body_bytes = network.body_bytes(upload_url)
    assert 0 < MIB - body_bytes < 1000  # the rest was the header
    # What a server had received and not yet written when the connection broke it may throw away.
    wait_for(lambda: only(any_server).offset, 30, "something of the body on the server's disk")
    offset = offset_of(upload_url)
    assert 0 < offset <= body_bytes
    patch(upload_url, offset, data[offset:])
    assert only(any_server).sha256() == hashlib.sha256(data).hexdigest()


def test_relay_cuts_now(embedded_server: Server, relay: PutBefore) -> None:
    network = relay(embedded_server)
    network.stall = True
    broken: list[Exception] = []

    def ask() -> None:
        try:
            requests.options(network.url_for(embedded_server), timeout=60)
        except requests.ConnectionError as error:
            broken.append(error)

    asker = threading.Thread(target=ask)
    asker.start()
    wait_for(lambda: network.connections, 30, "the connection")
    assert network.bytes_to_server == 0
    network.cut()
    asker.join()
    assert broken
    assert network.requests_seen() == []

    network.stall = False
    assert requests.options(network.url_for(embedded_server), timeout=60).ok


def test_relay_refuses_and_comes_back_on_the_same_port(embedded_server: Server, relay: PutBefore) -> None:
    network = relay(embedded_server)
    with requests.Session() as session:
        assert session.options(network.url_for(embedded_server), timeout=30).ok
        network.refuse = True
        assert session.options(network.url_for(embedded_server), timeout=30).ok, "an open connection stays"
        with pytest.raises(requests.ConnectionError, match="refused"):
            requests.options(network.url_for(embedded_server), timeout=30)
    network.refuse = False
    assert requests.options(network.url_for(embedded_server), timeout=30).ok


def test_relay_swallows_answers_of_what_the_server_has_done(any_server: Server, relay: PutBefore) -> None:
    network = relay(any_server)
    network.drop_answers = {"PATCH"}
    data = content(50_000, seed=8)
    upload_url = create(network.url_for(any_server), len(data))
    with pytest.raises(requests.ConnectionError):
        patch(upload_url, 0, data)
    assert only(any_server).complete
    assert offset_of(upload_url) == len(data)

    network.drop_answers = True
    with pytest.raises(requests.ConnectionError):
        offset_of(upload_url)


def test_relay_before_a_dead_server_breaks_connections(embedded_server: Server, relay: PutBefore) -> None:
    network = relay(embedded_server)
    embedded_server.kill()
    with pytest.raises(requests.ConnectionError):
        requests.options(network.url_for(embedded_server), timeout=30)
    embedded_server.start()
    assert requests.options(network.url_for(embedded_server), timeout=30).ok


def test_written_content_depends_on_size_and_seed_only(tmp_path: Path) -> None:
    size = 2 * MIB + 17
    digest = write(tmp_path / "a", size, seed=1)
    assert digest == sha256_of(tmp_path / "a") == hashlib.sha256(content(size, seed=1)).hexdigest()
    assert digest == write(tmp_path / "b", size, seed=1)
    assert digest != write(tmp_path / "c", size, seed=2)
    assert (tmp_path / "a").stat().st_size == size
    blocks = [content(size, seed=1)[start : start + MIB] for start in range(0, size, MIB)]
    assert len(set(blocks)) == 3
    assert write(tmp_path / "empty", 0) == hashlib.sha256().hexdigest()


def test_waiting_ends_with_what_was_waited_for() -> None:
    with pytest.raises(AssertionError, match=r"not within 0\.05 s: the moon"):
        wait_for(lambda: False, 0.05, "the moon")
    assert wait_for(lambda: "found", 0.05, "the moon") == "found"


def test_configuration_is_read_back_as_it_was_written() -> None:
    settings = {
        "text": 'quotes " and \\ and \x7f and ü\n',
        "number": 3,
        "fraction": 0.5,
        "yes": True,
        "words": ["a", "b"],
        "metadata": {"site": "lab 7", "with space": "x"},
        "nothing": None,
    }
    read = tomllib.loads(toml.table("[agent]", settings) + toml.table("[[watch]]", {"path": Path("/srv/out")}))
    assert read["agent"] == {name: value for name, value in settings.items() if value is not None}
    assert read["watch"] == [{"path": "/srv/out"}]
