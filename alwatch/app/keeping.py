"""The care of the database: backups, restoring, looking through."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from alwatch.app.seasons import WithSeasons
from alwatch.errors import (
    NothingToDoError,
    shown,
)
from alwatch.store import database_in

if TYPE_CHECKING:
    from alwatch.backups import BackupClock
    from alwatch.store.backup_files import Backup
    from alwatch.store.restoring import Restored


class WithKeeping(WithSeasons):
    """Backups and integrity."""

    @property
    def database(self) -> Path:
        """The database, whether it is there or not."""
        return database_in(self.settings.state_dir)

    def newest_backup(self) -> Backup | None:
        """The newest of the backups that are kept."""
        from alwatch.store.backup_files import backups_in

        return next(reversed(backups_in(self.backup_folder)), None)

    @cached_property
    def backups(self) -> BackupClock:
        """What makes backups beside the daemon's work."""
        from alwatch.backups import BackupClock

        return BackupClock(
            self.database,
            self.backup_folder,
            every_s=self.settings.backup.every_h * 3600,
            keep=self.settings.backup.keep,
            clock=self.clock,
            timer=time.monotonic,
        )

    def back_up(self, file: Path | None = None) -> Backup:
        """Make a backup now, in the folder of backups or as the file that is named.

        Parameters
        ----------
        file : Path, optional
            Where it is a folder, the backup gets a name in it.

        Raises
        ------
        SettingsError
            It lies in the archive.
        StoreError
            There is no database yet, it is damaged, or the backup cannot be written.
        """
        from alwatch.store.backing_up import back_up, write_backup
        from alwatch.store.backup_files import Backup, backup_name

        now = self.clock()
        if file is None:
            keep = self.settings.backup.keep
            return back_up(self.database, self.backup_folder, keep=keep, now=now)
        target = file / backup_name(now) if file.is_dir() else file
        self._refuse_in_archive("The backup", target)
        write_backup(self.database, target)
        return Backup(target, now)

    def restore(self, file: Path) -> Restored:
        """Put a backup in the database's place; only the lock's holder may call this.

        Raises
        ------
        StoreError
            As `store.restoring.restore_backup`.
        """
        from alwatch.store.restoring import restore_backup

        index = self.settings.state_dir / "index"
        return restore_backup(file, self.database, index=index, now=self.clock())

    def verify(self) -> Iterator[str]:
        """What is wrong with the database and the similarity index, one line each.

        Raises
        ------
        NothingToDoError
            There is no database yet.
        StoreError
            It cannot be read.
        """
        from alwatch.store.connection import SCHEMA_VERSION
        from alwatch.store.integrity import faults_of, schema_of_database

        if not self.database.exists():
            raise NothingToDoError(
                f"{shown(self.database)} is not there, so there is nothing to look through; "
                "`alwatch ingest` makes it."
            )
        is_sound = True
        for fault in faults_of(self.database, backups=self.backup_folder):
            is_sound = False
            yield fault
        if is_sound and schema_of_database(self.database) == SCHEMA_VERSION:
            yield from self._index_faults()

    def _index_faults(self) -> Iterator[str]:
        with self.store.pools.one_view():
            for identity in self.store.pools.embedders():
                index = self._index_of(identity)
                parts = self._parts_since(identity)
                if fault := index.fault(parts):
                    yield f"the similarity index of {shown(identity.name)} {fault}"
