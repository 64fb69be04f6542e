"""A season's figures: how much there is, how much is labelled, how much of it that covers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alwatch.records import EmbedderIdentity
from alwatch.scores.coverage import coverage, typical_radius
from alwatch.scores.distances import unit_rows
from alwatch.store import Store
from alwatch.store.pools import SeasonCounts

_RADIUS_SEED = 0  # the radius is a property of the archive, not of a round


@dataclass(frozen=True, slots=True)
class SeasonStatus:
    """One season. `coverage` is the share of its frames near a labelled frame of any season."""

    counts: SeasonCounts
    coverage: float


def season_statuses(store: Store, embedder: EmbedderIdentity) -> list[SeasonStatus]:
    """Every season with its coverage by the labelled set.

    "Near" is a distance read off the archive itself: see `scores.coverage.typical_radius`.
    """
    with store.pools.one_view():
        all_counts = store.pools.season_counts()
        archive = store.pools.season_frames(embedder)
        marked = store.pools.marked_frames(embedder)
        videos = store.videos.by_id(np.unique(archive.video_ids).tolist())
    vectors = unit_rows(archive.vectors)
    labelled = unit_rows(marked.vectors[marked.labelled])
    radius = typical_radius(vectors, np.random.default_rng(_RADIUS_SEED), video=archive.video_ids)
    statuses = []
    for counts in all_counts:
        ids = [video.id for video in videos.values() if video.season == counts.season]
        share = coverage(vectors[np.isin(archive.video_ids, ids)], labelled, radius)
        statuses.append(SeasonStatus(counts, share))
    return statuses
