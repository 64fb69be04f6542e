"""Projects of labelling tools: which are known, and those that move or end."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from alwatch.store.connection import Connection, to_blob, to_path


class Remembered(NamedTuple):
    """What is remembered of a project: how many queues lie in it, and how many labels it gave."""

    queues: int
    labels: int


class Projects:
    """All that is remembered by tool and project: exports, the videos of folders, and labels."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def known(self) -> dict[tuple[str, Path], Remembered]:
        """Every (tool, project) that a queue lies in or that labels came from."""
        rows = self._connection.rows(
            "SELECT tool, project, SUM(queues) AS queues, SUM(labels) AS labels FROM ("
            "SELECT tool, project, 1 AS queues, 0 AS labels FROM exports UNION ALL "
            "SELECT tool, project, 0, 1 FROM labels) GROUP BY tool, project ORDER BY tool, project"
        )
        return {
            (row["tool"], to_path(row["project"])): Remembered(row["queues"], row["labels"])
            for row in rows
        }

    def move(self, tool: str, old: Path, new: Path) -> None:
        """Remember of `new` what is remembered of `old`, in place of what both have."""
        with self._connection.write() as db:
            for table in ("exports", "export_folders", "labels"):
                db.execute(
                    f"UPDATE OR REPLACE {table} SET project = ? WHERE tool = ? AND project = ?",
                    [to_blob(new), tool, to_blob(old)],
                )

    def forget(self, tool: str, project: Path, *, drops_labels: bool) -> None:
        """Forget that queues lie in a project; if it `drops_labels`, all else of it as well.

        Else its folders' videos stay known too, by which its labels are understood if it returns.
        """
        tables = ["exports", "export_folders", "labels"] if drops_labels else ["exports"]
        with self._connection.write() as db:
            for table in tables:
                db.execute(
                    f"DELETE FROM {table} WHERE tool = ? AND project = ?", [tool, to_blob(project)]
                )
