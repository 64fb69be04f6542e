"""`dropquery`: the middles of clusters of disputed frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from tests.strategies.pools import make_pool, on_circle, walks

NO_LIMITS = Limits()


def dropquery(pool: Pool, budget: int, limits: Limits = NO_LIMITS, **scores: object) -> Picks:
    known = {name: np.asarray(values, np.float64) for name, values in scores.items()}
    return select(
        replace(pool, scores=known),
        strategy="dropquery",
        budget=budget,
        limits=limits,
        rng=np.random.default_rng(0),
    )


def test_the_middle_of_the_25_most_disputed_frames_is_picked() -> None:
    # The middle of 0 to 24 degrees is row 12; over all 40 frames it would be a later one.
    pool = make_pool(on_circle([*range(25), *range(30, 45)]))
    picks = dropquery(pool, 1, confidence=[0.7] * 25 + [0.2] * 15)
    assert picks.rows.tolist() == [12]
    assert picks.scores.tolist() == [0.7]
    assert picks.reasons == ("typical of 25 similar frames that are in dispute",)


def test_each_cluster_gives_its_middle_the_largest_first() -> None:
    # 50 candidates for a queue of two: 19 about 9 degrees, 31 about 115.
    pool = make_pool(on_circle([*range(19), *range(100, 131), *range(200, 260)]))
    picks = dropquery(pool, 2, confidence=[0.9] * 50 + [0.1] * 60)
    assert picks.rows.tolist() == [34, 9]


def test_an_ensemble_is_asked_rather_than_the_confidence() -> None:
    pool = make_pool(on_circle([*range(25), *range(100, 125)]))
    confidence = [0.9] * 25 + [0.1] * 25
    ensemble = [0.0] * 25 + [2.0] * 25
    picks = dropquery(pool, 1, confidence=confidence, ensemble=ensemble)
    assert picks.rows.tolist() == [37]
    assert picks.scores.tolist() == [2.0]
    unknown = [np.nan] * 50
    assert dropquery(pool, 1, confidence=confidence, ensemble=unknown).rows.tolist() == [12]


def test_frames_that_are_not_scored_are_candidates_last() -> None:
    pool = make_pool(on_circle([*range(25), *range(100, 125)]))
    assert dropquery(pool, 1, confidence=[np.nan] * 25 + [0.0] * 25).rows.tolist() == [37]


@pytest.mark.parametrize("budget", [1, 4, 9])
def test_no_pick_is_less_disputed_than_the_25_b_most_disputed(budget: int) -> None:
    pool = walks(n_videos=4, n_frames=100, seed=2)
    dispute = np.random.default_rng(0).random(400)
    picks = dropquery(pool, budget, confidence=dispute)
    assert len(picks.rows) == budget
    assert dispute[picks.rows].min() >= np.sort(dispute)[-25 * budget]


def test_a_neighbour_stands_in_for_a_middle_that_limits_close_and_what_lacks_is_made_up_for() -> (
    None
):
    # Both middles lie within the gap of each other: row 12 and, of the other cluster, row 37.
    times_s = [*range(0, 2500, 100), *range(5, 2505, 100)]
    pool = make_pool(on_circle([*range(25), *range(100, 125)]), time_s=times_s)
    picks = dropquery(pool, 2, Limits(min_gap_s=10), confidence=[0.5] * 50)
    assert picks.rows.tolist() in ([12, 36], [12, 38], [37, 11], [37, 13])
