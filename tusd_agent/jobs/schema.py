"""The tables, and how an older database becomes a present one. ``PRAGMA user_version`` counts the steps taken."""

import re
import sqlite3

IS_TRIED = "claim_id > 0"
"""Of a job that a worker had before."""

AGE = "COALESCE(waiting_since, created_at)"
"""Since when a job has waited to be sent: since it was made, or since the operator asked for it (again)."""

IN_TROUBLE = "cause IS NOT NULL AND state IN ('pending', 'delivered', 'failed', 'held')"
"""Of a job that has failed, that an attempt has failed of which is not made good yet, or that is held."""

IS_STANDING = "key = 'pause' OR key GLOB 'pause *' OR key = 'limit' OR key GLOB 'limit *'"
"""Of the rows of the table ``agent`` that keep what an operator has set (see `standing`)."""

DEFAULT_SMALL_FILE_BYTES = 16 << 20


def is_large(small_file_bytes: int) -> str:
    """The condition for a job of a file that is larger than that."""
    return f"size_bytes > {small_file_bytes:d}"


def _waiting_index(small_file_bytes: int) -> str:
    return (
        "CREATE INDEX jobs_waiting ON jobs "
        f"(folder_id, endpoint, {IS_TRIED}, {is_large(small_file_bytes)}, not_before) "
        "WHERE state IN ('pending', 'delivered')"
    )


_AGE_INDEX = f"CREATE INDEX jobs_by_age ON jobs (folder_id, {AGE}) WHERE state = 'pending'"


SCHEMA_STEPS: tuple[str, ...] = (
    """
    CREATE TABLE folders (
        id   INTEGER PRIMARY KEY,
        path TEXT NOT NULL UNIQUE
    );

    -- Directory and name apart: a scan looks a whole directory up at once, and a path is stored once.
    CREATE TABLE directories (
        id        INTEGER PRIMARY KEY,
        folder_id INTEGER NOT NULL REFERENCES folders (id),
        path      BLOB NOT NULL,
        UNIQUE (folder_id, path)
    );

    CREATE TABLE jobs (
        id           INTEGER PRIMARY KEY,
        uuid         BLOB NOT NULL UNIQUE,
        folder_id    INTEGER NOT NULL REFERENCES folders (id),
        directory_id INTEGER NOT NULL REFERENCES directories (id),
        name         BLOB NOT NULL,
        endpoint     TEXT NOT NULL,
        state        TEXT NOT NULL,
        size_bytes   INTEGER NOT NULL,
        mtime_ns     INTEGER NOT NULL,
        ctime_ns     INTEGER NOT NULL,
        inode        INTEGER NOT NULL,
        -- Among the rows of one path the newest is the one with the highest (placed, id): a rename brings an older
        -- row to a path that had newer ones.
        placed       INTEGER NOT NULL DEFAULT 0,
        not_before   REAL NOT NULL,
        created_at   REAL NOT NULL,
        claimed_at   REAL,
        delivered_at REAL,
        finished_at  REAL,
        attempts     INTEGER NOT NULL DEFAULT 0,
        restarts     INTEGER NOT NULL DEFAULT 0,
        claim_id     INTEGER NOT NULL DEFAULT 0,
        upload_url   TEXT,
        offset_bytes INTEGER NOT NULL DEFAULT 0,
        digest       BLOB,
        digest_bytes INTEGER NOT NULL DEFAULT 0,
        last_error   TEXT,
        reason       TEXT
    );

    CREATE INDEX jobs_by_path ON jobs (directory_id, name);
    CREATE INDEX jobs_by_inode ON jobs (inode, folder_id);
    CREATE INDEX jobs_waiting ON jobs (folder_id, endpoint, not_before)
        WHERE state IN ('pending', 'delivered');
    CREATE INDEX jobs_unsent ON jobs (folder_id, directory_id)
        WHERE state IN ('pending', 'failed', 'held');

    -- What an operator looks for: few rows among many, which no list should have to search for.
    CREATE INDEX jobs_aside ON jobs (state) WHERE state IN ('failed', 'held', 'cancelled');

    -- The counts that `status` shows, kept by triggers, so that asking costs the same at ten jobs and at a million.
    CREATE TABLE counters (
        folder_id INTEGER NOT NULL,
        endpoint  TEXT NOT NULL,
        state     TEXT NOT NULL,
        jobs      INTEGER NOT NULL,
        bytes     INTEGER NOT NULL,
        PRIMARY KEY (folder_id, endpoint, state)
    ) WITHOUT ROWID;

    CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs BEGIN
        INSERT INTO counters VALUES (NEW.folder_id, NEW.endpoint, NEW.state, 1, NEW.size_bytes)
            ON CONFLICT DO UPDATE SET jobs = jobs + 1, bytes = bytes + excluded.bytes;
    END;
    CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs BEGIN
        UPDATE counters SET jobs = jobs - 1, bytes = bytes - OLD.size_bytes
            WHERE folder_id = OLD.folder_id AND endpoint = OLD.endpoint AND state = OLD.state;
    END;
    CREATE TRIGGER jobs_moved AFTER UPDATE OF state, endpoint, folder_id, size_bytes ON jobs
        WHEN OLD.state <> NEW.state OR OLD.endpoint <> NEW.endpoint
            OR OLD.folder_id <> NEW.folder_id OR OLD.size_bytes <> NEW.size_bytes
    BEGIN
        UPDATE counters SET jobs = jobs - 1, bytes = bytes - OLD.size_bytes
            WHERE folder_id = OLD.folder_id AND endpoint = OLD.endpoint AND state = OLD.state;
        INSERT INTO counters VALUES (NEW.folder_id, NEW.endpoint, NEW.state, 1, NEW.size_bytes)
            ON CONFLICT DO UPDATE SET jobs = jobs + 1, bytes = bytes + excluded.bytes;
    END;

    -- Unfinished uploads that lost their job: to be terminated on the server, if it offers that.
    CREATE TABLE leftovers (
        id         INTEGER PRIMARY KEY,
        endpoint   TEXT NOT NULL,
        upload_url TEXT NOT NULL,
        attempts   INTEGER NOT NULL DEFAULT 0,
        not_before REAL NOT NULL
    );

    CREATE TABLE agent (
        key   TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    -- Since when a folder is watched (what is older lay there before), and the top of the disk it was last seen on
    -- (NULL: that of the root), for an empty mount point is no folder whose files are gone.
    ALTER TABLE folders ADD COLUMN first_seen_at REAL;
    ALTER TABLE folders ADD COLUMN disk_root BLOB;
    """,
    """
    -- When a scan of the whole folder had first been completed: each file that it took has a row since then.
    ALTER TABLE folders ADD COLUMN recorded_at REAL;
    """,
    """
    -- When the path of a job that has ended was first found absent, and has been ever since.
    ALTER TABLE jobs ADD COLUMN absent_since REAL;
    """,
    f"""
    -- What the server answered to the request with the last byte, where that was an error and nothing was heard since:
    -- should the upload turn out to be complete, this says that it is not to be trusted.
    ALTER TABLE jobs ADD COLUMN final_answer TEXT;
    ALTER TABLE jobs ADD COLUMN waiting_since REAL;

    CREATE INDEX jobs_working ON jobs (state) WHERE state IN ('uploading', 'disposing');
    DROP INDEX jobs_waiting;
    {_waiting_index(DEFAULT_SMALL_FILE_BYTES)};
    """,
    f"""
    -- The short kind of the last failure, or of what a job is held for: what jobs in trouble are counted by. Only they
    -- are in these indexes, so that those that go through without any cost nothing.
    ALTER TABLE jobs ADD COLUMN cause TEXT;
    UPDATE jobs SET cause = reason WHERE state IN ('failed', 'held');
    CREATE INDEX jobs_in_trouble ON jobs (cause, state) WHERE {IN_TROUBLE};
    CREATE INDEX jobs_tried_by_age ON jobs (folder_id, {AGE}) WHERE state = 'pending' AND {IS_TRIED};

    -- The last failed attempts of a job, by the number of their claim.
    CREATE TABLE failures (
        job_id   INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        claim_id INTEGER NOT NULL,
        at       REAL NOT NULL,
        cause    TEXT NOT NULL,
        words    TEXT NOT NULL,
        PRIMARY KEY (job_id, claim_id)
    ) WITHOUT ROWID;

    -- What has arrived and what has failed, by quarters of an hour; bucket 0 has all that is older than those.
    CREATE TABLE totals (
        bucket    INTEGER NOT NULL,
        folder_id INTEGER NOT NULL,
        endpoint  TEXT NOT NULL,
        arrived   INTEGER NOT NULL,
        bytes     INTEGER NOT NULL,
        failed    INTEGER NOT NULL,
        PRIMARY KEY (bucket, folder_id, endpoint)
    ) WITHOUT ROWID;
    """,
)

SCHEMA_VERSION = len(SCHEMA_STEPS)


def fitted_small_file_bytes(connection: sqlite3.Connection) -> int:
    """What counts as a small file by the index that is there now."""
    (definition,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'jobs_waiting'").fetchone()
    found = re.search(r"size_bytes > (\d+)", definition)
    return int(found[1]) if found else DEFAULT_SMALL_FILE_BYTES


def fit_indexes(connection: sqlite3.Connection, small_file_bytes: int, *, by_age: bool) -> None:
    """Makes the indexes whose shape depends on the settings what these ask for; costs nothing where they are so.

    `by_age`: whether jobs are looked for by their age. Within the caller's transaction.
    """
    wanted = {"jobs_waiting": _waiting_index(small_file_bytes), "jobs_by_age": _AGE_INDEX if by_age else None}
    for name, definition in wanted.items():
        found = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?", (name,)
        ).fetchone()
        if (found and found[0]) == definition:
            continue
        connection.execute(f"DROP INDEX IF EXISTS {name}")
        if definition is not None:
            connection.execute(definition)
