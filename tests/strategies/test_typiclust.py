"""`typiclust`: typical frames of clusters without labels."""

from __future__ import annotations

import numpy as np
import pytest

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from tests.strategies.pools import make_pool, on_circle, with_taken

NO_LIMITS = Limits()


def typiclust(pool: Pool, budget: int, seed: int = 0, limits: Limits = NO_LIMITS) -> Picks:
    rng = np.random.default_rng(seed)
    return select(pool, strategy="typiclust", budget=budget, limits=limits, rng=rng)


def chord(degrees: float) -> float:
    return float(2 * np.sin(np.radians(degrees) / 2))


# Of 8 frames half as many neighbours, 4, are looked at. From the middle, row 12, these are
# 1 + 1 + 4 + 4 degrees away; next best, one degree off, 1 + 2 + 3 + 5. Likewise row 3 of the nine
# once the last of them is labelled.
NINE = [-8, -4, -1, 0, 1, 4, 8, 12, 16]
EIGHT = [112, 116, 119, 120, 121, 124, 128, 132]
FIVE = [198, 199, 200, 201, 202]
SEVEN = [272, 276, 279, 280, 281, 284, 288]


def test_the_most_typical_frames_of_large_clusters_without_labels_come_first() -> None:
    # One labelled and three wanted: four clusters. The cluster of five is skipped, though it is
    # the densest and without labels; that with the labelled frame, row 8, is the largest but
    # comes last.
    pool = with_taken(make_pool(on_circle(NINE + EIGHT + FIVE + SEVEN)), [8])
    picks = typiclust(pool, 3)
    assert picks.rows[[0, 2]].tolist() == [12, 3]
    assert picks.rows[1] in range(22, 29)
    typicality = 1 / ((2 * chord(1) + 2 * chord(4)) / 4 + 1e-5)
    np.testing.assert_allclose(picks.scores[[0, 2]], typicality, rtol=1e-3)
    assert picks.reasons == (
        "typical of a cluster of 8 similar frames that has no label yet",
        "typical of a cluster of 7 similar frames that has no label yet",
        "typical of a cluster of 9 similar frames that has 1 label",
    )


def test_a_small_cluster_waits_until_all_others_are_used_up_even_if_those_are_labelled() -> None:
    rows = on_circle([0, 2, 4, 6, 8, 10, 12, 120, 121, 122])
    pool = make_pool(rows, video=[0] * 7 + [1] * 3)
    assert typiclust(with_taken(pool, [0]), 1).rows[0] in range(1, 7)
    picks = typiclust(pool, 2, limits=Limits(per_video_max=1))
    assert picks.rows[0] in range(7)
    assert picks.rows[1] in range(7, 10)
    assert picks.reasons[1] == "typical of a cluster of 3 similar frames that has no label yet"


@pytest.mark.parametrize("seed", range(5))
def test_no_cluster_has_a_second_frame_before_every_cluster_has_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    place = rng.permutation(np.repeat(np.arange(6), [40, 8, 9, 60, 20, 13]))
    rows = np.eye(6)[place] + 0.02 * rng.standard_normal((150, 6))
    picks = typiclust(make_pool(rows), 6, seed)
    assert place[picks.rows].tolist() == [3, 0, 4, 5, 2, 1]
