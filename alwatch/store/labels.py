"""What people have labelled, in which project, and where two of them disagree."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from alwatch.records import LabelledFrame, LabelledPoint, Snapshot
from alwatch.store.connection import Connection, moment, to_blob, to_path, to_text
from alwatch.store.snapshots import ID_OF_SNAPSHOT, Snapshots, key_of

if TYPE_CHECKING:
    import sqlite3

    Key = tuple[int, int, str]  # video id, frame index, labeller

CONFLICT_SHARE = 0.02
"""Of a frame's diagonal: two people whose points lie farther apart do not mean the same place."""


class LabelChanges(NamedTuple):
    """What reading a project again has changed, in frames (once for each labeller)."""

    new: int
    changed: int
    gone: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two labels of one frame that do not agree.

    `bodypart` is the one that lies farthest apart, by `distance_px`; None where one has labelled
    the frame and the other says that nothing is there.
    """

    video_id: int
    frame: int
    who: tuple[str, str]
    bodypart: str | None
    distance_px: float | None


class Labels:
    """The labels of all projects."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def set(
        self,
        tool: str,
        project: Path,
        labels: Iterable[tuple[int, LabelledFrame]],
        now: datetime,
    ) -> LabelChanges:
        """Make a project's labels what was read from it.

        Videos with a new label on a frame that was never looked at are scored again, so that the
        model's error there is known. Which folder is which video's is remembered: another video
        of that name may come.
        """
        labels = list(labels)
        project_key = (tool, to_blob(project))
        wanted = _wanted(labels)
        with self._connection.write() as db:
            new, changed, gone = _compared(wanted, db.execute(_CONTENT_OF_PROJECT, project_key))
            db.executemany(
                "INSERT OR IGNORE INTO export_folders VALUES (?, ?, ?, ?)",
                sorted({(*project_key, label.folder, video_id) for video_id, label in labels}),
            )
            db.executemany(f"DELETE {_OF_LABEL}", [(*project_key, *key) for key in gone])
            db.executemany(
                "INSERT INTO labels (tool, project, video_id, frame_index, labeller, state, "
                "points, noticed_at, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(*project_key, *key, *wanted[key], to_text(now), to_text(now)) for key in new],
            )
            db.executemany(
                f"UPDATE labels SET state = ?, points = ?, changed_at = ? {_WHERE_LABEL}",
                [(*wanted[key], to_text(now), *project_key, *key) for key in changed],
            )
            db.executemany(
                "UPDATE scorings SET state = 'stale', attempts = 0 WHERE video_id = ? AND "
                "state = 'done' AND NOT EXISTS (SELECT 1 FROM frames "
                "WHERE frames.video_id = scorings.video_id AND frame_index = ?)",
                sorted({key[:2] for key in new}),
            )
        return LabelChanges(len(new), len(changed), len(gone))

    def changes(
        self, tool: str, project: Path, labels: Iterable[tuple[int, LabelledFrame]]
    ) -> LabelChanges:
        """What `set` would change; nothing is."""
        rows = self._connection.rows(_CONTENT_OF_PROJECT, [tool, to_blob(project)])
        return LabelChanges(*map(len, _compared(_wanted(labels), rows)))

    def count(self, tool: str, project: Path) -> int:
        """How many labels are known of a project, one for each labeller of a frame."""
        sql = f"SELECT COUNT(*) {_OF_PROJECT}"
        return int(self._connection.value(sql, [tool, to_blob(project)]))

    def points(
        self, *, after: Snapshot | None = None, held_out: bool = False
    ) -> dict[tuple[int, int], tuple[LabelledPoint, ...]]:
        """Points of every labelled frame that has any, by (video id, frame index).

        Where several people have labelled one frame and agree, the label that was noticed last
        counts; where they do not (see `conflicts`), the frame is left out.

        A snapshot knows no label that was noticed after what it was taught, and either lies on a
        frame that was queued, or came later than the first ones of its video in its project.
        Those that are there when a video's labels are first read may be as old as any.

        Parameters
        ----------
        after : Snapshot, optional
            Only frames of which this snapshot knows no label.
        held_out : bool
            And those that its training has left out: together, the frames on which its error is
            an honest one.
        """
        rows = self._connection.rows(_POINTS, key_of(after) if after else [None, None])
        disputed = {(conflict.video_id, conflict.frame) for conflict in self.conflicts()}
        out = Snapshots(self._connection).held_out(after) if after and held_out else frozenset()
        known = {_frame_of(row) for row in rows if not row["is_unknown"]} if after else set()
        left_out = disputed | (known - out)
        return {_frame_of(row): _points_of(row) for row in rows if _frame_of(row) not in left_out}

    def frames(self) -> dict[int, list[int]]:
        """Frames that people are done with, in whatever way, by video id; in order."""
        rows = self._connection.rows(
            "SELECT DISTINCT video_id, frame_index FROM labels ORDER BY video_id, frame_index"
        )
        of_videos: dict[int, list[int]] = {}
        for row in rows:
            of_videos.setdefault(row["video_id"], []).append(row["frame_index"])
        return of_videos

    def noticed_at(self) -> dict[tuple[int, int], datetime]:
        """When each (video id, frame index) that has points was first noticed to have them."""
        rows = self._connection.rows(
            "SELECT video_id, frame_index, MIN(noticed_at) AS first FROM labels "
            "WHERE points IS NOT NULL GROUP BY video_id, frame_index"
        )
        return {(row["video_id"], row["frame_index"]): moment(row["first"]) for row in rows}

    def conflicts(self) -> list[Conflict]:
        """Frames on which two labels do not agree, by video and frame.

        They do not where points of one bodypart lie more than `CONFLICT_SHARE` of the frame's
        diagonal apart, or where one says that nothing is there.
        """
        rows = self._connection.rows(
            "SELECT labels.*, width_px, height_px FROM labels "
            "JOIN videos ON videos.id = video_id JOIN (SELECT video_id, frame_index FROM labels "
            "WHERE state != 'skipped' GROUP BY video_id, frame_index HAVING COUNT(*) > 1) AS twice "
            "USING (video_id, frame_index) WHERE labels.state != 'skipped' "
            "ORDER BY video_id, frame_index, tool, project, labeller"
        )
        return [
            conflict
            for _, of_frame in groupby(rows, key=lambda row: (row["video_id"], row["frame_index"]))
            for conflict in _conflicts(list(of_frame))
        ]


_POINTS = f"""
    WITH firsts AS (
        SELECT video_id, tool, project, MIN(noticed_at) AS first_at
        FROM labels GROUP BY video_id, tool, project
    ),
    taught AS (SELECT taught_until FROM snapshots WHERE id = {ID_OF_SNAPSHOT})
    SELECT labels.*, noticed_at > (SELECT taught_until FROM taught) AND (
        noticed_at > first_at OR EXISTS (
            SELECT 1 FROM queue_frames WHERE NOT withdrawn
            AND queue_frames.video_id = labels.video_id
            AND queue_frames.frame_index = labels.frame_index
        )
    ) AS is_unknown
    FROM labels JOIN firsts USING (video_id, tool, project)
    WHERE points IS NOT NULL ORDER BY noticed_at
"""
_WHERE_LABEL = (
    "WHERE tool = ? AND project = ? AND video_id = ? AND frame_index = ? AND labeller = ?"
)
_OF_LABEL = f"FROM labels {_WHERE_LABEL}"
_OF_PROJECT = "FROM labels WHERE tool = ? AND project = ?"
_CONTENT_OF_PROJECT = f"SELECT video_id, frame_index, labeller, state, points {_OF_PROJECT}"


def _wanted(
    labels: Iterable[tuple[int, LabelledFrame]],
) -> dict[Key, tuple[str, str | None]]:
    return {
        (video_id, label.frame, label.labeller): (label.state, _points_to_text(label))
        for video_id, label in labels
    }


def _compared(
    wanted: dict[Key, tuple[str, str | None]], rows: Iterable[sqlite3.Row]
) -> tuple[set[Key], set[Key], set[Key]]:
    """The labels that are new, changed and gone, by these rows of `_CONTENT_OF_PROJECT`."""
    had = {
        (row["video_id"], row["frame_index"], row["labeller"]): (row["state"], row["points"])
        for row in rows
    }
    changed = {key for key in wanted.keys() & had.keys() if wanted[key] != had[key]}
    return wanted.keys() - had.keys(), changed, had.keys() - wanted.keys()


def _conflicts(rows: list[sqlite3.Row]) -> Iterator[Conflict]:
    for one, other in combinations(rows, 2):
        key = (one["video_id"], one["frame_index"], (_who(one), _who(other)))
        if one["state"] != other["state"]:
            yield Conflict(*key, bodypart=None, distance_px=None)
            continue
        places = {(p.individual, p.bodypart): (p.x_px, p.y_px) for p in _points_of(one)}
        apart = [
            (math.dist(places[point.individual, point.bodypart], (point.x_px, point.y_px)), point)
            for point in _points_of(other)
            if (point.individual, point.bodypart) in places
        ]
        distance_px, farthest = max(apart, key=lambda pair: pair[0], default=(0.0, None))
        diagonal_px = math.hypot(one["width_px"], one["height_px"])
        if farthest is not None and distance_px > CONFLICT_SHARE * diagonal_px:
            yield Conflict(*key, bodypart=farthest.bodypart, distance_px=distance_px)


def _who(row: sqlite3.Row) -> str:
    project = to_path(row["project"])
    where = project.parent.name if project.suffix in (".yaml", ".yml") else project.name
    return f"{row['labeller']} in {where}" if row["labeller"] else where


def _frame_of(row: Any) -> tuple[int, int]:
    return row["video_id"], row["frame_index"]


def _points_to_text(label: LabelledFrame) -> str | None:
    points = [[p.individual, p.bodypart, p.x_px, p.y_px] for p in label.points]
    return json.dumps(points) if points else None


def _points_of(row: Any) -> tuple[LabelledPoint, ...]:
    return tuple(LabelledPoint(*point) for point in json.loads(row["points"] or "[]"))
