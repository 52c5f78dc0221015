"""A tus 1.0 client library: usable alone, knows HTTP and tus, nothing of folders, jobs or daemons.

::

    with TUSClient("https://files.example.org/files/", headers={"Authorization": lambda: token()}) as client:
        result = client.upload("run-0042.h5", metadata={"site": "lab-7"})

One module per chapter: `creation`, `core`, `termination`, `concatenation`, `checksum`, `discovery` and `metadata` are
the protocol, `upload` the one loop, `parallel` several of them for one source, `retry` what failures mean, `store` what
outlives the process; `sources` and `streams` are where bytes come from, `transport`, `overriding`, `wire`, `patience`,
`trust`, `network` and `locations` the HTTP beneath; `arguments` looks at what callers give.
"""

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
from .info import UploadInfo
from .metadata import MetadataValue
from .order import CallOptions, UploadResult
from .patience import Cancel
from .sources import BytesSource, FileSource, Source
from .store import FileStore, MemoryStore, StoredPart, StoredUpload, UploadStore

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
