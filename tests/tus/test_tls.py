"""Whom the client trusts beneath TLS, what it shows of itself, and the way through proxies."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from tusd_agent.tus import BytesSource, UntrustedServer, UploadInterrupted
from tusd_agent.tus.trust import trusted

from .conftest import quick
from .fault_server import Fault, FaultServer

DATA = bytes(i % 251 for i in range(2_000_000))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="module")
def context(authority: trustme.CA) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(made)
    return made


@pytest.fixture
def tls_server(context: ssl.SSLContext) -> Iterator[FaultServer]:
    with FaultServer(tls=context) as running:
        yield running


@pytest.fixture
def choosy_server(authority: trustme.CA, context: ssl.SSLContext) -> Iterator[FaultServer]:
    """Wants a certificate of the client's, too."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(made)
    made.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(made)
    with FaultServer(tls=made) as running:
        yield running


def test_a_ca_file(tls_server: FaultServer, ca_file: str) -> None:
    tls_server.fail("PATCH", Fault(read=500_000, keep=500_000, drop=True))
    with quick(tls_server.endpoint, verify=ca_file) as client:
        client.upload_bytes(DATA, "x")
    assert bytes(tls_server.only().data) == DATA


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_environments_bundle(
    tls_server: FaultServer, ca_file: str, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, ca_file)
    with quick(tls_server.endpoint) as client:
        client.send(BytesSource(b"x"))
    with quick(tls_server.endpoint, verify="system") as client, pytest.raises(UntrustedServer):
        client.send(BytesSource(b"x"))


def test_the_systems_trust(tls_server: FaultServer, ca_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    with quick(tls_server.endpoint, verify="system") as client:
        client.send(BytesSource(b"x"))
    with quick(tls_server.endpoint) as client, pytest.raises(UntrustedServer):
        client.send(BytesSource(b"x"))


def test_a_system_without_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="as `verify`"):
        quick("https://127.0.0.1:1/", verify="system")
    assert trusted(False) is False
    assert trusted(True, {}) is True
    assert trusted("/x", {"REQUESTS_CA_BUNDLE": "/y"}) == "/x"


def test_a_certificate_of_the_clients(
    choosy_server: FaultServer, authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    mine = authority.issue_cert("me@example.org")
    both, key, chain = tmp_path / "both.pem", tmp_path / "key.pem", tmp_path / "chain.pem"
    mine.private_key_and_cert_chain_pem.write_to_path(str(both))
    mine.private_key_pem.write_to_path(str(key))
    chain.write_bytes(b"".join(blob.bytes() for blob in mine.cert_chain_pems))
    for cert in (str(both), both, (str(chain), str(key)), (chain, key)):
        with quick(choosy_server.endpoint, verify=ca_file, cert=cert) as client:
            client.upload_bytes(DATA, "x")
    assert all(bytes(stored.data) == DATA for stored in choosy_server.uploads.values())
    with quick(choosy_server.endpoint, verify=ca_file, max_retries=0) as client, pytest.raises(UploadInterrupted):
        client.upload_bytes(b"x", "x")


@pytest.mark.parametrize("wrong", ["no key", "no certificate", "another's key", "no CA"])
def test_a_file_that_is_none_for_tls(
    tls_server: FaultServer, authority: trustme.CA, ca_file: str, tmp_path: Path, wrong: str
) -> None:
    """Ours, not the server's, and no reason to try five times more."""
    mine, other, text = authority.issue_cert("me@example.org"), authority.issue_cert("you@example.org"), tmp_path / "x"
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in mine.cert_chain_pems))
    other.private_key_pem.write_to_path(str(key))
    text.write_text("no PEM")
    cert = {"no key": chain, "no certificate": text, "another's key": (chain, key), "no CA": None}[wrong]
    with (
        quick(tls_server.endpoint, verify=text if wrong == "no CA" else ca_file, cert=cert) as client,
        pytest.raises(
            UntrustedServer, match=r"a file for TLS can't be used .*`verify` must hold .*`cert` a certificate"
        ),
    ):
        client.send(BytesSource(b"x"))
    assert tls_server.requests == []


def test_a_certificate_for_another_host(authority: trustme.CA, ca_file: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example").configure_cert(context)
    with (
        FaultServer(tls=context) as server,
        quick(server.endpoint, verify=ca_file) as client,
        pytest.raises(UntrustedServer, match=r"127\.0\.0\.1"),
    ):
        client.send(BytesSource(b"x"))
    assert server.requests == []


class Tunnel:
    """An HTTP proxy that knows CONNECT (RFC 9110, 9.3.6) and leads everything to one server."""

    def __init__(self, target_port: int) -> None:
        self.asked: list[str] = []
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += client.recv(1)
                self.asked.append(head.split(b"\r\n")[0].decode())
                server = socket.create_connection(("127.0.0.1", self._target_port))
                self._sockets += [client, server]
                client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    @staticmethod
    def _carry(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.fixture
def tunnel(tls_server: FaultServer) -> Iterator[Tunnel]:
    made = Tunnel(tls_server.port)
    yield made
    made.close()


@pytest.mark.parametrize("given", [True, False])
def test_through_a_proxy(
    tls_server: FaultServer, tunnel: Tunnel, ca_file: str, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    """The name is not resolved here, and the body is not the proxy's to read."""
    if not given:
        monkeypatch.setenv("https_proxy", tunnel.url)
    tls_server.location = "{path}"
    proxies = {"https": tunnel.url} if given else None
    with quick(f"https://localhost:{tls_server.port}/files/", verify=ca_file, proxies=proxies) as client:
        client.upload_bytes(DATA, "x")
    assert [line.rpartition(" ")[0] for line in tunnel.asked] == [f"CONNECT localhost:{tls_server.port}"]
    assert bytes(tls_server.only().data) == DATA


def test_a_proxy_given_for_plain_http(server: FaultServer) -> None:
    server.location = "{path}"
    with quick("http://files.invalid/files/", proxies={"http": server.origin}) as client:
        client.send(BytesSource(b"abc"))
    assert server.requests[0].target == "http://files.invalid/files/"
