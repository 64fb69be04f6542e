"""What every season was found to be like, and what state that put it in, as a history."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from alwatch.records import EmbedderIdentity
from alwatch.store.connection import Connection, moment, to_text
from alwatch.store.videos import IS_KNOWN


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

    def fingerprints(self, embedder: EmbedderIdentity) -> dict[str, tuple[Any, ...]]:
        """Counts and last changes of all that a season's figures are computed from.

        Of other seasons: how often their videos have doubled, and whether any has yet to be
        scored.
        """
        (labels,) = self._connection.rows(
            "SELECT COUNT(*), MAX(changed_at), SUM(frame_index), "
            "(SELECT COUNT(*) FROM queue_frames WHERE NOT withdrawn), "
            "(SELECT COUNT(*) FROM queues) FROM labels"
        )
        model = self._connection.rows(
            "SELECT snapshot_id, problem IS NULL, taught_until, held_out FROM pose_model "
            "LEFT JOIN snapshots ON snapshots.id = snapshot_id"
        )
        shared = (embedder, *labels, *(value for row in model for value in row))
        rows = self._connection.rows(
            "SELECT season, COUNT(*) AS videos, COUNT(revision) AS embedded, MAX(revision), "
            "SUM(revision), COUNT(scored_at) AS scored, MAX(scored_at), SUM(videos.id) FROM "
            f"(SELECT id, season FROM videos WHERE {IS_KNOWN}) AS videos "
            "LEFT JOIN (SELECT video_id, revision FROM vectors "
            "JOIN embedders ON embedders.id = embedder_id "
            "WHERE name = ? AND weights = ? AND dim = ?) AS own ON own.video_id = videos.id "
            "LEFT JOIN (SELECT video_id, changed_at AS scored_at FROM scorings "
            "WHERE state IN ('done', 'failed') AND snapshot_id = "
            "(SELECT snapshot_id FROM pose_model)) AS ours ON ours.video_id = videos.id "
            "GROUP BY season",
            [embedder.name, embedder.weights, embedder.dim],
        )
        videos = sum(row["embedded"] for row in rows)
        to_score = sum(row["videos"] - row["scored"] for row in rows)
        return {
            row["season"]: (
                *shared,
                *row,
                (videos - row["embedded"]).bit_length(),
                to_score > row["videos"] - row["scored"],
            )
            for row in rows
        }

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

    def since(self, season: str, moment: datetime) -> list[Assessment]:
        """A season's assessments, from the last one that was there at a moment."""
        rows = self._connection.rows(
            "SELECT * FROM assessments WHERE season = ? AND id >= COALESCE((SELECT id FROM "
            "assessments WHERE season = ? AND assessed_at <= ? ORDER BY id DESC LIMIT 1), 0) "
            "ORDER BY id",
            [season, season, to_text(moment)],
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
