"""`uncertainty_herding`: herding for the frames that the model is unsure of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from tests.strategies.pools import make_pool, on_circle, walks, with_taken


def pick(pool: Pool, uncertainty: object, budget: int) -> Picks:
    return select(
        replace(pool, scores={"confidence": np.asarray(uncertainty, float)}),
        strategy="uncertainty_herding",
        budget=budget,
        limits=Limits(),
        rng=np.random.default_rng(0),
    )


# A crowd of five frames and three others on the opposite side.
CROWDS = make_pool(on_circle([0, 1, 2, 3, 4, 179, 180, 181]))


def test_it_goes_where_the_model_is_unsure_not_where_most_frames_are() -> None:
    assert pick(CROWDS, [0.5] * 8, 2).rows.tolist() == [2, 6]
    assert pick(CROWDS, [0.1] * 5 + [0.9] * 3, 2).rows.tolist() == [6, 2]


def test_gains_by_hand() -> None:
    # Labelled at 0 and 90 degrees; open at 90 +- 60, of one video, so that delta is the labels'
    # distance chord(90) = sqrt(2) (the pool's floor, 60 degrees apart at most, is below).
    # k to the nearest label: 30 degrees from either: exp(-4 sin^2(15) / 2) = exp(-.13397) = .8746;
    # 150 degrees, 60 from one: exp(-4 sin^2(30) / 2) = exp(-.5) = .6065.
    # |30 - 60| degrees: .8746; 60 degrees is 30 from a label as well, and 90 from 150.
    pool = with_taken(make_pool(on_circle([0, 90, 30, 60, 150])), [0, 1])
    # Weights .4, .4, .2 at 30, 60, 150 degrees. 30: own .4 * (1 - .8746) = .0502, 60 is no nearer
    # to 30 than to 90; 60 the same; 150: .2 * (1 - .6065) = .0787, the first.
    picks = pick(pool, [1, 1, 0.8, 0.8, 0.4], 2)
    assert picks.rows.tolist() == [4, 2]
    np.testing.assert_allclose(picks.scores, [0.0787, 0.0502], atol=1e-4)
    assert picks.reasons[0] == (
        "labels stand for the frames that the model is unsure of 7.9% better with it"
    )


def test_a_frame_without_a_score_weighs_as_little_as_the_surest() -> None:
    unknown = [np.nan, np.nan, 0.2, np.nan, 0.9, 0.9, 0.9, 0.9]
    known = [0.2, 0.2, 0.2, 0.2, 0.9, 0.9, 0.9, 0.9]
    assert pick(CROWDS, unknown, 4).scores.tolist() == pick(CROWDS, known, 4).scores.tolist()


@pytest.mark.parametrize("nothing", [np.nan, 0.0, -0.2])
def test_where_nothing_is_known_all_frames_weigh_the_same(nothing: float) -> None:
    pool = walks(n_videos=3, n_frames=50, seed=0)
    equal = pick(pool, np.full(150, 0.5), 10)
    assert pick(pool, np.full(150, nothing), 10).rows.tolist() == equal.rows.tolist()


def test_near_duplicates_among_the_labels_do_not_blunt_it() -> None:
    # Labelled: 90 and 90.01 degrees. At a delta as small as that every frame would stand for
    # itself only, and the unsurest, a lone one at 270, would win over the middle of the crowd.
    pool = with_taken(make_pool(on_circle([90, 90.01, 0, 5, 10, 270])), [0, 1])
    assert pick(pool, [0.5, 0.5, 0.5, 0.5, 0.5, 0.6], 1).rows.tolist() == [3]


def test_it_needs_the_score() -> None:
    with pytest.raises(ValueError, match=r"'uncertainty_herding', which needs .* confidence"):
        select(
            CROWDS,
            strategy="uncertainty_herding",
            budget=1,
            limits=Limits(),
            rng=np.random.default_rng(0),
        )
