"""Beneath TLS: redirects, cuts, early answers and deadlines, and certificates that do not hold."""

import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tusd_agent.tus import BytesSource, DeadlineExceeded, NotATusServer, TUSUploadError, UntrustedServer

from .conftest import quick
from .fault_server import Fault, FaultServer

SOURCE = BytesSource(bytes(100_000))


def test_https_is_not_left_by_a_redirect(tls_server: FaultServer, certificate: Path, server: FaultServer) -> None:
    tls_server.fail("POST", Fault(status=307, headers={"Location": server.endpoint}))
    with (
        quick(tls_server.endpoint, verify=str(certificate)) as client,
        pytest.raises(NotATusServer, match="https to http"),
    ):
        client.send(SOURCE)
    assert server.requests == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and its key in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    both = folder / "both.pem"
    command = "openssl req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=test"
    files = ["-keyout", str(folder / "key"), "-out", str(both)]
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", *files],
        check=True,
        capture_output=True,
        timeout=30,
    )
    both.write_text(both.read_text() + (folder / "key").read_text())
    return both


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[FaultServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FaultServer(tls=context) as running:
        yield running


def test_tls(tls_server: FaultServer, certificate: Path) -> None:
    data = bytes(i % 251 for i in range(3_000_000))
    tls_server.fail("PATCH", Fault(read=1_000_000, keep=1_000_000, drop=True))
    tls_server.location = "http://127.0.0.1:{port}{path}"
    with quick(tls_server.endpoint, verify=str(certificate)) as client:
        result = client.send(BytesSource(data))
    assert result.url.startswith("https://")
    assert tls_server.methods() == "POST PATCH HEAD PATCH"
    assert bytes(tls_server.only().data) == data


@pytest.mark.parametrize("size", [1000, 16 << 20])
def test_stopping_beneath_tls(tls_server: FaultServer, certificate: Path, size: int) -> None:
    tls_server.fail("PATCH", Fault(read=0, stall=True))
    began_at = time.monotonic()
    with quick(tls_server.endpoint, verify=str(certificate)) as client, pytest.raises(DeadlineExceeded):
        client.send(BytesSource(bytes(size)), deadline=0.4)
    assert time.monotonic() - began_at < 1.4


def test_early_answer_beneath_tls(tls_server: FaultServer, certificate: Path) -> None:
    """Not to be seen before the server closes; then it is an answer, or HEAD tells."""
    tls_server.fail("PATCH", Fault(status=409, read=1000, keep=1000))
    source = BytesSource(bytes(8 << 20))
    with quick(tls_server.endpoint, verify=str(certificate)) as client:
        client.send(source)
    assert [request.headers["upload-offset"] for request in tls_server.of("PATCH")] == ["0", "1000"]
    assert len(tls_server.only().data) == source.size


def test_untrusted_certificate_is_not_tried_again(tls_server: FaultServer) -> None:
    with quick(tls_server.endpoint) as client, pytest.raises(UntrustedServer, match="verify") as caught:
        client.send(SOURCE)
    assert caught.value.retryable
    with quick(tls_server.endpoint, verify=False) as client, pytest.warns(Warning, match="Unverified"):
        client.send(SOURCE)


def test_https_to_a_port_that_speaks_http(server: FaultServer) -> None:
    with (
        quick(server.endpoint.replace("http", "https"), max_retries=0) as client,
        pytest.raises(TUSUploadError, match="speak https"),
    ):
        client.send(SOURCE)
