"""What is wrong with a database, in words that name the remedy."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alwatch.errors import DamagedStoreError, StoreError, shown
from alwatch.store.backup_files import backups_in

WHOLE_BYTES = 2**28
"""Up to this size the quick check reads the whole file, which takes a second from a cold disk."""

ARRAY_TABLES = ("vectors", "scores")
"""Nearly all bytes of a large database; `alwatch verify` reads them."""

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def quick_fault(db: sqlite3.Connection) -> str | None:
    """The first thing that SQLite's quick check finds; None where it finds nothing.

    The check's time grows with the file, so of a large one the tables that hold arrays are left
    out: what remains is about a hundredth of it.

    Raises
    ------
    sqlite3.Error
        The database cannot be read.
    """
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    page_bytes = db.execute("PRAGMA page_size").fetchone()[0]
    if pages * page_bytes <= WHOLE_BYTES:
        return first_fault(db, "PRAGMA quick_check(1)")
    tables = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    for (name,) in tables:
        if name not in ARRAY_TABLES and (fault := first_fault(db, f"PRAGMA quick_check({name})")):
            return fault
    return None


def first_fault(db: sqlite3.Connection, check: str) -> str | None:
    """The first fault that a check of SQLite reports; None where it reports none."""
    try:
        (text,) = db.execute(check).fetchone()
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return str(error)
        raise
    # The first line only says which database was looked at.
    return None if text == "ok" else text.removeprefix("*** in database main ***\n")


def is_damage(error: Exception) -> bool:
    """Whether SQLite says that the file itself is broken."""
    # The lower byte is the kind, the rest says where.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def damaged(path: Path, fault: str, backups: Path) -> DamagedStoreError:
    """The error for a damaged database: it names the newest backup, or says that there is none."""
    found = backups_in(backups)
    if found:
        newest = found[-1]
        remedy = (
            f"bring back the backup of {newest.made_at:%Y-%m-%d %H:%M} UTC by "
            f"`alwatch restore {shown(newest.path)}`"
        )
    else:
        remedy = (
            f"there is no backup in {shown(backups)}: move it away, and `alwatch ingest` reads the "
            "archive anew"
        )
    return DamagedStoreError(
        f"{shown(path)} is damaged ({shown(fault)}) and was left as it is; {remedy}."
    )


def explained(error: Exception, path: Path, backups: Path) -> StoreError:
    """What SQLite or the system says of a database, with the remedy."""
    text = str(error)
    if is_damage(error):
        return damaged(path, text, backups)
    if "locked" in text:
        remedy = "another program has held it for a minute; end it and try again"
    elif "full" in text:
        remedy = "make room on its disk; alwatch goes on by itself"
    else:
        remedy = "check that state_dir exists on a local disk and may be written"
    return StoreError(f"{path} cannot be used: {text}; {remedy}.")
