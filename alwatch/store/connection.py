"""One SQLite connection: how it is opened, how it reads and how it writes."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alwatch.errors import StoreError
from alwatch.store.damage import damaged, explained, quick_fault
from alwatch.store.presence import Presence

SCHEMA_VERSION = 4
"""Number of migrations in schema.py; kept in the database's `user_version`."""

BUSY_TIMEOUT_S = 60.0


class Connection:
    """A connection in write-ahead mode with foreign keys on and full synchronisation.

    sqlite-utils, which applies the migrations, takes a third of a second to import, so it is
    imported only where a migration is pending.

    Parameters
    ----------
    path : Path
        Made where it is missing.
    checkpoints : bool
        Whether this process moves the write-ahead log into the database.
    backups : Path
        Where a person who meets a damaged database is sent to.
    """

    def __init__(self, path: Path, *, checkpoints: bool, backups: Path) -> None:
        self._path = path
        self._backups = backups
        self._is_checked = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._presence = Presence(path.parent)
            self._sqlite = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._sqlite.row_factory = sqlite3.Row
            self._sqlite.execute("PRAGMA journal_mode = WAL")
            self._sqlite.execute("PRAGMA synchronous = FULL")
            self._sqlite.execute("PRAGMA foreign_keys = ON")
            if not checkpoints:
                self._sqlite.execute("PRAGMA wal_autocheckpoint = 0")
            version = self._sqlite.execute("PRAGMA user_version").fetchone()[0]
        except (OSError, sqlite3.Error) as error:
            raise self._explain(error) from error
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{path} was written by a newer alwatch (schema {version}, this one knows "
                f"{SCHEMA_VERSION}); install that version, or name another state_dir."
            )
        if version < SCHEMA_VERSION:
            self._migrate()

    def _migrate(self) -> None:
        import sqlite_utils

        from alwatch.store.schema import MIGRATIONS

        with self.write():  # another process may be migrating: the first one does the work
            MIGRATIONS.apply(sqlite_utils.Database(self._sqlite))
            self._sqlite.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def rows(self, sql: str, parameters: Iterable[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a reading statement."""
        try:
            return self._sqlite.execute(sql, tuple(parameters)).fetchall()
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def value(self, sql: str, parameters: Iterable[Any] = ()) -> Any:
        """First column of the first row, or None."""
        rows = self.rows(sql, parameters)
        return rows[0][0] if rows else None

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction that takes the write lock at once, so that it never has to be upgraded.

        Raises
        ------
        StoreError
            The database stayed locked for a minute, or the disk is full; nothing of the
            transaction was kept.
        DamagedStoreError
            The database is damaged; it is looked through before the first write.
        """
        try:
            self._check_once()
            self._sqlite.execute("BEGIN IMMEDIATE")
            try:
                yield self._sqlite
                self._sqlite.execute("COMMIT")
            except BaseException:
                if self._sqlite.in_transaction:
                    self._sqlite.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError:
            raise  # a defect of alwatch, not a condition of the machine
        except sqlite3.Error as error:
            raise self._explain(error) from error

    @contextmanager
    def one_view(self) -> Iterator[None]:
        """Let all reads inside see the database as it is at the first of them."""
        if self._sqlite.in_transaction:  # one view already
            yield
            return
        self._sqlite.execute("BEGIN")
        try:
            yield
        finally:
            self._sqlite.execute("ROLLBACK")

    def close(self) -> None:
        """Close; an open transaction is rolled back."""
        self._sqlite.close()
        self._presence.leave()

    def _check_once(self) -> None:
        """Never work on a damaged database."""
        if self._is_checked:
            return
        if fault := quick_fault(self._sqlite):
            raise damaged(self._path, fault, self._backups)
        self._is_checked = True

    def _explain(self, error: Exception) -> StoreError:
        return explained(error, self._path, self._backups)


def to_text(moment: datetime | None) -> str | None:
    """A moment as sortable UTC text."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds")


def to_moment(text: str | None) -> datetime | None:
    """The moment that `to_text` wrote."""
    return None if text is None else datetime.fromisoformat(text)


def moment(text: str) -> datetime:
    """The moment that `to_text` wrote, where there always is one."""
    return datetime.fromisoformat(text)


def to_blob(path: Path) -> bytes:
    """A path as the bytes the file system knows it by: names need not be valid UTF-8."""
    return os.fsencode(path)


def to_path(blob: bytes) -> Path:
    """The path that `to_blob` wrote."""
    return Path(os.fsdecode(blob))
