"""A small file beside the database that says how far the database had come.

A ledger that was lost, or replaced by an older copy, looks like any other: an agent that believes it would send files
again that arrived long ago. So the database counts its starts and stops, and the witness repeats the count; where the
database is behind the witness, or is another one, something is missing in it.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Testimony:
    """`ledger` names the database (a uuid), `epoch` counts its starts and stops."""

    ledger: str
    epoch: int


class Witness:
    """The file at `path`. Reading never fails; writing raises `OSError`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Testimony | None:
        """What it says; `None` when it is not there or can't be understood, and so says nothing."""
        try:
            said = json.loads(self.path.read_bytes())
            return Testimony(str(said["ledger"]), int(said["epoch"]))
        except (OSError, ValueError, ArithmeticError, TypeError, KeyError, RecursionError):
            return None

    def write(self, testimony: Testimony) -> None:
        """Replaces it as a whole, durably (rename(2))."""
        fresh = self.path.with_name(self.path.name + ".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, json.dumps({"ledger": testimony.ledger, "epoch": testimony.epoch}).encode("ascii"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(fresh, self.path)
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
