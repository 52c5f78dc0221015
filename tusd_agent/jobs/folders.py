"""What the ledger remembers of the watched folders themselves, beyond a restart."""

from dataclasses import dataclass, replace

from .database import Database
from .rows import folder_id


@dataclass(frozen=True, slots=True)
class FolderMemory:
    """`first_seen_at`: seconds since the epoch; what is older lay in the folder before it was watched.

    `disk_root`: the top of the file system that the folder was last seen on, `None` for that of the whole host.
    `recorded_at`: when a first scan of all of it was over, `None` before.
    """

    first_seen_at: float
    disk_root: bytes | None
    recorded_at: float | None = None


class Folders:
    """Asked and told by the intake. Safe for use by several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def recall(self, folder: str) -> FolderMemory | None:
        """What is remembered of the folder; `None` when it has never been seen."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT first_seen_at, disk_root, recorded_at FROM folders "
                "WHERE path = ? AND first_seen_at IS NOT NULL",
                (folder,),
            ).fetchone()
        return FolderMemory(*row) if row else None

    def remember(self, folder: str, disk_root: bytes | None, now: float) -> FolderMemory:
        """The folder is there, on this disk; returns what is remembered from now on."""
        known = self.recall(folder)
        if known is not None and known.disk_root == disk_root:
            return known
        memory = FolderMemory(now, disk_root) if known is None else replace(known, disk_root=disk_root)
        with self._database.transaction(durable=True) as connection:
            connection.execute(
                "UPDATE folders SET first_seen_at = ?, disk_root = ? WHERE id = ?",
                (memory.first_seen_at, disk_root, folder_id(connection, folder)),
            )
        return memory

    def recorded(self, folder: str, now: float) -> None:
        """All of the folder has been scanned; nothing changes when it had been before."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE folders SET recorded_at = ? WHERE path = ? AND recorded_at IS NULL", (now, folder)
            )
