"""What is known of one upload, as a mapping and as attributes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Self

from .core import UploadState
from .metadata import decode, encode
from .upload import Upload


@dataclass(frozen=True)
class UploadInfo(Mapping[str, Any]):
    """`info["offset"]` and `info.offset` are the same; sizes in bytes.

    `length` is None while it is deferred; `progress` in percent, 100.0 for an empty upload; `expires` the instant
    (with zone) after which the server may drop the unfinished upload, None when it does not say.
    """

    url: str
    offset: int
    length: int | None
    metadata: Mapping[str, str] = field(default_factory=dict)
    expires: datetime | None = None
    complete: bool = field(init=False)
    progress: float = field(init=False)

    def __post_init__(self) -> None:
        share = 0.0
        if self.length is not None:
            share = 100.0 * self.offset / self.length if self.length else 100.0
        object.__setattr__(self, "complete", self.offset == self.length)
        object.__setattr__(self, "progress", share)

    @classmethod
    def of(cls, state: UploadState) -> Self:
        expires = state.expiry.at if state.expiry is not None else None
        return cls(state.url, state.offset, state.length, state.metadata, expires)

    @classmethod
    def of_active(cls, upload: Upload, url: str) -> Self:
        """What the running upload itself knows: the acknowledged offset."""
        return cls(url, upload.offset, upload.size, decode(encode(upload.metadata)), upload.expires)

    def __getitem__(self, name: str) -> Any:
        if name not in _NAMES:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


_NAMES = tuple(one.name for one in fields(UploadInfo))
