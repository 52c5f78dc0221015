"""What callers get wrong: a TypeError (or InvalidURL) says what to give, before anything is sent."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tusd_agent.tus import BytesSource, InvalidURL, SourceChanged, TUSClient, TUSUploadError, UntrustedServer
from tusd_agent.tus.metadata import decode

from .conftest import quick
from .fault_server import FaultServer

Call = Callable[[Any, str], object]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda client, file: client.upload(b"abc"), "bytes given. Bytes in memory are uploaded by upload_bytes"),
        (lambda client, file: client.upload(bytearray(b"abc")), "uploaded by upload_bytes(data, filename)"),
        (lambda client, file: client.upload(None), "a file was expected, and None given"),
        (lambda client, file: client.upload(5), "a file was expected, and int given. Give the path of a file"),
        (lambda client, file: client.upload([file]), "a file was expected, and list given"),
        (lambda client, file: client.resume_upload(client.endpoint + "1", b"abc"), "io.BytesIO(data)"),
        (lambda client, file: client.resume_upload(None, file), "upload_url is None; give the URL of the upload"),
        (lambda client, file: client.resume_upload(5, file), "upload_url is of type int"),
        (lambda client, file: client.upload_bytes("abc", "x"), "takes bytes, not text: give text.encode()"),
        (lambda client, file: client.upload_bytes(None, "x"), "takes bytes, not None; files"),
        (
            lambda client, file: client.upload_bytes(memoryview(b"abcd")[::2], "x"),
            "takes bytes in one piece, not a memoryview with gaps; give bytes(data)",
        ),
        (lambda client, file: client.upload_bytes(b"abc", 5), "filename is of type int; give text"),
        (lambda client, file: client.send(b"abc"), "send takes a source, such as FileSource(path)"),
        (lambda client, file: client.send(file), "not str; files are uploaded by upload"),
        (lambda client, file: client.upload(file, ["a"]), "metadata is of type list; give a dictionary"),
        (lambda client, file: client.upload_bytes(b"abc", "x", "a=b"), "metadata is of type str"),
        (lambda client, file: client.send(BytesSource(b"abc"), metadata="a=b"), "metadata is of type str"),
        (lambda client, file: client.create(3, "a=b"), "metadata is of type str"),
        (lambda client, file: client.create("3"), "size is of type str; give a number of bytes"),
        (lambda client, file: client.upload(file, progress_callback=5), "progress_callback is of type int"),
        (lambda client, file: client.upload(file, on_created=5), "on_created is of type int; give a function"),
        (
            lambda client, file: client.upload(file, chunk_size="8MiB"),
            "chunk_size is of type str; give a number of bytes",
        ),
        (lambda client, file: client.upload(file, concurrency="3"), "concurrency is of type str"),
        (lambda client, file: client.upload(file, deadline="5"), "deadline is of type str; give a number of seconds"),
        (lambda client, file: client.upload(file, cancel=True), "cancel is of type bool; give a threading.Event"),
        (lambda client, file: client.upload(file, max_restarts="3"), "max_restarts is of type str"),
        (lambda client, file: client.upload(file, checksum=1), "checksum is of type int; give the name"),
        (lambda client, file: client.upload(file, request_headers={"A": None}), "the value of header 'A' is None"),
        (lambda client, file: client.upload(file, request_headers="A: b"), "request_headers is of type str"),
        (lambda client, file: client.upload(file, chunksize=5), "no option chunksize; did you mean chunk_size?"),
        (lambda client, file: client.upload(file, mode=5), "no option mode; there are chunk_size, cancel"),
        (lambda client, file: client.get_upload_info(None), "the URL is None; give text"),
        (lambda client, file: client.delete_upload(5), "the URL is of type int"),
        (lambda client, file: client.get_upload_info(client.endpoint, deadline="5"), "deadline is of type str"),
        (lambda client, file: setattr(client, "session", None), "session is None; give a requests.Session"),
        (lambda client, file: TUSClient(None), "the URL is None"),  # type: ignore[arg-type]  # that is the test
        (lambda client, file: quick(client.endpoint, chunk_size="8MiB"), "chunk_size is of type str"),
        (lambda client, file: quick(client.endpoint, chunk_size=1.5), "chunk_size is of type float"),
        (lambda client, file: quick(client.endpoint, timeout="60"), "timeout is of type str; give a number of seconds"),
        (lambda client, file: quick(client.endpoint, max_retries=None), "max_retries is None; give a whole number"),
        (lambda client, file: quick(client.endpoint, retry_delay="1"), "retry_delay is of type str"),
        (lambda client, file: quick(client.endpoint, headers=["A: b"]), "headers is of type list; give a dictionary"),
        (
            lambda client, file: quick(client.endpoint, headers={"A": None}),
            "the value of header 'A' is None; give text",
        ),
        (
            lambda client, file: quick(client.endpoint, headers={5: "a"}),
            "the name of a header in headers is of type int",
        ),
        (lambda client, file: quick(client.endpoint, headers={"A": lambda: None}).upload(file), "header 'A' is None"),
        (lambda client, file: quick(client.endpoint, proxies="http://h"), "proxies is of type str; give a dictionary"),
        (lambda client, file: quick(client.endpoint, proxies={"http": 5}), "the proxy for 'http' is of type int"),
        (lambda client, file: quick(client.endpoint, verify=None), "verify is None; give True, False, 'system'"),
        (lambda client, file: quick(client.endpoint, verify=1), "verify is of type int; give True"),
        (lambda client, file: quick(client.endpoint, cert=1), "cert is of type int; give the path of a file"),
        (lambda client, file: quick(client.endpoint, cert=(file,)), "cert is of type tuple; give the path of a file"),
        (lambda client, file: quick(client.endpoint, store=file), "store is of type str; give FileStore(folder)"),
    ],
)
def test_wrong_types(server: FaultServer, client: TUSClient, tmp_path: Path, call: Call, said: str) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    with pytest.raises(TypeError) as caught:
        call(client, str(tmp_path / "f"))
    assert said in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:1080/files/", "such as http://localhost:1080/files/"),
        ("files.example.org/files/", "'files.example.org/files/' is no http:// or https:// URL"),
        ("me:s3cret@host/files/", "'host/files/' is no http"),
        ("/files/x", "give the whole address of a tus server"),
        ("", "such as http://localhost:1080/files/"),
        ("ftp://host/", "'ftp://host/' is no http"),
    ],
)
def test_addresses_without_a_scheme(client: TUSClient, url: str, said: str) -> None:
    for call in (TUSClient, client.get_upload_info):
        with pytest.raises(InvalidURL) as caught:
            call(url)
        assert said in str(caught.value)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("host", ["a..b", "a b"])
def test_hosts_that_can_not_be(host: str) -> None:
    with quick(f"http://{host}/") as client, pytest.raises(InvalidURL, match="check the host's name"):
        client.send(BytesSource(b"abc"))


@pytest.mark.parametrize("option", ["verify", "cert"])
def test_a_file_for_tls_that_is_not_there(option: str, tmp_path: Path) -> None:
    """Not the network's fault, and no reason to try five times more."""
    said = r"invalid path: .*none\. Check `verify` and `cert`"
    with (
        quick("https://127.0.0.1:1/", **{option: str(tmp_path / "none")}) as client,
        pytest.raises(UntrustedServer, match=said),
    ):
        client.send(BytesSource(b"abc"))


def test_names_too_long_are_cut_short(client: TUSClient) -> None:
    with pytest.raises(TUSUploadError, match=r"aaa'… \(5000 characters\) can't be opened .*check the path"):
        client.upload("a" * 5000)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda client, file: client.upload(file, deadline=float("nan")), "deadline is nan; give a number of seconds"),
        (lambda client, file: quick(client.endpoint, retry_delay=float("nan")), "retry_delay is nan"),
        (lambda client, file: quick(client.endpoint, timeout=float("nan")), "timeout is nan"),
        (lambda client, file: quick(client.endpoint, verify=""), "verify is empty; give True, False"),
    ],
)
def test_wrong_values(server: FaultServer, client: TUSClient, tmp_path: Path, call: Call, said: str) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    with pytest.raises(ValueError, match=said):
        call(client, str(tmp_path / "f"))
    assert server.requests == []


def test_a_path_of_bytes(server: FaultServer, client: TUSClient, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"abc")
    with os.scandir(os.fsencode(tmp_path)) as entries:
        for entry in entries:
            client.upload(entry)  # type: ignore[arg-type]  # its annotations promise text
    assert bytes(server.only().data) == b"abc"
    assert decode(server.only().metadata) == {"filename": "a.csv", "filetype": "text/csv"}


def test_a_size_that_is_not_the_files(server: FaultServer, client: TUSClient, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    with pytest.raises(SourceChanged, match="is 3 bytes, but was given as 4; leave `size` out"):
        client.upload(tmp_path / "f", size=4)
    client.upload(tmp_path / "f", size=3)
    assert bytes(server.only().data) == b"abc"
