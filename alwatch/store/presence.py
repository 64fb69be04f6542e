"""Who has the database of a folder open: anybody may, but for the one who replaces its file."""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path
from typing import Self

from alwatch.errors import StoreError, shown


class Presence:
    """Holds a folder's database open, together with others or alone, until it is left.

    SQLite finds a database's log by its name, so whoever still has the old file open when another
    one gets that name would write into the log of the new one.

    Parameters
    ----------
    folder : Path
    alone : bool
        Whether nobody else may have it open; others who come then wait.

    Raises
    ------
    StoreError
        Another process has it open, and `alone` is asked for.
    OSError
        The folder cannot be opened.
    """

    def __init__(self, folder: Path, *, alone: bool = False) -> None:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.leave = weakref.finalize(self, os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        except BlockingIOError:
            self.leave()
            raise StoreError(
                f"The database in {shown(folder)} is open in another process; end every alwatch "
                "command, and try again."
            ) from None
        except OSError:
            if alone:
                self.leave()
                raise
            # A network share without locks may well hold a backup, but never the database.

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.leave()
