"""A call that is made again goes on where the first one stopped: what is remembered, and when it is forgotten."""

import errno
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tusd_agent.tus import (
    FileStore,
    FinishedWithServerError,
    MemoryStore,
    StoredPart,
    StoredUpload,
    TUSClient,
    TUSUploadError,
    UploadCancelled,
    UploadGone,
    UploadInterrupted,
)
from tusd_agent.tus.remembered import Remembered
from tusd_agent.tus.store import key_of

from .conftest import quick
from .fault_server import Fault, FaultServer

KEY, OTHER_KEY = "0a" * 32, "f" * 64
DATA = os.urandom(700_000)
CUT = Fault(read=250_000, keep=250_000, drop=True)


def test_a_folder_that_can_not_be_used(server: FaultServer, file: Path, tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"")
    store = FileStore(tmp_path / "store")
    calls: list[Callable[[], object]] = [
        lambda: quick(server.endpoint, store=store).upload(file),
        lambda: store.get("0"),
        lambda: store.put("0", StoredUpload("http://h/1", 0.0)),
        lambda: store.delete("0"),
    ]
    for call in calls:
        with pytest.raises(TUSUploadError, match=r"store', where .* can't be used \((Not a directory|File exists)\)"):
            call()
    assert server.requests == []


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run 42.csv"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "state" / "uploads")


def impatient(server: FaultServer, store: FileStore | MemoryStore) -> TUSClient:
    return quick(server.endpoint, store=store, max_retries=0)


@pytest.mark.parametrize("in_memory", [False, True])
def test_the_same_call_goes_on(server: FaultServer, store: FileStore, file: Path, in_memory: bool) -> None:
    kept = MemoryStore() if in_memory else store
    server.fail("PATCH", CUT)
    with impatient(server, kept) as client, pytest.raises(UploadInterrupted):
        client.upload(file)
    with impatient(server, kept) as client:
        result = client.upload(file)
        assert server.methods() == "POST PATCH HEAD PATCH"
        assert result.offset_resumed_from == 250_000
        assert bytes(server.only().data) == DATA
        client.upload(file)  # finished and forgotten: a new upload
    assert server.methods() == "POST PATCH HEAD PATCH POST PATCH"
    assert list(store.folder.glob("*")) == [] if store.folder.exists() else True


def test_it_is_on_disk_before_the_first_byte_and_for_nobody_else(
    server: FaultServer, store: FileStore, file: Path
) -> None:
    seen: list[StoredUpload | None] = []

    def look(url: str) -> None:
        (path,) = store.folder.glob("*.json")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
        seen.append(store.get(path.stem))
        assert server.of("PATCH") == []

    with impatient(server, store) as client:
        result = client.upload(file, on_created=look)
    assert seen[0] is not None
    assert seen[0].url == result.url


def test_small_files_take_two_requests_when_their_url_matters(
    server: FaultServer, store: FileStore, tmp_path: Path
) -> None:
    server.extensions += ",creation-with-upload"
    (tmp_path / "small").write_bytes(b"abc")
    with impatient(server, store) as client:
        client.upload(tmp_path / "small")
    assert server.methods() == "POST PATCH"


@pytest.mark.parametrize("change", ["touched", "metadata", "endpoint", "renamed"])
def test_something_else_is_another_upload(server: FaultServer, store: FileStore, file: Path, change: str) -> None:
    server.fail("PATCH", CUT)
    with impatient(server, store) as client, pytest.raises(UploadInterrupted):
        client.upload(file)
    if change == "touched":
        os.utime(file, ns=(1, 1))
    if change == "renamed":
        file = file.rename(file.with_name("else.csv"))
    endpoint = server.endpoint + ("?other" if change == "endpoint" else "")
    with quick(endpoint, store=store) as client:
        client.upload(file, {"run": 2} if change == "metadata" else None)
    assert server.methods() == "POST PATCH POST PATCH"


def test_a_link_to_the_file_is_the_file(server: FaultServer, store: FileStore, file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    server.fail("PATCH", CUT)
    with impatient(server, store) as client:
        with pytest.raises(UploadInterrupted):
            client.upload(file, {"filename": "x", "filetype": "y"})
        client.upload(link, {"filename": "x", "filetype": "y"})
    assert server.methods() == "POST PATCH HEAD PATCH"


def test_what_is_gone_begins_anew(server: FaultServer, store: FileStore, file: Path) -> None:
    server.fail("PATCH", CUT)
    with impatient(server, store) as client:
        with pytest.raises(UploadInterrupted):
            client.upload(file)
        server.uploads.clear()
        with pytest.raises(UploadGone):
            client.upload(file, max_restarts=0)
        assert list(store.folder.glob("*.json")) == []
        client.upload(file)
    assert server.methods() == "POST PATCH HEAD POST PATCH"
    assert bytes(server.only().data) == DATA


def test_finished_with_an_error_is_not_called_fine_by_the_next_call(
    server: FaultServer, store: FileStore, file: Path
) -> None:
    server.fail("PATCH", Fault(status=500, text="hook failed", keep=len(DATA)))
    with impatient(server, store) as client:
        with pytest.raises(FinishedWithServerError):
            client.upload(file)
        client.upload(file)
    assert server.methods() == "POST PATCH HEAD POST PATCH"


def test_credentials_and_cancelling_keep_the_url(server: FaultServer, store: FileStore, file: Path) -> None:
    server.fail("PATCH", Fault(status=403))
    cancel = threading.Event()
    with impatient(server, store) as client:
        with pytest.raises(Exception, match="403"):
            client.upload(file)
        with pytest.raises(UploadCancelled):
            client.upload(file, cancel=cancel, progress_callback=lambda now, total: cancel.set())
        client.upload(file)
    assert len(server.of("POST")) == 1
    assert bytes(server.only().data) == DATA


def test_expiry_is_by_the_servers_clock(server: FaultServer, store: FileStore, file: Path) -> None:
    """The server's clock is decades ahead; the upload lives an hour, or had lived it already."""
    server.fail("PATCH", CUT, CUT)
    server.answers = {"Date": "Fri, 01 Jan 2100 00:00:00 GMT", "Upload-Expires": "Fri, 01 Jan 2100 01:00:00 GMT"}
    with impatient(server, store) as client:
        with pytest.raises(UploadInterrupted):
            client.upload(file)
        (path,) = store.folder.glob("*.json")
        entry = store.get(path.stem)
        assert entry is not None
        assert entry.expires_at is not None
        assert 3500 < entry.expires_at - time.time() < 3700
        server.answers["Upload-Expires"] = "Thu, 31 Dec 2099 23:00:00 GMT"
        with pytest.raises(UploadInterrupted):  # its HEAD brings the new expiry
            client.upload(file)
        result = client.upload(file)
    assert server.methods() == "POST PATCH HEAD PATCH POST PATCH"
    assert result.expires is not None
    assert result.expires.year == 2099


def test_one_upload_has_one_sender(server: FaultServer, store: FileStore, file: Path) -> None:
    def again(now: int, total: int) -> None:
        with impatient(server, store) as other, pytest.raises(UploadInterrupted, match="another call"):
            other.upload(file)

    with impatient(server, store) as client:
        client.upload(file, progress_callback=again)
    assert server.methods() == "POST PATCH"


HOLD = """
import sys
from tusd_agent.tus import FileStore
with FileStore(sys.argv[1]).hold("k"):
    print("held", flush=True)
    input()
"""


def test_a_process_that_dies_holds_nothing(store: FileStore) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(UploadInterrupted), store.hold("k"):
        pass
    holder.kill()
    holder.wait(10)
    holder.stdin.close()
    holder.stdout.close()
    with store.hold("k"), store.hold("another"):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 9}', b'{"version": 1, "parts": 5}', b"\xff"])
def test_a_spoilt_entry_is_none(store: FileStore, content: bytes) -> None:
    store.put("k", StoredUpload("u", 1.0))
    (store.folder / "k.json").write_bytes(content)
    assert store.get("k") is None


def test_entries_come_back_as_they_were(store: FileStore) -> None:
    entry = StoredUpload("", 1.5, 7.25, (StoredPart("http://h/é", 0, 5), StoredPart("", 5, 6)))
    store.put(KEY, entry)
    store.put(OTHER_KEY, StoredUpload("u", 9.0))
    assert store.get(KEY) == entry
    assert store.prune(100.0, now=lambda: 7.5) == 1
    assert store.get(KEY) is None
    assert store.prune(100.0, now=lambda: 200.0) == 1
    store.delete(KEY)


def test_what_killed_processes_left_behind_is_removed(store: FileStore) -> None:
    held = "1" * 64
    store.put(KEY, StoredUpload("u", 1e12))
    for name in (f"{OTHER_KEY}.lock", ".new-abc"):
        (store.folder / name).touch()
    assert store.prune(100.0) == 0
    assert len(list(store.folder.iterdir())) == 3
    with store.hold(held):
        assert store.prune(100.0, now=lambda: time.time() + 200.0) == 0
        assert sorted(path.name for path in store.folder.iterdir()) == [f"{KEY}.json", f"{held}.lock"]


def test_files_of_others_in_the_folder_are_left_alone(store: FileStore) -> None:
    store.folder.mkdir(parents=True)
    names = ["package.json", "poetry.lock", f"{KEY}.txt"]
    for name in names:
        (store.folder / name).write_text("{}")
        os.utime(store.folder / name, (0, 0))
    (store.folder / f"{KEY}.json").write_text("spoilt")
    assert store.prune(100.0) == 1
    assert sorted(path.name for path in store.folder.iterdir()) == sorted(names)


def test_a_file_system_without_locks(
    server: FaultServer, store: FileStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with impatient(server, store) as client:
        client.upload(file)
    assert server.methods() == "POST PATCH"
    assert list(store.folder.iterdir()) == []


def test_keys_tell_endpoints_names_and_metadata_apart() -> None:
    identity = ("/srv/\udcff", 1, 2, 3)
    keys = {
        key_of(identity, "http://h/", None),
        key_of(identity, "http://i/", None),
        key_of(identity, "http://h/", {"a": "b"}),
        key_of(("/srv/x", 1, 2, 3), "http://h/", None),
    }
    assert len(keys) == 4
    assert all(len(key) == 64 for key in keys)


def test_an_expired_entry_is_dropped() -> None:
    store, now = MemoryStore(), [100.0]
    remembered = Remembered(store, "k", clock=lambda: now[0])
    remembered.keep("u", 50.0)
    assert remembered.recall() == StoredUpload("u", 100.0, 150.0)
    now[0] = 150.0
    assert remembered.recall() is None
    assert store.get("k") is None
