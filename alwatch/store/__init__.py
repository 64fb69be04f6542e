"""The store: the only owner of the database. All SQL is in this folder.

The store is the queue (a step takes rows in one state and writes its results and the new state
in one transaction), so whatever a kill interrupts is simply done again.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from alwatch.store.connection import Connection
from alwatch.store.labels import Labels
from alwatch.store.pools import Pools
from alwatch.store.projects import Projects
from alwatch.store.queues import Queues
from alwatch.store.scores import Scores
from alwatch.store.seasons import Seasons
from alwatch.store.snapshots import Snapshots
from alwatch.store.triggers import Triggers
from alwatch.store.videos import Videos

__all__ = ["Store", "backups_beside", "database_in"]

DATABASE_NAME = "alwatch.sqlite"


def database_in(state_dir: Path) -> Path:
    """The database of a state folder."""
    return state_dir / DATABASE_NAME


def backups_beside(state_dir: Path) -> Path:
    """Where its backups are kept unless the settings name another folder."""
    return state_dir / "backups"


class Store:
    """An open state folder: one connection, and a part for each kind of content.

    Parameters
    ----------
    state_dir : Path
        Created where it is missing.
    checkpoints : bool
        Whether this process moves the write-ahead log into the database. The daemon does; a
        command that runs beside it must not, so that there is always one process that checkpoints.
    backups : Path, optional
        Where backups are kept; `state_dir`/backups without it.

    Raises
    ------
    StoreError
        The folder cannot be written, or its database is newer than this software.
    DamagedStoreError
        Its database is damaged, so far as that is seen without looking through it: that is done
        before the first write.
    """

    def __init__(
        self, state_dir: Path, *, checkpoints: bool = False, backups: Path | None = None
    ) -> None:
        self.state_dir = state_dir
        self._connection = Connection(
            database_in(state_dir),
            checkpoints=checkpoints,
            backups=backups or backups_beside(state_dir),
        )
        self.videos = Videos(self._connection)
        self.pools = Pools(self._connection)
        self.queues = Queues(self._connection)
        self.labels = Labels(self._connection)
        self.snapshots = Snapshots(self._connection)
        self.projects = Projects(self._connection)
        self.scores = Scores(self._connection)
        self.seasons = Seasons(self._connection)
        self.triggers = Triggers(self._connection)

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
