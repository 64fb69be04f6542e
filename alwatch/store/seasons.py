"""What every season was found to be like, and what state that put it in, as a history."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from alwatch.store.connection import Connection, moment, to_text


@dataclass(frozen=True, slots=True)
class Assessment:
    """A season's figures at one moment; `inputs` tells what they were computed from."""

    season: str
    inputs: str
    figures: dict[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class SeasonChange:
    """A season came into a state at a moment, for a reason."""

    season: str
    state: str
    reason: str
    at: datetime


class Seasons:
    """Assessments and changes of state, the oldest first; nothing of it is ever changed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def assess(self, season: str, inputs: str, figures: dict[str, Any], now: datetime) -> None:
        """Keep what a season is like now."""
        with self._connection.write() as db:
            db.execute(
                "INSERT INTO assessments (season, inputs, figures, assessed_at) "
                "VALUES (?, ?, ?, ?)",
                [season, inputs, json.dumps(figures), to_text(now)],
            )

    def enter(self, season: str, state: str, reason: str, now: datetime) -> bool:
        """Keep the state that a season is in; whether it was in another before.

        The reason of a state that goes on is not kept again.
        """
        with self._connection.write() as db:
            before = db.execute(
                "SELECT state FROM season_changes WHERE season = ? ORDER BY id DESC LIMIT 1",
                [season],
            ).fetchone()
            if before is not None and before["state"] == state:
                return False
            db.execute(
                "INSERT INTO season_changes (season, state, reason, changed_at) "
                "VALUES (?, ?, ?, ?)",
                [season, state, reason, to_text(now)],
            )
        return True

    def latest(self) -> dict[str, Assessment]:
        """The last assessment of every season that has one."""
        rows = self._connection.rows(
            "SELECT * FROM assessments WHERE id IN "
            "(SELECT MAX(id) FROM assessments GROUP BY season) ORDER BY season"
        )
        return {row["season"]: _assessment(row) for row in rows}

    def assessments(self, season: str | None = None) -> list[Assessment]:
        """Every assessment, of one season or of all, in the order that they were made in."""
        rows = self._connection.rows(
            "SELECT * FROM assessments WHERE ? IS NULL OR season = ? ORDER BY id",
            [season, season],
        )
        return [_assessment(row) for row in rows]

    def states(self) -> dict[str, SeasonChange]:
        """The state that every season is in, and since when."""
        return {change.season: change for change in self.changes()}

    def changes(self, season: str | None = None) -> list[SeasonChange]:
        """Every change of state, of one season or of all."""
        rows = self._connection.rows(
            "SELECT * FROM season_changes WHERE ? IS NULL OR season = ? ORDER BY id",
            [season, season],
        )
        return [
            SeasonChange(row["season"], row["state"], row["reason"], moment(row["changed_at"]))
            for row in rows
        ]


def _assessment(row: sqlite3.Row) -> Assessment:
    figures = json.loads(row["figures"])
    return Assessment(row["season"], row["inputs"], figures, moment(row["assessed_at"]))
