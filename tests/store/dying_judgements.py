"""Judgements that die: `python -m tests.store.dying_judgements FOLDER ACTION`.

Does the action again and again, in a forked process that ends, without any clean-up, before the
first statement, the second, and so on, until the action has no more. Prints as JSON, for each
time, the exit code and what the store says then; the test judges it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

from alwatch.store import Store
from tests.store.helpers import NEW, NOW, OLD

KILLED = 9


class Dying:
    """A connection that ends this process before its `step`-th statement."""

    def __init__(self, connection: sqlite3.Connection, step: int) -> None:
        self._connection = connection
        self._left = step

    def execute(self, *args: Any) -> sqlite3.Cursor:
        if self._left == 0:
            os._exit(KILLED)
        self._left -= 1
        return self._connection.execute(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def do(folder: Path, action: str, step: int) -> None:
    store = Store(folder)
    connection: Any = store.snapshots._connection
    connection._sqlite = Dying(connection._sqlite, step)
    given: dict[str, Any] = {"judge": "gate", "reason": "r", "now": NOW, "against": OLD}
    if action == "promote":
        store.snapshots.promote(NEW, **given)
    elif action == "set_aside":
        store.snapshots.set_aside(NEW, **given)
    else:
        store.snapshots.roll_back(NEW, now=NOW, against=OLD)


def seen(folder: Path) -> list[Any]:
    with Store(folder) as store:
        current, candidate = store.snapshots.current().snapshot, store.snapshots.candidate()
        assert current is not None
        verdicts = [judgement.verdict for judgement in store.snapshots.judgements()]
        return [current.name, candidate.name if candidate else None, verdicts]


def main() -> None:
    folder, action = Path(sys.argv[1]), sys.argv[2]
    told: list[tuple[int, list[Any]]] = []
    while not told or told[-1][0] != 0:
        pid = os.fork()
        if pid == 0:
            do(folder, action, len(told))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        told.append((os.waitstatus_to_exitcode(status), seen(folder)))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
