"""Queues, their exports, and the labels that come back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from alwatch.errors import StoreError
from alwatch.records import (
    LabelledFrame,
    LabelledPoint,
    Queue,
    QueuedVideo,
    QueueFrame,
    Snapshot,
)
from alwatch.store.connection import Connection, to_blob, to_moment, to_path, to_text
from alwatch.store.videos import PATH_OF_VIDEO


@dataclass(frozen=True, slots=True)
class QueueSummary:
    """A queue in figures."""

    id: int
    season: str
    strategy: str
    seed: int
    created_at: datetime
    frames: int
    labelled: int
    exported_to: tuple[str, ...]


class Queues:
    """What was chosen for labelling, where it went, and what was labelled."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self,
        *,
        season: str,
        strategy: str,
        seed: int,
        budget: int,
        picks: Sequence[tuple[int, int, float, str]],
        manifest: dict[str, Any],
        now: datetime,
    ) -> Queue:
        """Keep a queue; `picks` are (video id, frame index, score, reason) in rank order.

        What the manifest has as `review`, in the same form, comes back as `Queue.review`.

        Raises
        ------
        StoreError
            Another process has queued one of these frames in the meantime.
        """
        try:
            queue_id = self._insert(season, strategy, seed, budget, picks, manifest, now)
        except sqlite3.IntegrityError as error:
            raise StoreError(
                f"The queue for season {season} was not kept: another queue took some of its "
                "frames while it was being chosen; ask for it again."
            ) from error
        return self.get(queue_id)

    def _insert(
        self,
        season: str,
        strategy: str,
        seed: int,
        budget: int,
        picks: Sequence[tuple[int, int, float, str]],
        manifest: dict[str, Any],
        now: datetime,
    ) -> int:
        with self._connection.write() as db:
            queue_id = db.execute(
                "INSERT INTO queues (season, strategy, seed, budget, created_at, manifest) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                [season, strategy, seed, budget, to_text(now), json.dumps(manifest)],
            ).lastrowid
            assert queue_id is not None
            db.executemany(
                "INSERT INTO queue_frames (queue_id, rank, video_id, frame_index, score, reason) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                [(queue_id, rank, *pick) for rank, pick in enumerate(picks, start=1)],
            )
        return queue_id

    def get(self, queue_id: int) -> Queue:
        """One queue with its frames in rank order.

        Raises
        ------
        KeyError
            There is no such queue.
        """
        rows = self._connection.rows("SELECT * FROM queues WHERE id = ?", [queue_id])
        if not rows:
            raise KeyError(queue_id)
        frames = self._connection.rows(
            "SELECT rank, video_id, frame_index, score, queue_frames.reason, "
            f"{PATH_OF_VIDEO} AS path FROM queue_frames JOIN videos ON videos.id = video_id "
            "WHERE queue_id = ? ORDER BY rank",
            [queue_id],
        )
        head = rows[0]
        manifest = json.loads(head["manifest"])
        created_at = to_moment(head["created_at"])
        assert created_at is not None
        return Queue(
            id=queue_id,
            season=head["season"],
            strategy=head["strategy"],
            seed=head["seed"],
            budget=head["budget"],
            created_at=created_at,
            manifest=manifest,
            frames=tuple(
                QueueFrame(
                    video_id=row["video_id"],
                    video=to_path(row["path"]),
                    frame=row["frame_index"],
                    rank=row["rank"],
                    score=row["score"],
                    reason=row["reason"],
                )
                for row in frames
            ),
            review=tuple(
                QueueFrame(video_id, self._path_of(video_id), frame, rank, score, reason)
                for rank, (video_id, frame, score, reason) in enumerate(
                    manifest.get("review", []), start=1
                )
            ),
        )

    def _path_of(self, video_id: int) -> Path:
        sql = f"SELECT {PATH_OF_VIDEO} FROM videos WHERE id = ?"
        return to_path(self._connection.value(sql, [video_id]))

    def by_video(self, queue: Queue) -> list[QueuedVideo]:
        """The queue's frames video by video, each video's in frame order."""
        videos = []
        for video_id in sorted({frame.video_id for frame in queue.frames}):
            row = self._connection.rows("SELECT * FROM videos WHERE id = ?", [video_id])[0]
            frames = [frame for frame in queue.frames if frame.video_id == video_id]
            videos.append(
                QueuedVideo(
                    path=frames[0].video,
                    content_hash=row["content_hash"],
                    width_px=row["width_px"],
                    height_px=row["height_px"],
                    n_frames=row["n_frames"],
                    frames=tuple(sorted(frames, key=lambda frame: frame.frame)),
                )
            )
        return videos

    def summaries(self) -> list[QueueSummary]:
        """Every queue, the newest last."""
        rows = self._connection.rows(
            """
            SELECT queues.*,
                (SELECT COUNT(*) FROM queue_frames WHERE queue_id = queues.id) AS frames,
                (SELECT COUNT(*) FROM queue_frames AS q WHERE queue_id = queues.id AND EXISTS (
                    SELECT 1 FROM labels WHERE labels.video_id = q.video_id
                    AND labels.frame_index = q.frame_index)) AS labelled,
                (SELECT json_group_array(tool) FROM exports WHERE queue_id = queues.id) AS tools
            FROM queues ORDER BY id
            """
        )
        return [
            QueueSummary(
                id=row["id"],
                season=row["season"],
                strategy=row["strategy"],
                seed=row["seed"],
                created_at=datetime.fromisoformat(row["created_at"]),
                frames=row["frames"],
                labelled=row["labelled"],
                exported_to=tuple(sorted(set(json.loads(row["tools"])))),
            )
            for row in rows
        ]

    # --- exports and labels --------------------------------------------------------------------

    def add_export(
        self,
        queue: Queue,
        tool: str,
        project: Path,
        written: int,
        folders: Iterable[tuple[str, int]],
        now: datetime,
    ) -> None:
        """Record that a queue lies in a project; `folders` are (folder name, video id)."""
        key = (tool, to_blob(project))
        with self._connection.write() as db:
            db.execute(
                "INSERT INTO exports VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET exported_at = excluded.exported_at",
                [queue.id, *key, to_text(now), written],
            )
            db.executemany(
                "INSERT OR REPLACE INTO export_folders VALUES (?, ?, ?, ?)",
                [(*key, folder, video_id) for folder, video_id in folders],
            )

    def exported_to(self) -> set[tuple[str, Path]]:
        """Every (tool, project) that a queue was exported to."""
        rows = self._connection.rows("SELECT DISTINCT tool, project FROM exports")
        return {(row["tool"], to_path(row["project"])) for row in rows}

    def export_folders(self, tool: str, project: Path) -> dict[str, int]:
        """Folder name to video id, for what was exported to or labelled in this project."""
        rows = self._connection.rows(
            "SELECT folder, video_id FROM export_folders WHERE tool = ? AND project = ?",
            [tool, to_blob(project)],
        )
        return {row["folder"]: row["video_id"] for row in rows}

    def set_labels(
        self,
        tool: str,
        project: Path,
        labels: Iterable[tuple[int, LabelledFrame]],
        now: datetime,
    ) -> tuple[int, int]:
        """Make a project's labels what was read from it; how many are new, how many are gone.

        Points that a person has moved since are taken over. Videos with a new label on a frame
        that was never looked at are scored again, so that the model's error there is known.
        Which folder is which video's is remembered: another video of that name may come.
        """
        key = [tool, to_blob(project)]
        labels = list(labels)
        folders = sorted({(label.folder, video_id) for video_id, label in labels})
        wanted = {(video_id, label.frame): _points_to_text(label) for video_id, label in labels}
        with self._connection.write() as db:
            had = {
                (row["video_id"], row["frame_index"]): row["points"]
                for row in db.execute(
                    "SELECT video_id, frame_index, points FROM labels "
                    "WHERE tool = ? AND project = ?",
                    key,
                )
            }
            new, gone = wanted.keys() - had.keys(), had.keys() - wanted.keys()
            db.executemany(
                "INSERT OR IGNORE INTO export_folders VALUES (?, ?, ?, ?)",
                [(*key, folder, video_id) for folder, video_id in folders],
            )
            db.executemany(
                "DELETE FROM labels WHERE video_id = ? AND frame_index = ? "
                "AND tool = ? AND project = ?",
                [(*frame, *key) for frame in gone],
            )
            db.executemany(
                "INSERT INTO labels VALUES (?, ?, ?, ?, ?, ?)",
                [(*frame, *key, to_text(now), wanted[frame]) for frame in new],
            )
            db.executemany(
                "UPDATE labels SET points = ? WHERE video_id = ? AND frame_index = ? "
                "AND tool = ? AND project = ?",
                [
                    (wanted[frame], *frame, *key)
                    for frame in wanted.keys() & had.keys()
                    if wanted[frame] != had[frame]
                ],
            )
            db.executemany(
                "UPDATE scorings SET state = 'stale', attempts = 0 WHERE video_id = ? AND "
                "state = 'done' AND NOT EXISTS (SELECT 1 FROM frames "
                "WHERE frames.video_id = scorings.video_id AND frame_index = ?)",
                sorted(new),
            )
        return len(new), len(gone)

    def labelled_points(
        self, *, after: Snapshot | None = None
    ) -> dict[tuple[int, int], tuple[LabelledPoint, ...]]:
        """Points of every labelled frame that has any, by (video id, frame index).

        Where several projects label one frame, the one that was noticed last counts.

        Parameters
        ----------
        after : Snapshot, optional
            Only labels that were noticed after this snapshot was: it cannot know them.
        """
        where, parameters = "", []
        if after is not None:
            where = (
                "AND noticed_at > (SELECT first_seen_at FROM snapshots "
                "WHERE kind = ? AND sha256 = ?)"
            )
            parameters = [after.kind, after.sha256]
        rows = self._connection.rows(
            f"SELECT video_id, frame_index, points FROM labels WHERE points IS NOT NULL {where} "
            "ORDER BY noticed_at",
            parameters,
        )
        return {
            (row["video_id"], row["frame_index"]): tuple(
                LabelledPoint(*point) for point in json.loads(row["points"])
            )
            for row in rows
        }


def _points_to_text(label: LabelledFrame) -> str | None:
    points = [[p.individual, p.bodypart, p.x_px, p.y_px] for p in label.points]
    return json.dumps(points) if points else None
