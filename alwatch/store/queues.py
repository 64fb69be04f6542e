"""Queues, where they were exported to, and how far they are labelled."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from alwatch.errors import StoreError
from alwatch.records import Queue, QueuedVideo, QueueFrame
from alwatch.store.connection import Connection, to_blob, to_moment, to_path, to_text
from alwatch.store.videos import PATH_OF_VIDEO


@dataclass(frozen=True, slots=True)
class QueueSummary:
    """A queue in figures; `skipped` frames are those that were passed over, or show nothing."""

    id: int
    season: str
    strategy: str
    seed: int
    created_at: datetime
    frames: int
    labelled: int
    skipped: int
    exported_to: tuple[str, ...]
    withdrawn_at: datetime | None


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
                    fps=row["fps"] or 0.0,
                    frames=tuple(sorted(frames, key=lambda frame: frame.frame)),
                )
            )
        return videos

    def summaries(self) -> list[QueueSummary]:
        """Every queue, the newest last."""
        rows = self._connection.rows(
            """
            WITH done AS (
                SELECT queue_id, COUNT(*) AS frames,
                    SUM(state = 'labelled') AS labelled, SUM(state != 'labelled') AS skipped
                FROM (
                    SELECT queue_id, rank, MIN(state != 'labelled') AS undone, state
                    FROM queue_frames LEFT JOIN labels USING (video_id, frame_index)
                    GROUP BY queue_id, rank
                ) GROUP BY queue_id
            )
            SELECT queues.*, COALESCE(frames, 0) AS frames, COALESCE(labelled, 0) AS labelled,
                COALESCE(skipped, 0) AS skipped,
                (SELECT json_group_array(tool) FROM exports WHERE queue_id = queues.id
                    AND exported_at IS NOT NULL) AS tools
            FROM queues LEFT JOIN done ON queue_id = queues.id ORDER BY id
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
                skipped=row["skipped"],
                exported_to=tuple(sorted(set(json.loads(row["tools"])))),
                withdrawn_at=to_moment(row["withdrawn_at"]),
            )
            for row in rows
        ]

    def withdraw(self, queue: Queue, now: datetime) -> None:
        """Give a queue's frames back to the pool; the queue itself is kept, marked.

        Its exports are forgotten. To withdraw it again changes nothing.
        """
        with self._connection.write() as db:
            db.execute(
                "UPDATE queues SET withdrawn_at = ? WHERE id = ? AND withdrawn_at IS NULL",
                [to_text(now), queue.id],
            )
            db.execute("UPDATE queue_frames SET withdrawn = 1 WHERE queue_id = ?", [queue.id])
            db.execute("DELETE FROM exports WHERE queue_id = ?", [queue.id])

    def exports_of(self, queue: Queue, *, ended: bool = False) -> list[tuple[str, Path]]:
        """Every (tool, project) that this queue was exported to; unless `ended`, begun ones too."""
        rows = self._connection.rows(
            "SELECT tool, project FROM exports WHERE queue_id = ? AND (NOT ? OR exported_at "
            "IS NOT NULL) ORDER BY tool, project",
            [queue.id, ended],
        )
        return [(row["tool"], to_path(row["project"])) for row in rows]

    def frames(self) -> set[tuple[int, int]]:
        """Every (video id, frame index) that lies in a queue; not of withdrawn ones."""
        rows = self._connection.rows(
            "SELECT video_id, frame_index FROM queue_frames WHERE NOT withdrawn"
        )
        return {(row["video_id"], row["frame_index"]) for row in rows}

    def audit_frames(self, season: str | None = None) -> list[tuple[int, int]]:
        """(video id, frame index) of what queues, of a season or of all, have drawn at random.

        Withdrawn queues, and those of versions that kept no such number, have none.
        """
        rows = self._connection.rows(
            "SELECT video_id, frame_index FROM queue_frames JOIN queues ON queues.id = queue_id "
            "WHERE (? IS NULL OR season = ?) AND NOT withdrawn "
            "AND rank <= COALESCE(json_extract(manifest, '$.audit_frames'), 0) "
            "ORDER BY queue_id, rank",
            [season, season],
        )
        return [(row["video_id"], row["frame_index"]) for row in rows]

    # --- exports -------------------------------------------------------------------------------

    def begin_export(self, queue: Queue, tool: str, project: Path) -> None:
        """Record that a queue is about to be put into a project: part of it may be there."""
        with self._connection.write() as db:
            db.execute(
                "INSERT OR IGNORE INTO exports VALUES (?, ?, ?, NULL, 0)",
                [queue.id, tool, to_blob(project)],
            )

    def give_up_export(self, queue: Queue, tool: str, project: Path) -> None:
        """Forget an export that has begun and has put nothing there; a former one is kept."""
        with self._connection.write() as db:
            db.execute(
                "DELETE FROM exports WHERE queue_id = ? AND tool = ? AND project = ? "
                "AND exported_at IS NULL",
                [queue.id, tool, to_blob(project)],
            )

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
                "ON CONFLICT DO UPDATE SET exported_at = excluded.exported_at, "
                "written = written + excluded.written",
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

    def audited_in_projects(self) -> list[tuple[str, Path, str, int]]:
        """Audited frames that are labelled, by the names that the projects know them by.

        Returns
        -------
        list of (tool, project, folder, frame index)
        """
        rows = self._connection.rows(
            "SELECT DISTINCT tool, project, folder, frame_index FROM queues "
            "JOIN queue_frames ON queue_id = queues.id AND NOT withdrawn "
            "AND rank <= COALESCE(json_extract(manifest, '$.audit_frames'), 0) "
            "JOIN labels USING (video_id, frame_index) JOIN export_folders "
            "USING (video_id, tool, project) ORDER BY tool, project, folder, frame_index"
        )
        return [
            (row["tool"], to_path(row["project"]), row["folder"], row["frame_index"])
            for row in rows
        ]
