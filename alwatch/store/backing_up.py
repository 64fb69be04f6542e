"""Backups of the database, made while others write to it.

Whatever is interrupted, even by a kill, leaves the old file or the new one, never a part.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from alwatch.errors import DamagedStoreError, StoreError, shown
from alwatch.store.backup_files import Backup, backup_name, backups_in, outdated
from alwatch.store.connection import BUSY_TIMEOUT_S, SCHEMA_VERSION
from alwatch.store.damage import explained, first_fault, is_damage
from alwatch.store.presence import Presence

SPARE_BYTES = 2**28
"""A backup leaves at least so much of its disk free."""

_PAGES = 1024
_STALE_S = 3600.0
_TABLES = {"videos", "files", "frames", "vectors", "queues"}

Progress = Callable[[int, int], None]
"""Told after every slice how many pages are left, of how many; what it raises ends the work."""


def back_up(
    database: Path, folder: Path, *, keep: int, now: datetime, on_slice: Progress | None = None
) -> Backup:
    """Make one backup in the folder of backups, and let those go that are no longer needed.

    Parameters
    ----------
    database, folder : Path
        The folder is made only where it lies beside the database: another one that is missing
        may be a drive that is not mounted.
    keep : int
        How many of the newest stay; older ones stay by the week.
    now : datetime
    on_slice : callable, optional

    Raises
    ------
    StoreError
        It cannot be written; older backups stay.
    DamagedStoreError
        The database is damaged; older backups stay.
    """
    try:
        if folder.parent == database.parent:
            folder.mkdir(exist_ok=True)
        for stale in folder.glob(".alwatch-*.sqlite.part"):
            if time.time() - stale.stat().st_mtime > _STALE_S:  # one in the making is written to
                stale.unlink()
    except OSError as error:
        raise unwritable(folder, str(error.strerror)) from error
    made = Backup(folder / backup_name(now), now)
    write_backup(database, made.path, on_slice=on_slice)
    for backup in outdated(backups_in(folder), keep=keep):
        backup.path.unlink(missing_ok=True)
    return made


def write_backup(database: Path, target: Path, *, on_slice: Progress | None = None) -> None:
    """Copy a database, as it is at this moment, into one file that needs no other.

    The copy is complete, looked through and on the disk before it gets its name. Writers are
    not kept waiting.

    Parameters
    ----------
    database : Path
    target : Path
        An older backup there is replaced; any other file is not.
    on_slice : callable, optional

    Raises
    ------
    StoreError
        Something else is there, the room does not suffice, or it cannot be written.
    DamagedStoreError
        The database is damaged.
    """
    _refuse_foreign(database, target)
    part = target.with_name(f".{target.name}.part")
    try:
        with _reading(database) as source:
            _check_room(source, target)
            part.unlink(missing_ok=True)
            _copy(source, part, on_slice)
            _settle(part, stat.S_IMODE(database.stat().st_mode))
            _verify_copy(source, part)
        part.replace(target)
        sync_folder(target.parent)
    except sqlite3.Error as error:
        if is_damage(error):
            raise explained(error, database, target.parent) from error
        raise unwritable(target, str(error)) from error
    except OSError as error:
        raise unwritable(target, str(error.strerror)) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def _reading(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees the database as it is now for as long as it is open.

    Were it not held to one view, a backup would start again with every write of others.
    """
    if not database.is_file():
        raise StoreError(f"{shown(database)} is not there; name the file of a database.")
    uri = f"{database.absolute().as_uri()}?mode=ro"
    with Presence(database.absolute().parent):
        try:
            source = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            source.execute("BEGIN")
            source.execute("SELECT 1 FROM sqlite_master").fetchall()
        except sqlite3.Error as error:
            raise explained(error, database, database.parent) from error
        with closing(source):
            yield source


def _refuse_foreign(database: Path, target: Path) -> None:
    if not os.path.lexists(target):
        return
    if target.is_file() and not (database.exists() and target.samefile(database)):
        with suppress(StoreError):
            schema_of(target)
            return
    raise StoreError(
        f"{shown(target)} is not a backup of alwatch and was left as it is; name another file."
    )


def _check_room(source: sqlite3.Connection, target: Path) -> None:
    pages, page_bytes = (
        source.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
    )
    free_bytes = shutil.disk_usage(target.parent).free
    if free_bytes < pages * page_bytes + SPARE_BYTES:
        raise StoreError(
            f"{shown(target)} needs {pages * page_bytes / 1e6:.0f} MB, and {SPARE_BYTES / 1e6:.0f} "
            f"MB must stay free; there are {free_bytes / 1e6:.0f} MB. Make room on that disk, or "
            "name another folder."
        )


def _copy(source: sqlite3.Connection, part: Path, on_slice: Progress | None) -> None:
    """Copy page by page; nobody else knows the file, so it needs no locks, which shares lack."""

    def progress(status: int, left: int, total: int) -> None:
        if on_slice is not None:
            on_slice(left, total)

    handle = sqlite3.connect(
        f"{part.absolute().as_uri()}?vfs=unix-none", uri=True, isolation_level=None
    )
    with closing(handle):
        handle.execute("PRAGMA synchronous = OFF")
        handle.execute("PRAGMA journal_mode = OFF")
        source.backup(handle, pages=_PAGES, progress=progress)


def _settle(part: Path, mode: int) -> None:
    """Make the copy a file that needs no write-ahead log, and wait until it is on the disk."""
    with open(part, "r+b") as file:
        file.seek(18)  # read and write version of the file format: 1 is without such a log
        file.write(b"\1\1")
        with suppress(OSError):  # not every share has modes
            os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())


def _verify_copy(source: sqlite3.Connection, part: Path) -> None:
    with closing(untouched(part)) as copy:
        fault = first_fault(copy, "PRAGMA quick_check(1)")
        if fault is not None:
            raise DamagedStoreError(
                f"The database is damaged ({shown(fault)}), so no backup of it was kept; "
                "`alwatch verify` says more, and older backups are as they were."
            )
        if _tables(copy) != _tables(source):
            raise StoreError(f"{shown(part)} has other tables than were copied; try again.")


def untouched(file: Path) -> sqlite3.Connection:
    """A file that nobody writes to, opened so that nothing appears beside it."""
    return sqlite3.connect(f"{file.absolute().as_uri()}?immutable=1", uri=True)


def _tables(db: sqlite3.Connection) -> list[tuple[object, ...]]:
    return [
        *db.execute("PRAGMA user_version"),
        *db.execute("SELECT name, sql FROM sqlite_master ORDER BY name"),
    ]


def schema_of(file: Path) -> int:
    """The schema version of a database of alwatch.

    Raises
    ------
    StoreError
        It is none, cannot be read, or is newer than this software.
    """
    with _reading(file) as db:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    if not tables >= _TABLES:
        raise StoreError(f"{shown(file)} is not a database of alwatch; name a backup.")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{shown(file)} was written by a newer alwatch (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); install that version."
        )
    return version


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unwritable(target: Path, reason: str) -> StoreError:
    """The error for a file that the disk does not take."""
    return StoreError(
        f"{shown(target)} cannot be written: {reason}. Make room, or make its folder writable; a "
        "folder of backups that is not there must be made, or its drive mounted."
    )
