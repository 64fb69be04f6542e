"""What the pose model's snapshots say of the frames, and what has yet to be scored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from alwatch.records import FrameScores, SeenFile, Snapshot
from alwatch.store.connection import Connection, to_path, to_text
from alwatch.store.snapshots import ID_OF_SNAPSHOT, key_of
from alwatch.store.videos import IS_HERE, SIGNATURE, signature_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from alwatch.records import IntArray

_USABLE = "videos.state IN ('done', 'partial')"
_TO_SCORE = f"{_USABLE} AND COALESCE(scorings.state, 'ready') IN ('ready', 'stale')"
_LATEST_OF_SEASONS = (
    "(SELECT season AS of_season, MAX(COALESCE(recorded_at, discovered_at)) AS latest "
    "FROM videos GROUP BY season)"
)


@dataclass(frozen=True, slots=True)
class ScoringClaim:
    """A video taken to be scored, with a file that holds it and the frames to score."""

    video_id: int
    attempts: int
    file: SeenFile
    frame_indices: IntArray


@dataclass(frozen=True, slots=True)
class ScoringProgress:
    """How far a snapshot has got with the archive.

    `left_s` is an estimate from the videos scored so far; None where nothing tells yet.
    """

    videos_done: int
    videos_failed: int
    videos_left: int
    frames_done: int
    frames_left: int
    left_s: float | None


class Scores:
    """Scores by snapshot; old ones stay for comparison."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --- work ----------------------------------------------------------------------------------

    def require(self, snapshot: Snapshot, signals: Iterable[str], now: datetime) -> None:
        """Let videos be scored again whose scores lack one of these signals."""
        with self._connection.write() as db:
            db.executemany(
                "UPDATE scorings SET state = 'stale', changed_at = ? "
                f"WHERE {_OF_SNAPSHOT} AND state = 'done' "
                "AND NOT EXISTS (SELECT 1 FROM scores WHERE scores.video_id = scorings.video_id "
                "AND scores.snapshot_id = scorings.snapshot_id AND signal = ?)",
                [(to_text(now), *key_of(snapshot), signal) for signal in signals],
            )

    def recover(self, now: datetime) -> int:
        """Give back what is claimed, attempts counted; only the lock's holder may call this."""
        with self._connection.write() as db:
            return db.execute(
                "UPDATE scorings SET state = 'ready', changed_at = ? WHERE state = 'working'",
                [to_text(now)],
            ).rowcount

    def n_waiting(self, snapshot: Snapshot, *, only: Collection[int] | None = None) -> int:
        """How many videos, of those whose file is there, this snapshot has yet to score.

        With `only`, of these videos.
        """
        return int(
            self._connection.value(
                "SELECT COUNT(*) FROM videos LEFT JOIN scorings "
                f"ON scorings.video_id = videos.id AND {_OF_SNAPSHOT} "
                f"WHERE {_TO_SCORE} AND {IS_HERE} "
                "AND (? OR videos.id IN (SELECT value FROM json_each(?)))",
                [*key_of(snapshot), only is None, json.dumps(list(only or ()))],
            )
        )

    def unscored(self, snapshot: Snapshot) -> set[int]:
        """Videos whose file is there that this snapshot has yet to score, or is scoring."""
        rows = self._connection.rows(
            f"SELECT videos.id FROM videos LEFT JOIN scorings ON scorings.video_id = videos.id "
            f"AND {_OF_SNAPSHOT} WHERE {_USABLE} AND {IS_HERE} "
            "AND COALESCE(scorings.state, 'ready') IN ('ready', 'stale', 'working')",
            key_of(snapshot),
        )
        return {video_id for (video_id,) in rows}

    def claim(
        self,
        snapshot: Snapshot,
        now: datetime,
        *,
        only: Mapping[int, Collection[int]] | None = None,
    ) -> ScoringClaim | None:
        """Take the next video that this snapshot has not scored, newest season first.

        Videos that failed before come after all that did not.

        The frames are those that were looked at when the video was ingested, and those that are
        labelled. The attempt is counted before it is made.

        Parameters
        ----------
        snapshot : Snapshot
        now : datetime
        only : mapping of int to collection of int, optional
            Only these videos, and of each only these frames and those that are scored already:
            the rest waits on.
        """
        with self._connection.write() as db:
            row = db.execute(
                "SELECT videos.id, COALESCE(scorings.attempts, 0) AS tried, files.path, "
                f"files.root, {SIGNATURE} FROM videos "
                f"LEFT JOIN scorings ON scorings.video_id = videos.id AND {_OF_SNAPSHOT} "
                "JOIN files ON files.video_id = videos.id AND present "
                "LEFT JOIN roots ON roots.path = files.root "
                f"JOIN {_LATEST_OF_SEASONS} ON of_season = season "
                f"WHERE {_TO_SCORE} AND COALESCE(online, 1) "
                "AND (? OR videos.id IN (SELECT value FROM json_each(?))) "
                "ORDER BY tried, latest DESC, videos.id, files.path LIMIT 1",
                [*key_of(snapshot), only is None, json.dumps(list(only or ()))],
            ).fetchone()
            if row is None:
                return None
            db.execute(
                "INSERT INTO scorings (video_id, snapshot_id, state, attempts, changed_at) "
                f"VALUES (?, {ID_OF_SNAPSHOT}, 'working', 1, ?) "
                "ON CONFLICT DO UPDATE SET state = 'working', attempts = attempts + 1, "
                "changed_at = excluded.changed_at",
                [row["id"], *key_of(snapshot), to_text(now)],
            )
        file = SeenFile(to_path(row["path"]), to_path(row["root"]), signature_of(row))
        frames = self._frames_to_score(row["id"])
        if only is not None:
            wanted = {*only[row["id"]], *self.scored_frames(row["id"], snapshot)}
            frames = frames[[frame in wanted for frame in frames.tolist()]]
        return ScoringClaim(row["id"], row["tried"] + 1, file, frames)

    def scored_frames(self, video_id: int, snapshot: Snapshot) -> list[int]:
        """The frames of a video that a snapshot has scored, increasing."""
        scores = self.of_video(video_id, snapshot, ())
        return [] if scores is None else scores.frame_indices.tolist()

    def _frames_to_score(self, video_id: int) -> IntArray:
        import numpy as np

        rows = self._connection.rows(
            "SELECT frame_index FROM frames WHERE video_id = ? UNION "
            "SELECT frame_index FROM labels WHERE video_id = ? AND frame_index < "
            "(SELECT n_frames FROM videos WHERE id = ?) ORDER BY 1",
            [video_id, video_id, video_id],
        )
        return np.array([index for (index,) in rows], np.int64)

    def finish(
        self,
        claim: ScoringClaim,
        snapshot: Snapshot,
        scores: FrameScores,
        *,
        elapsed_s: float,
        now: datetime,
    ) -> None:
        """Write one snapshot's scores of one video, and that it is done, in one transaction.

        Where other frames are to be scored by now than when the video was claimed, it is not
        done, but waits again.

        Parameters
        ----------
        claim : ScoringClaim
        snapshot : Snapshot
        scores : FrameScores
            Of the claimed frames that could be decoded.
        elapsed_s : float
            How long they took.
        now : datetime
        """
        video_id = claim.video_id
        key = [video_id, *key_of(snapshot)]
        with self._connection.write() as db:
            wanted = self._frames_to_score(video_id).tolist()
            state = "done" if wanted == claim.frame_indices.tolist() else "stale"
            db.execute(f"DELETE FROM scores WHERE video_id = ? AND {_OF_SNAPSHOT}", key)
            db.executemany(
                f"INSERT INTO scores VALUES (?, {ID_OF_SNAPSHOT}, ?, ?, ?)",
                [
                    (*key, signal, json.dumps(array.shape), array.astype("<f4").tobytes())
                    for signal, array in scores.signals.items()
                ],
            )
            db.execute(
                "UPDATE scorings SET state = ?, attempts = 0, reason = NULL, n_frames = ?, "
                f"elapsed_s = ?, frame_indices = ?, changed_at = ? WHERE video_id = ? "
                f"AND {_OF_SNAPSHOT}",
                [
                    state,
                    len(scores.frame_indices),
                    elapsed_s,
                    scores.frame_indices.astype("<i8").tobytes(),
                    to_text(now),
                    *key,
                ],
            )

    def set_aside(
        self,
        video_id: int,
        snapshot: Snapshot,
        state: str,
        reason: str | None,
        now: datetime,
        *,
        untried: bool = False,
    ) -> None:
        """Record that a video was not scored: `ready` to be tried again, or `failed`."""
        with self._connection.write() as db:
            db.execute(
                "UPDATE scorings SET state = ?, reason = ?, attempts = MAX(attempts - ?, 0), "
                f"changed_at = ? WHERE video_id = ? AND {_OF_SNAPSHOT}",
                [state, reason, int(untried), to_text(now), video_id, *key_of(snapshot)],
            )

    def retry_failed(self, snapshot: Snapshot, now: datetime) -> int:
        """Let videos that could not be scored be tried again; how many there were."""
        with self._connection.write() as db:
            return db.execute(
                "UPDATE scorings SET state = 'ready', attempts = 0, changed_at = ? "
                f"WHERE state = 'failed' AND {_OF_SNAPSHOT}",
                [to_text(now), *key_of(snapshot)],
            ).rowcount

    # --- what there is -------------------------------------------------------------------------

    def progress(self, snapshot: Snapshot) -> ScoringProgress:
        """How far this snapshot has got, and how long the rest will take."""
        row = self._connection.rows(
            "SELECT SUM(state = 'done') AS done, SUM(state = 'failed') AS failed, "
            "SUM(CASE state WHEN 'done' THEN scorings.n_frames END) AS frames, "
            "SUM(CASE state WHEN 'done' THEN elapsed_s END) AS elapsed_s FROM ("
            "SELECT scorings.* FROM scorings JOIN videos ON videos.id = video_id "
            f"WHERE {_USABLE} AND {_OF_SNAPSHOT}) AS scorings",
            key_of(snapshot),
        )[0]
        left = self._connection.rows(
            "SELECT COUNT(*) AS videos, "
            "SUM((SELECT COUNT(*) FROM frames WHERE video_id = videos.id)) AS frames FROM videos "
            f"LEFT JOIN scorings ON scorings.video_id = videos.id AND {_OF_SNAPSHOT} "
            f"WHERE {_USABLE} AND {IS_HERE} "
            "AND COALESCE(scorings.state, 'ready') IN ('ready', 'stale', 'working')",
            key_of(snapshot),
        )[0]
        frames, frames_left = row["frames"] or 0, left["frames"] or 0
        left_s = frames_left * row["elapsed_s"] / frames if frames else None
        return ScoringProgress(
            videos_done=row["done"] or 0,
            videos_failed=row["failed"] or 0,
            videos_left=left["videos"],
            frames_done=frames,
            frames_left=frames_left,
            left_s=left_s if frames_left else 0.0,
        )

    def failures(self, snapshot: Snapshot) -> list[tuple[int, str]]:
        """Videos that this snapshot could not score: video id, reason."""
        rows = self._connection.rows(
            "SELECT video_id, scorings.reason FROM scorings "
            "JOIN videos ON videos.id = video_id WHERE scorings.state = 'failed' "
            f"AND {_USABLE} AND {_OF_SNAPSHOT} ORDER BY video_id",
            key_of(snapshot),
        )
        return [(row["video_id"], row["reason"]) for row in rows]

    def of_video(
        self, video_id: int, snapshot: Snapshot, signals: Iterable[str] | None = None
    ) -> FrameScores | None:
        """What a snapshot says of a video; None where it has not been scored.

        Parameters
        ----------
        video_id : int
        snapshot : Snapshot
        signals : iterable of str, optional
            Only these; all of them without it.
        """
        import numpy as np

        key = [video_id, *key_of(snapshot)]
        heads = self._connection.rows(
            f"SELECT frame_indices FROM scorings WHERE video_id = ? AND {_OF_SNAPSHOT} "
            "AND frame_indices IS NOT NULL",
            key,
        )
        if not heads:
            return None
        where = ""
        wanted = [] if signals is None else list(signals)
        if signals is not None:
            where = f"AND signal IN ({', '.join('?' * len(wanted))})"
        rows = self._connection.rows(
            f"SELECT signal, shape, data FROM scores WHERE video_id = ? AND {_OF_SNAPSHOT} {where}",
            [*key, *wanted],
        )
        return FrameScores(
            frame_indices=np.frombuffer(heads[0]["frame_indices"], "<i8").astype(np.int64),
            signals={
                row["signal"]: np.frombuffer(row["data"], "<f4").reshape(json.loads(row["shape"]))
                for row in rows
            },
        )

    def scored_videos(self, snapshot: Snapshot, *, here: bool = False) -> list[tuple[int, str]]:
        """Every video that a snapshot has scored: video id, season.

        Parameters
        ----------
        snapshot : Snapshot
        here : bool
            Only videos whose file is there.
        """
        rows = self._connection.rows(
            "SELECT video_id, season FROM scorings JOIN videos ON videos.id = video_id "
            f"WHERE frame_indices IS NOT NULL AND {_USABLE} AND {_OF_SNAPSHOT} "
            f"{f'AND {IS_HERE}' if here else ''} ORDER BY content_hash",
            key_of(snapshot),
        )
        return [(row["video_id"], row["season"]) for row in rows]


_OF_SNAPSHOT = f"snapshot_id = {ID_OF_SNAPSHOT}"
