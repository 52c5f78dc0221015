"""``python -m tests.jobs.power.scenario BASE URL``: what is recorded. One thread does all that an agent's threads do.

The log of the database is emptied into it every few pages, as happens every thousand otherwise: that is when a power
cut finds both half written.
"""

import random
import sys
from pathlib import Path

from tests.support.files import write
from tusd_agent.delivery.pool import Pool
from tusd_agent.delivery.rules import EndpointRules, FolderRules
from tusd_agent.jobs.claims import Claims
from tusd_agent.jobs.database import Database
from tusd_agent.jobs.ledger import Ledger
from tusd_agent.jobs.model import Fingerprint, Found, Place
from tusd_agent.tus import TUSClient

SIZES_BYTES = (0, 1, 9_000, 30_000)
CHUNK_BYTES = 8_192
ROUNDS = 2
LOG_PAGES = 12
FOLDERS = ("keep", "delete", "move", "far")


def run_once(base: Path, elsewhere: Path, url: str, round_: int) -> None:
    """One life of the agent: opens the queue, takes and delivers some files of each folder, and closes it."""
    database = Database(base / "state" / "queue.db")
    database.open()
    with database.reading() as connection:
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}").fetchall()
    ledger, claims = Ledger(database), Claims(database)
    claims.recover()
    targets = {"move": str(base / "sent"), "far": str(elsewhere / "sent")}
    rules = [
        FolderRules(str(base / name), "move" if name in targets else name, targets.get(name))  # type: ignore[arg-type]
        for name in FOLDERS
    ]
    client = TUSClient(url, chunk_size=CHUNK_BYTES, timeout=20.0)
    pool = Pool(
        claims, [EndpointRules("default", url, client)], rules, lambda path: None, workers=1, rng=random.Random(1)
    )
    clock = 1e9
    for number, size in enumerate(SIZES_BYTES):
        batch = []
        for name in FOLDERS:
            path = base / name / f"{round_}-{number}.dat"
            write(path, size, number)
            place = Place(str(base / name), b"", path.name.encode())
            batch.append(Found(place, Fingerprint.of(path.stat()), "default"))
        ledger.enqueue(batch, clock)
        while pool.run_once():
            pass
    client.close()
    database.close()


def main() -> None:
    base, elsewhere, url = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    for round_ in range(ROUNDS):
        run_once(base, elsewhere, url, round_)


if __name__ == "__main__":
    main()
