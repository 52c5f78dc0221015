"""A folder on a disk whose power may go at any instant: of what was not synced, anything may be there."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .recording import Call

SECTOR_BYTES = 512
SURVIVALS = ("nothing", "all", "all, the last one torn", "some", "some, torn")


@dataclass
class _File:
    """`durable` is its content as of the last sync, `pending` the writes since: at an offset, or a new length."""

    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    length: int = 0
    position: int = 0

    def content(self, chosen: Iterable[tuple[int, bytes | None]]) -> bytes:
        content = bytearray(self.durable)
        for at, data in chosen:
            if data is None:
                content[at:] = bytes(max(0, at - len(content)))
            else:
                content.extend(bytes(max(0, at - len(content))))
                content[at : at + len(data)] = data
        return bytes(content)


class Disk:
    """What lies in `folder`, by the calls that are made: their order is kept for names, not for what is in files.

    Names are the affair of the file system's journal: those that were changed since the folder was synced are there up
    to some instant, and from then on not.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._names: dict[str, _File] = {}
        self._durable_names: list[dict[str, _File]] = [{}]
        """The names after each change since the last sync of the folder; the first are sure to be there."""

    def do(self, call: Call) -> bool:
        """Takes the call in, if it is about this folder; returns whether it is."""
        mine = [path for path in call.paths if path == self._folder or path.startswith(self._folder + "/")]
        if not mine or mine[0].endswith("-shm"):
            return False
        path = mine[0]
        file = self._names.get(path)
        match call.name:
            case "open":
                if file is None:
                    assert call.is_new, call
                    file = self._names[path] = _File()
                    self._named()
                if call.at == 0:
                    self._write(file, 0, None)
                file.position = 0
            case "write":
                assert file is not None, call
                at = file.position if call.at is None else call.at
                self._write(file, at, call.data)
                file.position = at + len(call.data)
            case "truncate":
                assert file is not None, call
                self._write(file, call.at or 0, None)
            case "sync" if path == self._folder:
                self._durable_names = [dict(self._names)]
            case "sync":
                assert file is not None, call
                file.durable, file.pending = file.content(file.pending), []
            case "unlink":
                del self._names[path]
                self._named()
            case "rename":
                self._names[mine[1]] = self._names.pop(path)
                self._named()
        return True

    def after_power_cut(self, survival: str, rng: random.Random) -> dict[str, bytes]:
        """The files by name, as one of the `SURVIVALS` leaves them."""
        return {
            Path(path).name: file.content(_surviving(file.pending, survival, rng))
            for path, file in self._surviving_names(survival, rng).items()
        }

    def _surviving_names(self, survival: str, rng: random.Random) -> dict[str, _File]:
        match survival:
            case "nothing":
                return self._durable_names[0]
            case "all" | "all, the last one torn":
                return self._names
            case _:
                return rng.choice(self._durable_names)

    def _write(self, file: _File, at: int, data: bytes | None) -> None:
        file.pending.append((at, data))

    def _named(self) -> None:
        self._durable_names.append(dict(self._names))


def _surviving(
    pending: list[tuple[int, bytes | None]], survival: str, rng: random.Random
) -> Iterator[tuple[int, bytes | None]]:
    if survival == "nothing":
        return
    chosen = [each for each in pending if survival.startswith("all") or rng.random() < 0.5]
    for number, (at, data) in enumerate(chosen):
        if data and survival.endswith("torn") and number == len(chosen) - 1:
            sectors = -(-len(data) // SECTOR_BYTES)
            data = data[: rng.randrange(sectors + 1) * SECTOR_BYTES]
        yield at, data
