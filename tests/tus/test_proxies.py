"""Proxies that do not run, refuse, or are none: the message names them, and what to look at."""

import importlib.util

import pytest
import requests

from tusd_agent.tus import AuthRequired, BytesSource, InvalidURL, TUSUploadError, UploadInterrupted

from .conftest import quick
from .fault_server import Fault, FaultServer


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("given", [True, False])
def test_a_proxy_that_does_not_run_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str, given: bool) -> None:
    """It, not the server, is what is to be looked at; its password is nobody's business."""
    proxy = "http://me:s3cret@127.0.0.1:1"
    if not given:
        monkeypatch.setenv(f"{scheme}_proxy", proxy)
    proxies = {scheme: proxy} if given else None
    with quick(f"{scheme}://files.invalid/files/", proxies=proxies, max_retries=0) as client:
        with pytest.raises(UploadInterrupted) as caught:
            client.send(BytesSource(b"x"))
        with pytest.raises(UploadInterrupted) as on_the_way:
            client.get_upload_info(f"{scheme}://files.invalid/files/1")
    message = str(caught.value)
    assert "no connection to the proxy (Connection refused)" in message
    assert "the proxy http://127.0.0.1:1:" in message
    assert ("`proxies`" if given else f"the environment variable {scheme}_proxy") in message
    assert "nothing was created on the server" in message
    assert "s3cret" not in message
    assert "can be resumed" in str(on_the_way.value)


def test_a_proxy_of_the_users_own_session_is_named() -> None:
    with quick("http://files.invalid/files/", max_retries=0) as client:
        client.session = requests.Session()
        client.session.proxies["http"] = "http://me:s3cret@127.0.0.1:1"
        with pytest.raises(UploadInterrupted, match=r"no connection to the proxy .*Check `proxies`") as caught:
            client.send(BytesSource(b"x"))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "scheme", "kind", "text"),
    [
        ("407 Who", "https", AuthRequired, "the proxy wants a user and a password (407 Who); put them in `proxies`"),
        ("407 Who", "http", AuthRequired, "the proxy wants a user and a password; put them in `proxies`"),
        ("403 No", "https", UploadInterrupted, "the proxy refused to lead on to the server (403 No). Check `proxies`"),
        ("502 No", "http", UploadInterrupted, "was answered 502"),
    ],
)
def test_a_proxy_that_refuses_is_named(
    server: FaultServer, status: str, scheme: str, kind: type[TUSUploadError], text: str
) -> None:
    refusal = Fault(raw=f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
    server.fail("CONNECT" if scheme == "https" else "POST", refusal)
    proxies = {scheme: f"127.0.0.1:{server.port}" if scheme == "http" else f"http://me:s3cret@127.0.0.1:{server.port}"}
    with quick(f"{scheme}://files.invalid/files/", proxies=proxies, max_retries=0) as client:
        with pytest.raises(kind) as caught:
            client.send(BytesSource(b"x"))
        assert f"files.invalid/files/ through the proxy http://127.0.0.1:{server.port}" in str(caught.value)
        assert text in str(caught.value)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("proxy", "text"), [("http://[", "A proxy's is like http://host:port"), ("socks5://h:1", "SOCKS")]
)
def test_a_proxy_that_is_none(proxy: str, text: str) -> None:
    if importlib.util.find_spec("socks") is not None and proxy.startswith("socks"):
        pytest.skip("SOCKS is installed")
    with quick("http://files.invalid/files/", proxies={"http": proxy}) as client:
        assert not client.server_info().known
        with pytest.raises(InvalidURL) as caught:
            client.send(BytesSource(b"x"))
    assert text in str(caught.value)
    assert "`proxies`" in str(caught.value)
