"""Frames and their vectors: the pool of a season, and what an index is built from."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from alwatch.records import EmbedderIdentity
from alwatch.store.connection import Connection, moment, to_path
from alwatch.store.videos import IS_HERE, IS_KNOWN, PATH_OF_VIDEO

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alwatch.records import BoolArray, IntArray


@dataclass(frozen=True, slots=True)
class SeasonCounts:
    """One season in figures."""

    season: str
    videos: int
    frames: int
    labelled: int
    queued: int


@dataclass(frozen=True, slots=True)
class SeasonVideo:
    """One video of a season, with how many of its frames have vectors."""

    id: int
    season: str
    path: Path
    discovered_at: datetime
    frames: int


@dataclass(frozen=True, slots=True)
class PooledFrames:
    """Embedded frames, row by row.

    Parameters
    ----------
    vectors : float16 array of shape (n, dim)
    video_ids, frame_indices : int64 arrays of shape (n,)
    times_s : float64 array of shape (n,)
    labelled, queued : bool arrays of shape (n,)
        A frame that is both counts as labelled.
    """

    vectors: NDArray[np.float16]
    video_ids: IntArray
    frame_indices: IntArray
    times_s: NDArray[np.float64]
    labelled: BoolArray
    queued: BoolArray


@dataclass(frozen=True, slots=True)
class VideoVectors:
    """The vectors of one video: `matrix` is float16 of shape (n, dim)."""

    video_id: int
    revision: int
    frame_indices: IntArray
    matrix: NDArray[np.float16]


class Pools:
    """What has been embedded."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def one_view(self) -> AbstractContextManager[None]:
        """Let all reads inside see the same state, whatever the daemon writes meanwhile."""
        return self._connection.one_view()

    def n_frames(self) -> int:
        """How many frames are kept."""
        return int(self._connection.value("SELECT COUNT(*) FROM frames"))

    def n_vectors(self, embedder: EmbedderIdentity) -> int:
        """How many vectors of this embedder are kept."""
        return int(
            self._connection.value(
                f"SELECT COALESCE(SUM(n_frames), 0) FROM vectors WHERE {_OF_EMBEDDER}",
                _key(embedder),
            )
        )

    def embedders(self) -> list[EmbedderIdentity]:
        """Every embedder that has vectors, the most recently used one first."""
        rows = self._connection.rows(
            "SELECT name, weights, dim FROM embedders JOIN vectors ON embedder_id = embedders.id "
            "GROUP BY embedders.id ORDER BY MAX(revision) DESC"
        )
        return [EmbedderIdentity(row["name"], row["weights"], row["dim"]) for row in rows]

    def season_counts(self) -> list[SeasonCounts]:
        """Count every season's videos and frames, labelled and queued."""
        rows = self._connection.rows(
            """
            WITH labelled AS (
                SELECT DISTINCT video_id, frame_index FROM labels WHERE state = 'labelled'
            ),
            queued AS (
                SELECT video_id, frame_index FROM queue_frames WHERE NOT withdrawn
                EXCEPT SELECT video_id, frame_index FROM labels
            )
            SELECT season, COUNT(*) AS videos,
                SUM((SELECT COUNT(*) FROM frames WHERE video_id = videos.id)) AS frames,
                SUM((SELECT COUNT(*) FROM labelled WHERE video_id = videos.id)) AS labelled,
                SUM((SELECT COUNT(*) FROM queued WHERE video_id = videos.id)) AS queued
            FROM videos WHERE season IS NOT NULL AND state IN ('done', 'partial')
            GROUP BY season ORDER BY season
            """
        )
        return [SeasonCounts(**{key: row[key] for key in row.keys()}) for row in rows]  # noqa: SIM118

    def season_videos(self, embedder: EmbedderIdentity) -> list[SeasonVideo]:
        """Every video with vectors of this embedder, in the order of their content.

        Those on a drive that is offline are among them, those whose file is gone are not: what
        is known of a season does not change with a cable.
        """
        rows = self._connection.rows(
            "SELECT videos.id, season, discovered_at, vectors.n_frames AS frames, "
            f"{PATH_OF_VIDEO} AS path FROM videos JOIN vectors ON vectors.video_id = videos.id "
            f"WHERE {_OF_EMBEDDER} AND vectors.n_frames > 0 AND {IS_KNOWN} ORDER BY content_hash",
            _key(embedder),
        )
        return [
            SeasonVideo(
                id=row["id"],
                season=row["season"],
                path=to_path(row["path"]),
                discovered_at=moment(row["discovered_at"]),
                frames=row["frames"],
            )
            for row in rows
        ]

    def season_frames(self, embedder: EmbedderIdentity, season: str | None = None) -> PooledFrames:
        """Every frame with a vector of this embedder, of videos whose file is there.

        Rows are in the order of the videos' content, so that the same archive gives the same
        rows on every machine.

        Parameters
        ----------
        embedder : EmbedderIdentity
        season : str, optional
            Only this season; the whole archive without it.
        """
        where, parameters = ("", []) if season is None else ("AND season = ?", [season])
        return self._frames(embedder, f"{IS_HERE} {where}", parameters)

    def marked_frames(self, embedder: EmbedderIdentity) -> PooledFrames:
        """Every frame of those videos, of any season, that have labelled or queued frames."""
        return self._frames(
            embedder,
            "(EXISTS (SELECT 1 FROM labels WHERE labels.video_id = videos.id) OR EXISTS "
            "(SELECT 1 FROM queue_frames WHERE queue_frames.video_id = videos.id "
            "AND NOT withdrawn))",
            [],
        )

    def video_vectors(self, embedder: EmbedderIdentity, video_id: int) -> VideoVectors:
        """The vectors of one video.

        Raises
        ------
        KeyError
            It has none of this embedder.
        """
        for part in self._vectors(embedder, "videos.id = ?", [video_id], order_by="1"):
            return part
        raise KeyError(video_id)

    def _frames(
        self, embedder: EmbedderIdentity, where: str, parameters: list[str]
    ) -> PooledFrames:
        import numpy as np

        parts = list(self._vectors(embedder, where, parameters, order_by="content_hash"))
        labelled = self._marked("labels WHERE", parts)
        no_int, no_vectors = np.empty(0, np.int64), np.empty((0, embedder.dim), np.float16)
        return PooledFrames(
            vectors=np.concatenate([part.matrix for part in parts] or [no_vectors]),
            video_ids=np.concatenate(
                [no_int, *(np.full(len(part.matrix), part.video_id) for part in parts)]
            ),
            frame_indices=np.concatenate([no_int, *(part.frame_indices for part in parts)]),
            times_s=np.concatenate([np.empty(0), *(self._times_s(p.video_id) for p in parts)]),
            labelled=labelled,
            queued=self._marked("queue_frames WHERE NOT withdrawn AND", parts) & ~labelled,
        )

    def _times_s(self, video_id: int) -> NDArray[np.float64]:
        import numpy as np

        rows = self._connection.rows(
            "SELECT time_s FROM frames WHERE video_id = ? ORDER BY frame_index", [video_id]
        )
        return np.array([time_s for (time_s,) in rows], dtype=np.float64)

    def vectors_since(self, embedder: EmbedderIdentity, revision: int) -> Iterator[VideoVectors]:
        """Vectors written after `revision`, oldest first (0: all of them)."""
        return self._vectors(
            embedder, "vectors.revision > ?", [revision], order_by="vectors.revision"
        )

    def _vectors(
        self,
        embedder: EmbedderIdentity,
        where: str,
        parameters: list[str] | list[int],
        *,
        order_by: str,
    ) -> Iterator[VideoVectors]:
        import numpy as np

        ids = self._connection.rows(
            "SELECT video_id FROM vectors JOIN videos ON videos.id = video_id "
            f"WHERE {_OF_EMBEDDER} AND {where} ORDER BY {order_by}",
            [*_key(embedder), *parameters],
        )
        for (video_id,) in ids:
            row = self._connection.rows(
                f"SELECT revision, matrix FROM vectors WHERE video_id = ? AND {_OF_EMBEDDER}",
                [video_id, *_key(embedder)],
            )[0]
            indices = self._connection.rows(
                "SELECT frame_index FROM frames WHERE video_id = ? ORDER BY frame_index",
                [video_id],
            )
            yield VideoVectors(
                video_id=video_id,
                revision=row["revision"],
                frame_indices=np.array([index for (index,) in indices], dtype=np.int64),
                matrix=np.frombuffer(row["matrix"], np.float16).reshape(-1, embedder.dim),
            )

    def _marked(self, which: str, parts: list[VideoVectors]) -> BoolArray:
        import numpy as np

        masks = [np.empty(0, dtype=np.bool_)]
        for part in parts:
            rows: list[sqlite3.Row] = self._connection.rows(
                f"SELECT frame_index FROM {which} video_id = ?", [part.video_id]
            )
            masks.append(np.isin(part.frame_indices, [index for (index,) in rows]))
        return np.concatenate(masks)


_OF_EMBEDDER = "embedder_id = (SELECT id FROM embedders WHERE name = ? AND weights = ? AND dim = ?)"


def _key(embedder: EmbedderIdentity) -> list[str | int]:
    return [embedder.name, embedder.weights, embedder.dim]
