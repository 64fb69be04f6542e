"""`weighted_kcentre`: distance and uncertainty, weighed by trust."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from tests.strategies.pools import Referee, make_pool, on_circle, walks, with_taken

NO_LIMITS = Limits()
STRICT = Limits(per_video_max=9, min_gap_s=0.3, near_duplicate_quantile=0.6)


def pick(
    pool: Pool,
    unsure: object,
    trust: float,
    budget: int,
    limits: Limits = NO_LIMITS,
    strategy: str = "weighted_kcentre",
) -> Picks:
    scored = replace(pool, scores={"confidence": np.asarray(unsure, np.float64)}, trust=trust)
    rng = np.random.default_rng(0)
    return select(scored, strategy=strategy, budget=budget, limits=limits, rng=rng)


def test_both_terms_are_scaled_to_one_and_weighed_by_trust() -> None:
    # Distances to 0 degrees are 0.518, 1 and 2, so 0.259, 0.5 and 1 of the largest; uncertainty is
    # scaled to 1, 0.5 and 0. With trust a half the sums are 0.629, 0.5 and 0.5.
    # After 30 degrees the others are 0.518 and 1.932 away: 0.129 + 0.25 and 0.483 + 0.
    pool = with_taken(make_pool(on_circle([0, 30, 60, 180])), [0])
    picks = pick(pool, [0.2, 0.8, 0.5, 0.2], 0.5, 3)
    assert picks.rows.tolist() == [1, 3, 2]
    np.testing.assert_allclose(picks.scores, [0.6294, 0.4830, 0.3794], atol=1e-4)
    assert picks.reasons[0] == (
        "0.52 from the nearest labelled or queued frame, uncertainty 100% (weight 0.50)"
    )


@pytest.mark.parametrize("n_taken", [0, 3])
@pytest.mark.parametrize("limits", [NO_LIMITS, STRICT])
def test_without_trust_it_is_k_centre(limits: Limits, n_taken: int) -> None:
    pool = with_taken(walks(n_videos=8, n_frames=400, seed=7), [17, 2000, 5][:n_taken])
    unsure = np.random.default_rng(0).random(3200)
    found = pick(pool, unsure, 0.0, 40, limits)
    plain = pick(pool, unsure, 0.0, 40, limits, strategy="minmax")
    assert found.rows.tolist() == plain.rows.tolist()
    assert found.reasons == plain.reasons


def test_with_full_trust_it_is_a_ranking_and_unscored_frames_count_as_the_surest() -> None:
    pool = with_taken(walks(n_videos=3, n_frames=20, seed=0), [4])
    unsure = np.random.default_rng(0).random(60)
    unsure[[7, 30]] = np.nan
    picks = pick(pool, unsure, 1.0, 50)
    assert picks.rows.tolist() == [row for row in np.argsort(-unsure) if row != 4][:50]


@pytest.mark.parametrize("trust", [0.2, 0.7])
def test_its_picks_are_those_of_measuring_every_frame_every_time(trust: float) -> None:
    pool = with_taken(walks(n_videos=10, n_frames=200, seed=4), [5, 900])
    unsure = np.random.default_rng(3).normal(5, 2, 2000)
    unit = Referee(pool, NO_LIMITS).unit[:2000]
    distance = np.linalg.norm(unit[:, None] - unit[None, [5, 900]], axis=2).min(axis=1)
    largest, scaled = distance.max(), (unsure - unsure.min()) / np.ptp(unsure)
    is_open, expected = ~np.isin(np.arange(2000), [5, 900]), []
    for _ in range(30):
        value = np.where(is_open, (1 - trust) * distance / largest + trust * scaled, -1)
        expected.append(int(value.argmax()))
        is_open[expected[-1]] = False
        distance = np.minimum(distance, np.linalg.norm(unit - unit[expected[-1]], axis=1))
    assert pick(pool, unsure, trust, 30).rows.tolist() == expected


def test_limits_hold_under_trust() -> None:
    pool = with_taken(walks(n_videos=6, n_frames=100, seed=1), [3])
    unsure = np.where(pool.video == 2, 9.0, np.random.default_rng(0).random(600))
    picks = pick(pool, unsure, 0.9, 30, STRICT)
    Referee(pool, STRICT).check(picks, 30)
    assert (pool.video[picks.rows] == 2).sum() == 9


@pytest.mark.parametrize("unsure", [[np.nan] * 4, [0.3] * 4])
def test_where_uncertainty_tells_nothing_apart_distance_decides(unsure: list[float]) -> None:
    pool = with_taken(make_pool(on_circle([0, 30, 60, 180])), [0])
    assert pick(pool, unsure, 0.5, 3).rows.tolist() == [3, 2, 1]
