"""What a correct tus 1.0 server answers, in memory: the core protocol and every extension.

Only the extensions named in `extensions` are offered and understood; the others are ignored, as servers do.
"""

import base64
import hashlib
from dataclasses import dataclass, field


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    connection: int
    target: str

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", "0"))


@dataclass
class Stored:
    """`length` None while it is deferred."""

    length: int | None
    metadata: str | None
    data: bytearray = field(default_factory=bytearray)
    concat: str | None = None


class RightServer:
    """`answers` are added to each answer (`Upload-Expires`, `Date`); `refuses`: methods a proxy answers with 405."""

    def __init__(self) -> None:
        self.uploads: dict[str, Stored] = {}
        self.made = 0
        self.extensions = "creation,termination"
        self.algorithms = "sha1,sha256"
        self.max_size: int | None = None
        self.location = "{url}"
        self.check_token: str | None = None
        self.answers: dict[str, str] = {}
        self.refuses: set[str] = set()
        self.overrides = False

    @property
    def origin(self) -> str:
        raise NotImplementedError

    def offers(self, extension: str) -> bool:
        return extension in self.extensions.replace(" ", "").split(",")

    def only(self) -> Stored:
        assert len(self.uploads) == 1
        return next(iter(self.uploads.values()))

    def finals(self) -> list[Stored]:
        return [stored for stored in self.uploads.values() if stored.concat != "partial"]

    def add(self, length: int | None, data: bytes = b"", metadata: str | None = None, concat: str | None = None) -> str:
        path = f"/files/upload-{self.made}"
        self.made += 1
        self.uploads[path] = Stored(length, metadata, bytearray(data), concat)
        return f"{self.origin}{path}"

    def right_answer(self, request: Request, body: bytes, sent: int) -> tuple[int, dict[str, str]]:
        """Status and headers; `body` is what is to be kept of the `sent` bytes that were read."""
        headers = {"Tus-Resumable": "1.0.0", **self.answers}
        if self.check_token is not None and request.headers.get("authorization") != self.check_token:
            return 401, headers
        if request.method in self.refuses:
            return 405, {}
        method = request.method
        if method == "POST" and self.overrides:
            method = request.headers.get("x-http-method-override", method)
        if method == "OPTIONS":
            return 204, headers | self._offer()
        if method == "POST":
            return self._create(request, body, headers)
        stored = self.uploads.get(request.path)
        if stored is None:
            return 404, headers
        if method == "DELETE":
            del self.uploads[request.path]
            return 204, headers
        if method == "PATCH":
            return self._append(stored, request, body, sent, headers)
        headers |= {"Upload-Offset": str(len(stored.data))}
        headers |= {"Upload-Defer-Length": "1"} if stored.length is None else {"Upload-Length": str(stored.length)}
        if stored.metadata is not None:
            headers["Upload-Metadata"] = stored.metadata
        return 200, headers

    def _offer(self) -> dict[str, str]:
        offer = {"Tus-Version": "1.0.0", "Tus-Extension": self.extensions}
        if self.max_size is not None:
            offer["Tus-Max-Size"] = str(self.max_size)
        if self.offers("checksum"):
            offer["Tus-Checksum-Algorithm"] = self.algorithms
        return offer

    def _create(self, request: Request, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
        if request.path.startswith("/files/upload-"):
            return 405, headers
        metadata, concat = request.headers.get("upload-metadata"), request.headers.get("upload-concat")
        if concat is not None and concat.startswith("final;"):
            return self._concatenate(concat, metadata, headers)
        length = request.headers.get("upload-length")
        deferred = request.headers.get("upload-defer-length") == "1" and self.offers("creation-defer-length")
        if (length is None) is not deferred:
            return 400, headers
        url = self.add(None if length is None else int(length), metadata=metadata, concat=concat)
        if request.length and self.offers("creation-with-upload"):
            stored = self.uploads[url.removeprefix(self.origin)]
            stored.data += body
            headers["Upload-Offset"] = str(len(stored.data))
        return 201, headers | {"Location": self._location(url)}

    def _concatenate(self, concat: str, metadata: str | None, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
        parts = [self.uploads.get(url.removeprefix(self.origin)) for url in concat.removeprefix("final;").split()]
        whole = bytearray()
        for part in parts:
            if part is None or part.concat != "partial" or len(part.data) != part.length:
                return 400, headers
            whole += part.data
        url = self.add(len(whole), bytes(whole), metadata, "final")
        return 201, headers | {"Location": self._location(url)}

    def _location(self, url: str) -> str:
        path = url.removeprefix(self.origin)
        port = self.origin.rpartition(":")[2]
        return self.location.format(url=url, path=path, name=path.rpartition("/")[2], port=port)

    def _append(
        self, stored: Stored, request: Request, body: bytes, sent: int, headers: dict[str, str]
    ) -> tuple[int, dict[str, str]]:
        if int(request.headers["upload-offset"]) != len(stored.data):
            return 409, headers
        length = request.headers.get("upload-length")
        if length is not None:
            if stored.length is not None:
                return 400, headers
            stored.length = int(length)
        if stored.length is not None and len(stored.data) + sent > stored.length:
            return 413, headers
        checksum = request.headers.get("upload-checksum")
        if checksum is not None and self.offers("checksum"):
            name, _, value = checksum.partition(" ")
            if name not in self.algorithms.split(","):
                return 400, headers
            if base64.b64encode(hashlib.new(name, body).digest()).decode() != value:
                return 460, headers
        stored.data += body
        return 204, headers | {"Upload-Offset": str(len(stored.data))}
