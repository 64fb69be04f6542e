"""The clock of backups: one now and then, made beside the daemon's other work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from alwatch.errors import StopRequestedError, StoreError, shown
from alwatch.store.backing_up import back_up
from alwatch.store.backup_files import backups_in

log = logging.getLogger(__name__)

RETRY_S = 3600.0
"""So long after a backup that failed the next one is tried."""

_END_S = 5.0


class BackupClock:
    """Makes a backup whenever one is due, in a thread with a connection of its own.

    When the next is due goes by the newest backup at first, then by time that only grows.

    Parameters
    ----------
    database, folder : Path
    every_s : float
        0 for never.
    keep : int
        As in `store.backing_up.back_up`.
    clock : callable
        The time of day, in UTC.
    timer : callable
        Seconds that only grow.
    """

    def __init__(
        self,
        database: Path,
        folder: Path,
        *,
        every_s: float,
        keep: int,
        clock: Callable[[], datetime],
        timer: Callable[[], float],
    ) -> None:
        self._database, self._folder = database, folder
        self._every_s, self._keep = every_s, keep
        self._clock, self._timer = clock, timer
        self._thread: threading.Thread | None = None
        self._is_closed = threading.Event()
        self._due_s = timer() + self._first_wait_s()

    def _first_wait_s(self) -> float:
        """What is left of the time after the newest backup; a clock that was set back is none."""
        found = backups_in(self._folder)
        if not found:
            return 0.0
        age_s = (self._clock() - found[-1].made_at).total_seconds()
        return min(max(self._every_s - age_s, 0.0), self._every_s)

    def tick(self) -> None:
        """Begin a backup if one is due; what comes of it is logged. It never waits."""
        if not self._every_s or self._timer() < self._due_s:
            return
        if self._thread is not None and self._thread.is_alive():
            return
        self._due_s = self._timer() + self._every_s
        self._thread = threading.Thread(target=self._work, name="backup", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the one in the making, if any, and leave nothing of it."""
        self._is_closed.set()
        if self._thread is not None:
            self._thread.join(_END_S)

    def _work(self) -> None:
        try:
            made = back_up(
                self._database,
                self._folder,
                keep=self._keep,
                now=self._clock(),
                on_slice=self._go_on,
            )
            log.info("backup made: %s", shown(made.path))
        except StopRequestedError:
            pass
        except StoreError as error:
            self._due_s = self._timer() + min(RETRY_S, self._every_s)
            log.error("No backup was made: %s", error)

    def _go_on(self, left: int, total: int) -> None:
        if self._is_closed.is_set():
            raise StopRequestedError("stopping")
