"""Upload-Checksum: the digest of one request's body (tus 1.0, Checksum).

A header comes before its body, so each body is read twice: once to be digested, once to be sent. tusd has no such
extension and ignores the header, so that it is only sent to servers that list the algorithm.
"""

import base64

from .body import caller_speaks
from .discovery import ServerInfo
from .errors import SourceChanged, UploadRefused, redact
from .patience import Watch
from .sources import Source
from .streams import StreamSource

AUTO = "auto"
PREFERRED = ("sha256", "sha512", "sha384", "sha1", "md5")
# The body of one checked request when no chunk size is given: what has to be sent again when it does not match.
CHECKED_CHUNK_BYTES = 8 << 20
MAX_RESENDS = 3

_BLOCK_BYTES = 256 * 1024


def check_name(wanted: str | None) -> None:
    """Raises ValueError for an algorithm that this Python does not have."""
    if wanted in (None, AUTO):
        return
    import hashlib  # loads OpenSSL: only for those who want checksums

    # The shakes have no digest of a fixed length.
    known = hashlib.algorithms_available - {"shake_128", "shake_256"}
    if wanted not in known:
        raise ValueError(f"checksum {wanted!r} is not known here; give one of {', '.join(PREFERRED)} or {AUTO!r}")


def choose(wanted: str, info: ServerInfo, endpoint: str) -> str | None:
    """The algorithm to use; with "auto" None where the server offers none.

    Raises `UploadRefused` when one was asked for by name and the server does not offer it: sent all the same, it would
    protect nothing.
    """
    offered = info.checksum_algorithms if "checksum" in info.extensions else ()
    if wanted == AUTO:
        return next((name for name in PREFERRED if name in offered), None)
    if wanted in offered:
        return wanted
    said = f"it offers: {', '.join(offered) or 'none'}" if info.known else "it did not answer when asked by OPTIONS"
    raise UploadRefused(
        f"{redact(endpoint)} does not check {wanted} checksums ({said}); choose another, or {AUTO!r} to do without "
        "where there is none",
        url=endpoint,
    )


def header(algorithm: str, source: Source | StreamSource, offset: int, length: int, watch: Watch) -> str:
    """The header's value for `length` bytes of `source` from `offset`."""
    import hashlib  # as above

    digest = hashlib.new(algorithm, usedforsecurity=False)
    buffer = memoryview(bytearray(min(_BLOCK_BYTES, length)))
    done = 0
    while done < length:
        watch.check()
        with caller_speaks():
            count = source.readinto(offset + done, buffer[: length - done])
            if count <= 0:
                raise SourceChanged(
                    f"the source ended at byte {offset + done}, {length - done} bytes early. File size was expected to "
                    "stay the same during the upload; upload it anew when nothing writes to it."
                )
        digest.update(buffer[:count])
        done += count
    return f"{algorithm} {base64.b64encode(digest.digest()).decode('ascii')}"
