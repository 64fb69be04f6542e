"""`badge`: k-means++ seeding of vectors times uncertainty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chisquare

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from tests.strategies.pools import make_pool, on_circle, walks, with_taken


def badge(pool: Pool, unsure: object, budget: int, seed: int = 0) -> Picks:
    scored = replace(pool, scores={"confidence": np.asarray(unsure, np.float64)})
    rng = np.random.default_rng(seed)
    return select(scored, strategy="badge", budget=budget, limits=Limits(), rng=rng)


def test_the_least_sure_comes_first_and_unscored_frames_last() -> None:
    picks = badge(make_pool(on_circle([180, 90, 0])), [np.nan, 0.5, 1.0], 3)
    assert picks.rows.tolist() == [2, 1, 0]
    # Embeddings (1, 0) and (0, 0.5); the last is, as a vector, 90 degrees from the nearest.
    np.testing.assert_allclose(picks.scores, [1, np.sqrt(1.25), np.sqrt(2)], rtol=1e-5)
    assert picks.reasons == (
        "the least sure of all (confidence lacks 1.00 to 1)",
        "unlike the other picks in what the model is unsure of (confidence lacks 0.50 to 1)",
        "1.41 from the nearest labelled or queued frame",
    )


def test_the_odds_are_squared_distances_between_embeddings() -> None:
    # Embeddings (1, 0), (0.6, 0), (0, 0.6), (-0.2, 0): squared distances to the first, which is
    # the least sure, are 0.16, 1 + 0.36 and 1.44. Vectors count by their direction alone.
    pool = make_pool(np.array([[1.0, 0], [2, 0], [0, 5], [-1, 0]]))
    second = [int(badge(pool, [1, 0.6, 0.6, 0.2], 2, seed).rows[1]) for seed in range(400)]
    expected = 400 * np.array([0.16, 1.36, 1.44]) / 2.96
    assert chisquare(np.bincount(second, minlength=4)[1:], expected).pvalue > 0.001


def test_labelled_frames_play_no_part() -> None:
    pool = make_pool(on_circle([0, 5, 90, 180]))
    assert badge(with_taken(pool, [0]), [0.2, 1, 0.1, 0.1], 1).rows.tolist() == [1]


def test_where_the_model_is_sure_of_everything_the_farthest_frames_are_taken() -> None:
    pool = with_taken(make_pool(on_circle([0, 10, 25, 90, 180])), [0])
    assert badge(pool, [0.0] * 5, 4).rows.tolist() == [4, 3, 2, 1]


@pytest.mark.parametrize("seed", range(3))
def test_it_is_both_less_sure_and_more_spread_out_than_chance(seed: int) -> None:
    pool = walks(n_videos=10, n_frames=100, seed=seed)
    unsure = np.random.default_rng(seed).random(1000) ** 2
    picks = badge(pool, unsure, 40, seed)
    assert unsure[picks.rows].mean() > 1.3 * unsure.mean()
    assert len(np.unique(pool.video[picks.rows])) >= 8
