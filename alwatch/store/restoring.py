"""A backup put in the database's place.

Whatever is interrupted, even by a kill, leaves the old database or the new one, never a part.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from alwatch.errors import DamagedStoreError, StoreError, shown
from alwatch.store.backing_up import schema_of, sync_folder, untouched, unwritable, write_backup
from alwatch.store.damage import first_fault
from alwatch.store.presence import Presence


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did: the schema of what it brought back, and where the old database is."""

    schema: int
    kept: Path | None


def restore_backup(file: Path, database: Path, *, index: Path, now: datetime) -> Restored:
    """Put a backup in the database's place; only the lock's holder may call this.

    The database that was there stays beside it as `<name>.replaced-<time>`. Where it is so
    damaged that SQLite cannot merge its write-ahead log into it, that log stays with it.

    Parameters
    ----------
    file : Path
        The backup; it is only read.
    database : Path
    index : Path
        The folder of the similarity index, a cache of the database: it is emptied.
    now : datetime

    Raises
    ------
    StoreError
        The backup is damaged, of a newer version or none; another process has the database
        open; or the disk does not take it. The database is as it was.
    """
    try:
        schema = schema_of(file)
    except DamagedStoreError as error:
        raise StoreError(
            f"{shown(file)} was to be restored; it is damaged or no database, and the database was "
            "left as it is; name a backup."
        ) from error
    staged = database.with_name(f"{database.name}.restoring")
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        staged.unlink(missing_ok=True)
        write_backup(file, staged)
        _look_through(staged, file)
        with Presence(database.parent, alone=True):
            shutil.rmtree(index, ignore_errors=True)
            kept = _keep(database, now)
            _own(staged, database if kept else database.parent)
            staged.replace(database)
            sync_folder(database.parent)
    except OSError as error:
        raise unwritable(database, str(error.strerror)) from error
    finally:
        with suppress(OSError):
            staged.unlink(missing_ok=True)
    return Restored(schema, kept)


def _look_through(staged: Path, file: Path) -> None:
    with closing(untouched(staged)) as copy:
        fault = first_fault(copy, "PRAGMA integrity_check(1)")
        if fault is None:
            for table, _, parent, _ in copy.execute("PRAGMA foreign_key_check").fetchmany(1):
                fault = f"a row of {table} belongs to none of {parent}"
    if fault is not None:
        raise StoreError(
            f"{shown(file)} is damaged ({shown(fault)}), and the database was left as it is; name "
            "another backup."
        )


def _keep(database: Path, now: datetime) -> Path | None:
    """Give the database a second name, and see to it that no log lies beside its first one."""
    kept = database.with_name(f"{database.name}.replaced-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}")
    is_there = database.exists()
    if is_there:
        _fold_log(database)
        os.link(database, kept)
    log, shared = (database.with_name(f"{database.name}-{end}") for end in ("wal", "shm"))
    if log.exists():
        os.link(log, kept.with_name(f"{kept.name}-wal"))
        sync_folder(database.parent)
        log.unlink()  # SQLite would take it for the log of what comes in the database's place
    shared.unlink(missing_ok=True)
    sync_folder(database.parent)
    return kept if is_there else None


def _fold_log(database: Path) -> None:
    """Merge the write-ahead log into the database, unless that is too damaged."""
    with closing(sqlite3.connect(database, isolation_level=None)) as db, suppress(sqlite3.Error):
        db.execute("PRAGMA journal_mode = DELETE")


def _own(staged: Path, like: Path) -> None:
    """Let the daemon's user write to what another one, such as root, has restored."""
    owner = like.stat()
    staged.chmod(stat.S_IMODE(owner.st_mode) & 0o666 | stat.S_IRUSR | stat.S_IWUSR)
    if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(OSError):
            os.chown(staged, owner.st_uid, owner.st_gid)
