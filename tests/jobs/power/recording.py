"""The system calls of a process, as strace(1) has seen them: those that change files, and those that send requests."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CALLS = "openat,write,pwrite64,ftruncate,fsync,fdatasync,unlink,unlinkat,rename,renameat,renameat2,sendto,sendmsg"
LONGEST_TEXT = 1 << 22

_LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)(?:<([^>]*)>)?(?: .*)?$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_OPENED = re.compile(r"^(\w+)<([^>]*)>")


@dataclass(frozen=True)
class Call:
    """A call that was successful. `paths`: the files it is about, absolute; `data` and `at`: what was written where.

    The name is one for all kinds of a call: open, write, truncate, sync, unlink, rename, send.
    """

    name: str
    paths: tuple[str, ...]
    data: bytes = b""
    at: int | None = None
    is_new: bool = False


def record(command: Sequence[str], log: Path, environment: dict[str, str]) -> list[Call]:
    """Runs the command to its end. It must be of one thread, or calls would be told of in two parts."""
    traced = ["strace", "-f", "-y", "-xx", "-s", str(LONGEST_TEXT), "-e", f"trace={CALLS}", "-e", "signal=none"]
    subprocess.run([*traced, "-o", str(log), *command], check=True, env=environment, timeout=150)
    with open(log, encoding="ascii") as lines:
        return [call for line in lines for call in _read(line)]


def _read(line: str) -> Iterator[Call]:
    if " exited with " in line:
        return
    found = _LINE.match(line.rstrip("\n"))
    assert found, f"not understood: {line[:200]}"
    name, arguments, returned = found[1], found[2], int(found[3])
    if returned < 0:
        return
    texts = [_bytes(text[1]) for text in _TEXT.finditer(arguments) if not text[2]]
    opened = _OPENED.match(arguments)
    at = os.fsdecode(_bytes(opened[2])) if opened else ""
    match name:
        case "openat":
            is_new = "O_CREAT" in arguments
            if is_new or "O_TRUNC" in arguments:
                path = os.fsdecode(_bytes(found[4] or ""))
                yield Call("open", (path,), is_new=is_new, at=0 if "O_TRUNC" in arguments else None)
        case "write":
            yield Call("write", (at,), texts[0][:returned])
        case "pwrite64":
            yield Call("write", (at,), texts[0][:returned], int(arguments.rpartition(", ")[2]))
        case "ftruncate":
            yield Call("truncate", (at,), at=int(arguments.rpartition(", ")[2]))
        case "fsync" | "fdatasync":
            yield Call("sync", (at,))
        case "unlink" | "unlinkat":
            yield Call("unlink", (os.path.join(at, os.fsdecode(texts[0])),))
        case "rename":
            yield Call("rename", tuple(map(os.fsdecode, texts)))
        case "renameat" | "renameat2":
            folders = [os.fsdecode(_bytes(each)) for each in re.findall(r"\w+<([^>]*)>, \"", arguments)]
            yield Call("rename", tuple(os.path.join(f, os.fsdecode(t)) for f, t in zip(folders, texts, strict=True)))
        case "sendto" | "sendmsg":
            yield Call("send", (), texts[0] if texts else b"")


def _bytes(text: str) -> bytes:
    """``\\x2f\\x74`` as bytes; what is no such text, a socket's name say, as it is."""
    return bytes.fromhex(text.replace("\\x", "")) if text.startswith("\\x") else text.encode()
