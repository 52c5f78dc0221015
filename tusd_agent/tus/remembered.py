"""What a store has of the upload under way; without a store nothing, and then `store` is not even loaded."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .store import StoredPart, StoredUpload, UploadStore


class Remembered:
    """What a store, perhaps none, has of one upload."""

    def __init__(self, store: "UploadStore | None", key: str, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._key = key
        self._clock = clock
        self._created_at = clock()

    def held(self) -> AbstractContextManager[object]:
        """While the upload is sent."""
        if self._store is None:
            return nullcontext()
        from .store import HoldingStore

        return self._store.hold(self._key) if isinstance(self._store, HoldingStore) else nullcontext()

    def recall(self) -> "StoredUpload | None":
        """The entry, unless there is none or its upload expired."""
        entry = self._store.get(self._key) if self._store is not None else None
        if entry is None:
            return None
        if entry.expires_at is not None and entry.expires_at <= self._clock():
            self.forget()
            return None
        self._created_at = entry.created_at
        return entry

    def keep(self, url: str, left_seconds: float | None, parts: "tuple[StoredPart, ...]" = ()) -> None:
        """`left_seconds`: until the server drops it, by its own clock."""
        if self._store is not None:
            from .store import StoredUpload

            expires_at = None if left_seconds is None else self._clock() + left_seconds
            self._store.put(self._key, StoredUpload(url, self._created_at, expires_at, parts))

    def forget(self) -> None:
        if self._store is not None:
            self._store.delete(self._key)
