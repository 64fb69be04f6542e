"""How much of each season the labelled set covers, and which of its videos are new to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from alwatch.records import EmbedderIdentity
from alwatch.scores.conformal import conformal_p, video_novelty
from alwatch.scores.coverage import radius_of_pairs, random_pairs
from alwatch.scores.distances import nearest_distance
from alwatch.scores.moments import MOMENTS
from alwatch.seasons.vectors import LabelledVectors, VideoRows
from alwatch.store import Store
from alwatch.store.pools import SeasonVideo

_RADIUS_SEED = 0  # the radius is a property of the archive, not of a round
_RADIUS_PAIRS = 10_000
_NOVEL_P = 0.05
_NOVEL_SHOWN = 10


def season_coverages(
    store: Store,
    embedder: EmbedderIdentity,
    videos: Sequence[SeasonVideo],
    labelled: LabelledVectors,
) -> dict[str, float]:
    """The share of every season's frames that lie near a labelled frame of any season.

    "Near" is a distance read off the archive itself: see `scores.coverage.typical_radius`. One
    video after the other is read; kept are a distance for each frame and the frames that the
    radius is read off.

    Parameters
    ----------
    store : Store
    embedder : EmbedderIdentity
    videos : sequence of SeasonVideo
        The archive.
    labelled : LabelledVectors
    """
    seasons = {video.season for video in videos}
    if not len(labelled.vectors):
        return dict.fromkeys(seasons, 0.0)
    ends = np.cumsum([0, *(video.frames for video in videos)])
    of_frame = np.repeat([video.id for video in videos], np.diff(ends))
    one = other = np.empty(0, np.int64)
    if len(of_frame) > 1:
        rng = np.random.default_rng(_RADIUS_SEED)
        one, other = random_pairs(of_frame, _RADIUS_PAIRS, rng)
    paired = np.unique(np.concatenate([one, other]))
    kept = np.empty((len(paired), embedder.dim), np.float32)
    distance = np.empty(len(of_frame), np.float32)
    archive = VideoRows(store, embedder, [video.id for video in videos])
    for rows, low, high in zip(archive, ends[:-1], ends[1:], strict=True):
        distance[low:high] = nearest_distance(rows, labelled.vectors)
        first, last = np.searchsorted(paired, [low, high])
        kept[first:last] = rows[paired[first:last] - low]
    radius = 0.0
    if len(one):
        radius = radius_of_pairs(kept, *(np.searchsorted(paired, side) for side in (one, other)))
    near = distance <= radius
    season_of = np.repeat([video.season for video in videos], np.diff(ends))
    return {season: float(near[season_of == season].mean()) for season in seasons}


class Novelty:
    """How strange videos are to the labelled set, set against its own videos.

    Parameters
    ----------
    store : Store
    embedder : EmbedderIdentity
    videos : iterable of SeasonVideo
        The archive.
    labelled : LabelledVectors
    """

    def __init__(
        self,
        store: Store,
        embedder: EmbedderIdentity,
        videos: Iterable[SeasonVideo],
        labelled: LabelledVectors,
    ) -> None:
        self._store, self._embedder, self._labelled = store, embedder, labelled
        self._own = set(np.unique(labelled.video_ids).tolist())
        reference = [video.id for video in videos if video.id in self._own]
        self._reference = self._scores(reference)

    def strangest(self, videos: Iterable[SeasonVideo]) -> tuple[tuple[str, float], ...]:
        """Videos without a labelled frame that are surely strange: path, p; at most 10.

        The strangest first. Where fewer than 19 videos are labelled, none can be told.
        """
        if 1 / (len(self._reference) + 1) > _NOVEL_P:
            return ()
        unknown = [video for video in videos if video.id not in self._own]
        scores = self._scores([video.id for video in unknown])
        p = conformal_p(self._reference, scores)
        order = np.lexsort((-scores, p))
        found = [(str(unknown[i].path), float(p[i])) for i in order.tolist() if p[i] <= _NOVEL_P]
        return tuple(found[:_NOVEL_SHOWN])

    def _scores(self, video_ids: Sequence[int]) -> NDArray[np.float64]:
        return video_novelty(
            VideoRows(self._store, self._embedder, video_ids, moments=MOMENTS),
            np.array(video_ids, np.int64),
            self._labelled.vectors,
            self._labelled.video_ids,
        )
