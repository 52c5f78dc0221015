"""The file of a job on a real disk: changes while it is read, and what becomes of it afterwards."""

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tusd_agent import beneath
from tusd_agent.delivery.disposal import NotAtRest, dispose
from tusd_agent.delivery.moving import numbered
from tusd_agent.delivery.rules import FolderRules
from tusd_agent.delivery.source import JobSource
from tusd_agent.jobs.model import Fingerprint, Job, Place
from tusd_agent.jobs.states import State
from tusd_agent.tus.errors import SourceChanged, UploadCancelled

UUID_1 = UUID(int=1)
GO_ON = threading.Event()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out" / "sub").mkdir(parents=True)
    return tmp_path / "out"


def job_of(path: Path, folder: Path, *, digest: bytes | None = None) -> Job:
    found = Fingerprint.of(path.stat())
    return Job(
        1, UUID_1, Place.below(str(folder), os.fsencode(path.relative_to(folder))), "default", State.DISPOSING, found,
        0.0, 0.0, 0.0, 0.0, None, 1, 0, 1, "http://x/1", found.size_bytes, digest,
        found.size_bytes if digest is not None else 0, None, None,
    )  # fmt: skip


def read_all(source: JobSource, block: int = 1000, start: int = 0) -> bytes:
    buffer = memoryview(bytearray(block))
    data = b""
    while count := source.readinto(start + len(data), buffer):
        data += bytes(buffer[:count])
    return data


@pytest.fixture
def opened(folder: Path) -> Iterator[tuple[Path, int]]:
    path = folder / "file"
    path.write_bytes(bytes(range(256)) * 20)
    descriptor = os.open(path, os.O_RDONLY)
    yield path, descriptor
    os.close(descriptor)


def put_times_back(path: Path, before: os.stat_result) -> None:
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ctime_ns != before.st_ctime_ns


def test_a_source_gives_the_bytes_and_their_digest(opened: tuple[Path, int]) -> None:
    path, descriptor = opened
    source = JobSource(descriptor, digest=True, stop=GO_ON)
    assert read_all(source) == path.read_bytes()
    assert source.whole_digest() == hashlib.sha256(path.read_bytes()).digest()


def test_after_a_resume_the_part_before_the_offset_is_in_the_digest(opened: tuple[Path, int]) -> None:
    path, descriptor = opened
    source = JobSource(descriptor, digest=True, stop=GO_ON)
    assert read_all(source, start=3000) == path.read_bytes()[3000:]
    assert source.whole_digest() == hashlib.sha256(path.read_bytes()).digest()


@pytest.mark.parametrize("start", [0, 700, 2000, 5000])
def test_other_bytes_than_an_earlier_attempt_sent_are_never_spliced_on(opened: tuple[Path, int], start: int) -> None:
    path, descriptor = opened
    data = path.read_bytes()
    right = (2000, hashlib.sha256(data[:2000]).digest())
    assert read_all(JobSource(descriptor, digest=True, stop=GO_ON, expected=right), start=start) == data[start:]
    wrong = (2000, hashlib.sha256(b"x" * 2000).digest())
    with pytest.raises(SourceChanged, match="first 2000 bytes"):
        read_all(JobSource(descriptor, digest=True, stop=GO_ON, expected=wrong), start=start)


def test_an_append_while_it_is_read_is_noticed_before_anything_of_it_leaves(opened: tuple[Path, int]) -> None:
    path, descriptor = opened
    source = JobSource(descriptor, digest=False, stop=GO_ON)
    buffer = memoryview(bytearray(1000))
    assert source.readinto(0, buffer) == 1000
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(SourceChanged):
        source.readinto(1000, buffer)


def test_a_truncated_file_is_noticed(opened: tuple[Path, int]) -> None:
    path, descriptor = opened
    source = JobSource(descriptor, digest=False, stop=GO_ON)
    os.truncate(path, 10)
    with pytest.raises(SourceChanged, match="shorter"):
        source.readinto(1000, memoryview(bytearray(100)))


def test_a_rewrite_with_the_times_put_back_is_noticed_by_the_digest(opened: tuple[Path, int]) -> None:
    path, descriptor = opened
    source = JobSource(descriptor, digest=True, stop=GO_ON)
    source.readinto(0, memoryview(bytearray(3000)))
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"other")
    put_times_back(path, before)
    with pytest.raises(SourceChanged, match="put back"):
        read_all(source, start=3000)


def test_a_chmod_or_a_rename_while_it_is_read_is_no_change(opened: tuple[Path, int]) -> None:
    path, descriptor = opened
    source = JobSource(descriptor, digest=True, stop=GO_ON)
    source.readinto(0, memoryview(bytearray(3000)))
    path.chmod(0o600)
    path.rename(path.with_name("renamed"))
    assert len(read_all(source, start=3000)) == 2120
    assert source.fingerprint.ctime_ns == path.with_name("renamed").stat().st_ctime_ns


def test_reading_the_sent_part_again_can_be_stopped(opened: tuple[Path, int]) -> None:
    stop = threading.Event()
    stop.set()
    source = JobSource(opened[1], digest=True, stop=stop)
    with pytest.raises(UploadCancelled):
        source.readinto(3000, memoryview(bytearray(100)))


# After the upload.


def delete(folder: Path) -> FolderRules:
    return FolderRules(str(folder), after_upload="delete")


def move(folder: Path, target: Path) -> FolderRules:
    return FolderRules(str(folder), after_upload="move", move_to=str(target))


@pytest.fixture
def sent(folder: Path) -> tuple[Path, Job]:
    path = folder / "sub" / "file"
    path.write_bytes(b"content")
    return path, job_of(path, folder, digest=hashlib.sha256(b"content").digest())


def left(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_file_that_was_sent_is_deleted(folder: Path, sent: tuple[Path, Job]) -> None:
    assert dispose(sent[1], delete(folder), GO_ON).words == "deleted"
    assert left(folder) == {}


def test_a_file_renamed_over_it_is_not_deleted(folder: Path, sent: tuple[Path, Job]) -> None:
    path, job = sent
    other = folder / "other"
    other.write_bytes(b"newer!!")
    os.utime(other, ns=(0, job.fingerprint.mtime_ns))
    other.rename(path)
    disposed = dispose(job, delete(folder), GO_ON)
    assert disposed.newer_content
    assert left(folder) == {"sub/file": b"newer!!"}


def test_a_file_rewritten_with_size_and_mtime_put_back_is_not_deleted(folder: Path, sent: tuple[Path, Job]) -> None:
    path, job = sent
    before = path.stat()
    path.write_bytes(b"CONTENT")
    put_times_back(path, before)
    disposed = dispose(job, delete(folder), GO_ON)
    assert disposed.newer_content
    assert left(folder) == {"sub/file": b"CONTENT"}


def test_a_chmod_after_the_upload_does_not_keep_it(folder: Path, sent: tuple[Path, Job]) -> None:
    path, job = sent
    path.chmod(0o640)
    assert dispose(job, delete(folder), GO_ON).words == "deleted"
    assert left(folder) == {}


def test_a_file_somebody_writes_to_is_not_deleted(folder: Path, sent: tuple[Path, Job]) -> None:
    path, job = sent
    with path.open("r+b"), pytest.raises(NotAtRest):
        dispose(job, delete(folder), GO_ON)
    assert left(folder) == {"sub/file": b"content"}
    assert dispose(job, delete(folder), GO_ON).words == "deleted"


def test_a_file_gone_already_is_fine_but_a_folder_gone_is_not(folder: Path, sent: tuple[Path, Job]) -> None:
    path, job = sent
    path.unlink()
    assert "gone already" in dispose(job, delete(folder), GO_ON).words
    path.parent.rmdir()
    assert "gone already" in dispose(job, delete(folder), GO_ON).words
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        dispose(job, delete(folder), GO_ON)


def test_an_aside_file_left_by_a_crash_is_deleted_at_the_next_attempt(folder: Path, sent: tuple[Path, Job]) -> None:
    path, job = sent
    path.rename(path.with_name(os.fsdecode(job.aside_name)))
    path.write_bytes(b"newer content of the path")
    assert dispose(job, delete(folder), GO_ON).words == "deleted"
    assert left(folder) == {"sub/file": b"newer content of the path"}


def test_an_aside_file_that_was_written_to_since_the_crash_is_put_back(folder: Path, sent: tuple[Path, Job]) -> None:
    path, job = sent
    before = path.stat()
    aside = path.with_name(os.fsdecode(job.aside_name))
    path.rename(aside)
    aside.write_bytes(b"CONTENT")
    put_times_back(aside, before)
    assert dispose(job, delete(folder), GO_ON).newer_content
    assert left(folder) == {"sub/file": b"CONTENT"}
    path.rename(aside)
    path.write_bytes(b"the path is taken")
    assert dispose(job, delete(folder), GO_ON).newer_content
    assert left(folder) == {"sub/file": b"the path is taken", "sub/file~1": b"CONTENT"}


def test_a_link_in_the_way_is_never_followed(folder: Path, sent: tuple[Path, Job], tmp_path: Path) -> None:
    path, job = sent
    outside = tmp_path / "outside"
    path.parent.rename(outside)
    path.parent.symlink_to(outside)
    assert "gone already" in dispose(job, delete(folder), GO_ON).words
    assert (outside / "file").read_bytes() == b"content"


def test_move_keeps_the_relative_path_and_never_overwrites(
    folder: Path, sent: tuple[Path, Job], tmp_path: Path
) -> None:
    path, job = sent
    target = tmp_path / "sent"
    assert dispose(job, move(folder, target), GO_ON).words == f"moved to {target}/sub/file"
    path.write_bytes(b"another")
    words = dispose(job_of(path, folder), move(folder, target), GO_ON).words
    assert words == f"moved to {target}/sub/file~1"
    assert left(target) == {"sub/file": b"content", "sub/file~1": b"another"}
    assert left(folder) == {}


def test_move_works_across_file_systems(folder: Path, sent: tuple[Path, Job]) -> None:
    path, job = sent
    shared_memory = Path("/dev/shm")
    if not shared_memory.is_dir() or shared_memory.stat().st_dev == folder.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    target = shared_memory / f"tusd-agent-test-{os.getpid()}"
    path.chmod(0o640)
    try:
        assert dispose(job, move(folder, target), GO_ON).words == f"moved to {target}/sub/file"
        moved = target / "sub" / "file"
        assert left(target) == {"sub/file": b"content"}
        assert moved.stat().st_mtime_ns == job.fingerprint.mtime_ns
        assert moved.stat().st_mode & 0o777 == 0o640
        assert left(folder) == {}
        # A crash after the copy, before the original was removed: found again, not copied twice.
        aside = path.with_name(os.fsdecode(job.aside_name))
        aside.write_bytes(b"content")
        os.utime(aside, ns=(0, job.fingerprint.mtime_ns))
        again = job._replace(fingerprint=Fingerprint.of(aside.stat()))
        assert dispose(again, move(folder, target), GO_ON).words == f"moved to {target}/sub/file"
        assert left(target) == {"sub/file": b"content"}
        assert left(folder) == {}
    finally:
        for each in sorted(target.rglob("*"), reverse=True):
            each.rmdir() if each.is_dir() else each.unlink()
        target.rmdir()


def test_a_crash_after_the_copy_leaves_one_copy_though_its_name_was_taken(folder: Path, sent: tuple[Path, Job]) -> None:
    path, job = sent
    shared_memory = Path("/dev/shm")
    if not shared_memory.is_dir() or shared_memory.stat().st_dev == folder.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory) as directory:
        target = Path(directory)
        (target / "sub").mkdir()
        (target / "sub" / "file").write_bytes(b"of somebody else")
        assert dispose(job, move(folder, target), GO_ON).words == f"moved to {target}/sub/file~1"
        aside = path.with_name(os.fsdecode(job.aside_name))
        aside.write_bytes(b"content")
        os.utime(aside, ns=(0, job.fingerprint.mtime_ns))
        again = job._replace(fingerprint=Fingerprint.of(aside.stat()))
        assert dispose(again, move(folder, target), GO_ON).words == f"moved to {target}/sub/file~1"
        assert left(target) == {"sub/file": b"of somebody else", "sub/file~1": b"content"}
        assert left(folder) == {}


def test_numbered_names_fit_a_file_system() -> None:
    assert numbered(b"a", 0) == b"a"
    assert numbered(b"a", 12) == b"a~12"
    assert numbered(b"x" * 255, 3) == b"x" * 253 + b"~3"


# Paths beneath a folder.


def test_a_fifo_is_not_opened_for_ever_and_no_regular_file(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(beneath.NotRegular):
        beneath.open_regular(str(folder), b"", b"pipe")
    (folder / "link").symlink_to("pipe")
    with pytest.raises(beneath.NotRegular):
        beneath.open_regular(str(folder), b"", b"link")
    with pytest.raises(beneath.NotRegular):
        beneath.open_regular(str(folder), b"", b"sub")


@pytest.mark.parametrize("path", [b"..", b"sub/..", b"/etc", b"sub//x", b"."])
def test_a_path_that_leads_out_is_refused(folder: Path, path: bytes) -> None:
    with pytest.raises(OSError, match="not a path below"), beneath.directory(str(folder), path):
        pass


def test_a_writer_is_seen_while_it_has_the_file_open(folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(b"x")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert beneath.at_rest(descriptor) is True
        with path.open("ab"):
            assert beneath.at_rest(descriptor) is False
        assert beneath.at_rest(descriptor) is True
    finally:
        os.close(descriptor)


def test_a_rename_never_replaces(folder: Path) -> None:
    (folder / "a").write_bytes(b"a")
    (folder / "b").write_bytes(b"b")
    with beneath.directory(str(folder), b"") as descriptor:
        with pytest.raises(FileExistsError):
            beneath.rename_noreplace(descriptor, b"a", descriptor, b"b")
        beneath.rename_noreplace(descriptor, b"a", descriptor, b"c")
    assert left(folder) == {"b": b"b", "c": b"a"}
