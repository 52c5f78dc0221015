"""A tus 1.0 client library: usable alone, knows HTTP and tus, nothing of folders, jobs or daemons.

::

    with TUSClient("https://files.example.org/files/", headers={"Authorization": lambda: token()}) as client:
        result = client.upload("run-0042.h5", metadata={"site": "lab-7"})

One module per chapter: `creation`, `core`, `termination`, `concatenation`, `checksum`, `discovery` and `metadata` are
the protocol, `upload` the one loop, `parallel` several of them for one source, `retry` what failures mean, `store` what
outlives the process; `sources` and `streams` are where bytes come from, `transport`, `connections`, `overriding`,
`patience`, `trust`, `network` and `locations` the HTTP beneath; `arguments` looks at what callers give. Plain HTTP
needs `exchange` and `plain` alone; TLS, proxies and sessions go through `sessions` and `wire`, which load requests and
urllib3 when the first of them comes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .client import TUSClient
from .discovery import ServerInfo
from .errors import (
    AuthRequired,
    CreationFailed,
    DeadlineExceeded,
    FinishedWithServerError,
    InvalidMetadata,
    InvalidURL,
    NotATusServer,
    ProtocolViolation,
    ServerBusy,
    SourceChanged,
    SourceUnavailable,
    TUSUploadError,
    UntrustedServer,
    UploadCancelled,
    UploadGone,
    UploadInterrupted,
    UploadMismatch,
    UploadRefused,
    UploadTooLarge,
    redact,
)
from .metadata import MetadataValue
from .order import CallOptions, UploadResult
from .patience import Cancel
from .sources import BytesSource, FileSource, Source

if TYPE_CHECKING:
    from .info import UploadInfo
    from .store import FileStore, MemoryStore, StoredPart, StoredUpload, UploadStore

# Loaded on first use (PEP 562): most programs send files and need none of these.
_LATER = {
    "FileStore": ".store",
    "MemoryStore": ".store",
    "StoredPart": ".store",
    "StoredUpload": ".store",
    "UploadInfo": ".info",
    "UploadStore": ".store",
}

__all__ = [
    "AuthRequired",
    "BytesSource",
    "CallOptions",
    "Cancel",
    "CreationFailed",
    "DeadlineExceeded",
    "FileSource",
    "FileStore",
    "FinishedWithServerError",
    "InvalidMetadata",
    "InvalidURL",
    "MemoryStore",
    "MetadataValue",
    "NotATusServer",
    "ProtocolViolation",
    "ServerBusy",
    "ServerInfo",
    "Source",
    "SourceChanged",
    "SourceUnavailable",
    "StoredPart",
    "StoredUpload",
    "TUSClient",
    "TUSUploadError",
    "UntrustedServer",
    "UploadCancelled",
    "UploadGone",
    "UploadInfo",
    "UploadInterrupted",
    "UploadMismatch",
    "UploadRefused",
    "UploadResult",
    "UploadStore",
    "UploadTooLarge",
    "redact",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
