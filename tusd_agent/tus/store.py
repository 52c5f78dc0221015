"""Upload URLs that outlive the process: the same call, made again after a crash, goes on where the server stands.

An entry is found by what is sent and whereto: real path, size, modification time and inode of the file, the endpoint,
and the metadata. A file that changed has another identity, so that nothing is ever continued with other bytes. Entries
go when the upload is finished, when the server has it no longer, and when it expired by the server's clock.
"""

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from .errors import TUSUploadError, UploadInterrupted
from .metadata import MetadataValue, encode

_VERSION = 1
_KEY = re.compile(r"[0-9a-f]{64}")  # what `key_of` gives


@dataclass(frozen=True)
class StoredPart:
    """One partial upload: the file's bytes from `start`, `length` of them."""

    url: str
    start: int
    length: int


@dataclass(frozen=True)
class StoredUpload:
    """An unfinished upload: `url`, or the `parts` of one that is sent in several streams.

    Instants are seconds since the epoch by this machine's clock; `expires_at` is None when the server did not say.
    The URLs are secrets: who knows one may read, continue and delete the upload.
    """

    url: str
    created_at: float
    expires_at: float | None = None
    parts: tuple[StoredPart, ...] = ()


class UploadStore(Protocol):
    """Where `TUSClient(store=…)` keeps URLs. `key` is a hexadecimal text, of fixed length and fit for a file name.

    `put` must be durable when it returns: the first byte leaves after it. What these raise comes through.
    """

    def get(self, key: str, /) -> StoredUpload | None: ...

    def put(self, key: str, entry: StoredUpload, /) -> None: ...

    def delete(self, key: str, /) -> None: ...


@runtime_checkable
class HoldingStore(Protocol):
    """A store that also sees to it that one upload has one sender, across processes."""

    def hold(self, key: str, /) -> AbstractContextManager[object]: ...


class MemoryStore:
    """URLs for as long as the process lives. Thread-safe."""

    def __init__(self) -> None:
        self._entries: dict[str, StoredUpload] = {}

    def get(self, key: str) -> StoredUpload | None:
        return self._entries.get(key)

    def put(self, key: str, entry: StoredUpload) -> None:
        self._entries[key] = entry

    def delete(self, key: str) -> None:
        self._entries.pop(key, None)


class FileStore:
    """URLs in a folder, one JSON file each, for this user's eyes only (0600 in a folder made 0700).

    For any number of threads and processes: files are replaced whole and synced to disk, and while an upload is being
    sent its entry is locked (flock(2), where there is one); the lock goes with the process that holds it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def get(self, key: str) -> StoredUpload | None:
        """None also for a file that can't be understood: the upload then begins anew."""
        try:
            with self._usable():
                try:
                    found = json.loads(self._path(key).read_bytes())
                except FileNotFoundError:
                    return None
            if found.pop("version") != _VERSION:
                return None
            parts = tuple(StoredPart(**part) for part in found.pop("parts"))
            return StoredUpload(parts=parts, **found)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def put(self, key: str, entry: StoredUpload) -> None:
        """Raises `TUSUploadError` when the folder can't be used, as the others do."""
        with self._usable():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".new-", dir=self.folder)  # made 0600
            try:
                with open(descriptor, "w", encoding="ascii") as file:
                    json.dump({"version": _VERSION, **asdict(entry)}, file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, self._path(key))
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(name)
                raise
            self._sync_folder()

    def delete(self, key: str) -> None:
        with self._usable(), suppress(FileNotFoundError):
            self._path(key).unlink()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Raises `UploadInterrupted` while somebody else holds it, `TUSUploadError` when the folder can't be used."""
        try:
            import fcntl
        except ImportError:  # Windows: entries are whole all the same, only two senders are not told of each other
            yield
            return
        path = self.folder / f"{key}.lock"
        while True:
            with self._usable():
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The one who held it before removes the file: then this lock is on a name that is gone.
                if _same_file(descriptor, path):
                    break
            except BlockingIOError:
                os.close(descriptor)
                raise UploadInterrupted(
                    "this very upload is being sent by another call, with the same store; wait for that"
                ) from None
            except OSError:  # a file system without locks: as where there is no flock
                break
            os.close(descriptor)
        try:
            yield
        finally:
            with suppress(FileNotFoundError):
                path.unlink()
            os.close(descriptor)

    def prune(self, older_than_seconds: float, now: Callable[[], float] = time.time) -> int:
        """Removes entries that expired or were made so long ago; how many those were.

        What processes that were killed left behind besides, and nobody holds, goes with them. Files of other names
        than a store gives are not its own, and stay.
        """
        removed = 0
        for path in self._files(".json"):
            entry = self.get(path.stem)
            made_at = entry.created_at if entry is not None else 0.0
            expired = entry is not None and entry.expires_at is not None and entry.expires_at <= now()
            if expired or now() - made_at > older_than_seconds:
                self.delete(path.stem)
                removed += 1
        for path in [*self._files(".lock"), *self.folder.glob(".new-*")]:
            with suppress(FileNotFoundError, UploadInterrupted):
                if now() - path.stat().st_mtime <= older_than_seconds:
                    continue
                with self.hold(path.stem) if path.suffix == ".lock" else nullcontext():
                    path.unlink()
        return removed

    def _files(self, suffix: str) -> list[Path]:
        return [path for path in self.folder.glob(f"*{suffix}") if _KEY.fullmatch(path.stem)]

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TUSUploadError(
                f"{str(self.folder)!r}, where the URLs of unfinished uploads are kept, can't be used "
                f"({error.strerror}). Give the store a folder that can be written to, or upload without a store."
            ) from error

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _sync_folder(self) -> None:
        if os.name != "posix":
            return
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def key_of(identity: tuple[object, ...], endpoint: str, metadata: Mapping[str, MetadataValue] | None) -> str:
    """The key of a source (`FileSource.identity`) on its way to `endpoint`: 64 hexadecimal digits."""
    text = json.dumps([*identity, endpoint, encode(metadata)])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
