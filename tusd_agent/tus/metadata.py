"""Upload-Metadata: comma-separated pairs of a key and a base64 value (tus 1.0, Creation, Upload-Metadata)."""

import base64
import binascii
import re
from collections.abc import Mapping

from .errors import InvalidMetadata

_KEY = re.compile(r"[!-+\--~]+")
"""ASCII that can be seen, without the comma."""

MetadataValue = str | bytes | int | float | None


def encode(metadata: Mapping[str, MetadataValue] | None) -> str | None:
    """The header's value, or None when there is nothing to say: an empty header is invalid.

    None as a value leaves the key out. Bytes are carried exactly, text as UTF-8; text that holds undecodable bytes
    the way Python keeps them in file names (surrogateescape) becomes those very bytes. Numbers become text.
    Raises `InvalidMetadata` for keys that are empty, not printable ASCII, or contain a space or comma.
    """
    pairs = []
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not key:
            raise InvalidMetadata(f"metadata key {key!r} is not a non-empty string; give every value a name")
        if not _KEY.fullmatch(key):
            raise InvalidMetadata(
                f"metadata key {key!r} has a space, a comma or a character outside ASCII; choose a plainer name"
            )
        if value is not None:
            encoded = base64.b64encode(_to_bytes(key, value)).decode("ascii")
            pairs.append(f"{key} {encoded}" if encoded else key)
    return ",".join(pairs) or None


def decode(header: str | None) -> dict[str, str]:
    """Keys and values of a received header; bytes that are no UTF-8 are kept by surrogateescape.

    Lenient, for it shows what a server keeps: a value that is no base64 is left out, as tusd does.
    """
    values: dict[str, str] = {}
    for pair in (header or "").split(","):
        key, _, encoded = pair.strip().partition(" ")
        if not key:
            continue
        try:
            raw = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            continue
        values[key] = raw.decode("utf-8", "surrogateescape")
    return values


def _to_bytes(key: str, value: str | bytes | int | float) -> bytes:
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, (int, float)):
        return str(value).encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if not isinstance(value, str):
        raise InvalidMetadata(f"metadata {key!r} is of type {type(value).__name__}; give text, bytes, a number or None")
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidMetadata(f"metadata {key!r} holds a character that no encoding has; remove it") from error
