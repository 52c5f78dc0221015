"""What the settings ask of delivery, in its own words; the composition root translates the one into the other."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import urlsplit

from ..tus import TUSClient
from .bandwidth import Throttle
from .command import Command
from .emptying import EmptyFolders

AfterUpload = Literal["keep", "delete", "move", "command"]
DeleteProof = Literal["head", "answer"]
MetadataValue = str | bytes | int | float | bool


@dataclass(frozen=True, slots=True)
class FolderRules:
    """What becomes of the files of one watched folder.

    A file that changed while it was sent is tried again once it had `settle_seconds` of rest. A job that has waited
    for `give_up_after_seconds` without being sent fails (0: never). Where a file is deleted or moved, its marker file
    (its name and `marker_suffix`) goes too, and `empty_folders` is told; `None`: there is none.
    """

    path: str
    after_upload: AfterUpload = "keep"
    move_to: str | None = None
    command: Command | None = None
    marker_suffix: str | None = None
    empty_folders: EmptyFolders | None = None
    priority: int = 0
    settle_seconds: float = 2.0
    give_up_after_seconds: float = 0.0
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)

    def sends_like(self, other: "FolderRules") -> bool:
        """Whether what is in flight under the other rules can go on under these: they differ in who goes when."""
        return other == replace(
            self,
            priority=other.priority,
            give_up_after_seconds=other.give_up_after_seconds,
            settle_seconds=other.settle_seconds,
        )


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """How files reach one endpoint: the client that speaks to it, and what may be asked of it.

    `max_concurrent` uploads at a time (0: as many as there are workers); `throttle` is what they ask before each piece
    of a body. `digest_metadata` is the name under which the digest goes with the upload's metadata (``""``: it does
    not); a file is then read once more, before it is sent. Files of at most `fast_path_bytes` go with the creation of
    their upload, in one request: should its answer be lost, the file is sent again (at least once).
    """

    name: str
    url: str
    client: TUSClient
    digest: bool = True
    digest_metadata: str = ""
    fast_path_bytes: int = 0
    delete_proof: DeleteProof = "head"
    max_concurrent: int = 0
    allow_other_origin: bool = False
    throttle: Throttle = field(default_factory=Throttle)

    def sends_like(self, other: "EndpointRules") -> bool:
        """Whether what is in flight under the other rules can go on under these: they differ in how many go."""
        return other == replace(self, max_concurrent=other.max_concurrent)

    def with_concurrency(self, max_concurrent: int) -> "EndpointRules":
        """The same but for how many uploads may go at a time."""
        return replace(self, max_concurrent=max_concurrent)

    def owns(self, upload_url: str) -> bool:
        """Whether an upload URL kept from an earlier attempt still belongs to this endpoint (same origin)."""
        return self.allow_other_origin or _origin(upload_url) == _origin(self.url)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or default
