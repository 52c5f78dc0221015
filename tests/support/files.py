"""Files with known content, and waiting for a condition instead of for time to pass."""

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

BLOCK_BYTES = 1 << 20
POLL_SECONDS = 0.02


def content(size: int, seed: int) -> bytes:
    """`size` bytes that depend on nothing but `size` and `seed`: what `write` would write."""
    return b"".join(_blocks(size, seed))


def write(path: Path, size: int, seed: int = 0) -> str:
    """Write `size` bytes of the content that belongs to `seed`; gives their SHA-256 as hexadecimal digits.

    Fast enough for gigabytes, and no two blocks are equal: a block sent twice or left out changes the digest.
    """
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for block in _blocks(size, seed):
            file.write(block)
            digest.update(block)
    return digest.hexdigest()


def _blocks(size: int, seed: int) -> Iterator[bytes]:
    base = random.Random(seed).randbytes(BLOCK_BYTES)
    for number, start in enumerate(range(0, size, BLOCK_BYTES)):
        block = number.to_bytes(8) + base[8:] if number else base
        yield block[: size - start]


def sha256_of(path: Path) -> str:
    """SHA-256 of the file's content as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wait_for(predicate: Callable[[], T], seconds: float, what: str) -> T:
    """What `predicate` gives as soon as that is true in a boolean sense; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if found := predicate():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(POLL_SECONDS)
