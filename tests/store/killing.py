"""Processes that die at a chosen change of the disk, and databases with a broken page."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS = (
    "fsync",
    "link",
    "rename",
    "replace",
    "unlink",
    "mkdir",
    "fchmod",
    "chmod",
    "chown",
    "utime",
)


def kill_at(step: int) -> None:
    """Let this process be killed before its `step`-th change of the disk.

    What SQLite changes itself is counted where it is opened.
    """
    left = step

    def dying(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return change(*args, **kwargs)

        return call

    for name in STEPS:
        setattr(os, name, dying(getattr(os, name)))
    for module, name in ((shutil, "rmtree"), (sqlite3, "connect")):
        setattr(module, name, dying(getattr(module, name)))


def in_child(body: Callable[[], Any]) -> int:
    """Run in a child process; its exit code, or the signal that ended it as a negative number."""
    child = os.fork()
    if child == 0:
        try:
            body()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def damage(database: Path, table: str) -> None:
    """Overwrite the first page of a table in a closed database."""
    with sqlite3.connect(database) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page_bytes = db.execute("PRAGMA page_size").fetchone()[0]
        sql = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        page = db.execute(sql, [table]).fetchone()[0]
    with open(database, "r+b") as file:
        file.seek((page - 1) * page_bytes)
        file.write(b"\x55" * page_bytes)
