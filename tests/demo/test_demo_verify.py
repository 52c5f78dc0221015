"""The comparison of what was dropped with what a real server has stored, and what it says when they differ."""

import hashlib
from pathlib import Path

import pytest

from tests.servers import Server
from tusd_agent import TUSClient
from tusd_agent.demo.onward import arrival_text
from tusd_agent.demo.verify import Stored, Verdict, compare, sha256, stored

pytestmark = pytest.mark.heavy  # each of them starts a server of its own

CONTENT = b"what was dropped" * 100_000
NAME = "März/a b.bin"


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    folder = tmp_path / "watched"
    (folder / NAME).parent.mkdir(parents=True)
    (folder / NAME).write_bytes(CONTENT)
    return folder


def nothing() -> None:
    pass


def send(server: Server, content: bytes = CONTENT, name: str = NAME) -> None:
    TUSClient(server.url).upload_bytes(content, "any", metadata={"relativePath": name})


def only_upload(server: Server) -> Stored:
    (upload,) = stored(server.uploads)
    return upload


def verdict(server: Server, watched: Path) -> Verdict:
    (found,) = compare([NAME], watched, stored(server.uploads), nothing)
    return found


def test_equal(embedded_server: Server, watched: Path) -> None:
    send(embedded_server)
    send(embedded_server, b"", "another")
    expected = hashlib.sha256(CONTENT).hexdigest()
    assert verdict(embedded_server, watched) == Verdict(NAME, len(CONTENT), expected, fault="")
    assert verdict(embedded_server, watched).equal


def test_an_empty_file_arrives_too(embedded_server: Server, watched: Path) -> None:
    (watched / NAME).write_bytes(b"")
    send(embedded_server, b"")
    assert verdict(embedded_server, watched).equal


def test_one_changed_byte_is_found(embedded_server: Server, watched: Path) -> None:
    send(embedded_server)
    file = only_upload(embedded_server).file
    corrupted = bytearray(CONTENT)
    corrupted[len(CONTENT) // 2] ^= 1
    file.write_bytes(corrupted)
    found = verdict(embedded_server, watched)
    assert not found.equal
    assert found.fault == f"other content on the server: {hashlib.sha256(corrupted).hexdigest()[:12]}"


def test_a_missing_file_is_found(embedded_server: Server, watched: Path) -> None:
    send(embedded_server, name="another")
    assert verdict(embedded_server, watched).fault == "not on the server"


def test_a_file_that_arrived_twice_is_found(embedded_server: Server, watched: Path) -> None:
    send(embedded_server)
    send(embedded_server)
    assert verdict(embedded_server, watched).fault == "2 uploads on the server"


def test_a_part_is_found(embedded_server: Server, watched: Path) -> None:
    send(embedded_server)
    file = only_upload(embedded_server).file
    file.write_bytes(CONTENT[:-1])
    assert not only_upload(embedded_server).complete
    assert verdict(embedded_server, watched).fault == f"only {len(CONTENT) - 1} of {len(CONTENT)} bytes on the server"


def test_another_size_is_found(embedded_server: Server, watched: Path) -> None:
    send(embedded_server, CONTENT[:-1])
    assert verdict(embedded_server, watched).fault == f"{len(CONTENT) - 1} bytes on the server"


def test_known_uploads_are_left_out(embedded_server: Server) -> None:
    send(embedded_server)
    first = only_upload(embedded_server)
    send(embedded_server, name="second")
    assert [upload.relative_path for upload in stored(embedded_server.uploads, {first.file})] == ["second"]


def test_reading_can_be_ended(watched: Path) -> None:
    class Enough(Exception):
        pass

    def enough() -> None:
        raise Enough

    with pytest.raises(Enough):
        sha256(watched / NAME, enough)


def test_an_arrival_is_told_with_its_verdict(embedded_server: Server, watched: Path) -> None:
    send(embedded_server)
    upload = only_upload(embedded_server)
    digest = hashlib.sha256(CONTENT).hexdigest()[:12]
    assert arrival_text(upload, watched, nothing) == f"arrived: {NAME}, 1.5 MiB, SHA-256 {digest} ✓ equal"
    (watched / NAME).write_bytes(b"newer")
    assert arrival_text(upload, watched, nothing).endswith("✗ the file in the folder is another now")
    (watched / NAME).unlink()
    assert arrival_text(upload, watched, nothing).endswith("nothing in the folder to compare with")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "nul\0", ""])
def test_nothing_outside_the_folder_is_compared(tmp_path: Path, watched: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"")
    (tmp_path / "upload").write_bytes(b"")
    upload = Stored(tmp_path / "upload", name, 0, 0)
    assert arrival_text(upload, watched, nothing).endswith("nothing in the folder to compare with")


def test_a_name_cannot_write_on_the_terminal(tmp_path: Path, watched: Path) -> None:
    (tmp_path / "upload").write_bytes(b"")
    text = arrival_text(Stored(tmp_path / "upload", "\x1b[2Jname\n", 0, 0), watched, nothing)
    assert "\x1b" not in text
    assert "\n" not in text
