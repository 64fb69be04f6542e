"""`liu_ferrari`: uncertainty and influence over rounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from tests.strategies.pools import make_pool, on_circle

# Sums of similarities: 0 degrees 2.81, 20: 3.27, 30: 3.35, 90: 1.84, so that R is
# 2/4, 3/4, 4/4, 1/4; U is 4/4, 1/4, 3/4, 2/4.
# The median of the squared chords of 10, 20, 30, 60, 70, 90 degrees lies between those of 30 and
# 60, (.268 + 1) / 2 = .634: the radius is that of 46.9 degrees.
DEGREES = [0, 20, 30, 90]
LACKING = [0.4, 0.1, 0.3, 0.2]


def four(n_labelled: int, lacking: object = LACKING) -> Pool:
    """The four frames, and labelled ones of a video that is not in the pool."""
    pool = make_pool(on_circle(DEGREES))
    return replace(
        pool,
        scores={"confidence": np.array(lacking, dtype=np.float64)},
        taken_vectors=on_circle(200 + 0.1 * np.arange(n_labelled)).astype(np.float32),
        taken_video=np.full(n_labelled, 9),
        taken_frame=np.arange(n_labelled),
        taken_time_s=np.arange(n_labelled, dtype=np.float64),
    )


def liu_ferrari(pool: Pool, budget: int = 2) -> Picks:
    rng = np.random.default_rng(0)
    return select(pool, strategy="liu_ferrari", budget=budget, limits=Limits(), rng=rng)


def test_with_nothing_labelled_only_influence_counts() -> None:
    # 30 degrees first; 20 and 0 lie within its radius, 90 doesn't.
    picks = liu_ferrari(four(0))
    assert picks.rows.tolist() == [2, 3]
    assert picks.scores.tolist() == [1.0, 0.25]
    assert picks.reasons[0] == "more unsure than 50%, more typical than 75% of all frames"


@pytest.mark.parametrize(
    ("n_labelled", "rows", "scores"),
    [
        # w = 1/2: .75, .5, .875, .375
        (2, [2, 3], [0.875, 0.375]),
        # w = 3/4: .875, .375, .8125, .4375; 30 lies within the radius of 0
        (6, [0, 3], [0.875, 0.4375]),
    ],
)
def test_uncertainty_counts_the_more_the_more_is_labelled(
    n_labelled: int, rows: list[int], scores: list[float]
) -> None:
    picks = liu_ferrari(four(n_labelled))
    assert picks.rows.tolist() == rows
    np.testing.assert_allclose(picks.scores, scores)


def test_a_frame_that_is_not_scored_gains_nothing_by_it() -> None:
    picks = liu_ferrari(four(198, [np.nan, 0.1, 0.3, 0.2]))  # w = .99
    assert picks.rows.tolist()[0] == 2
    picks = liu_ferrari(four(198, [np.nan] * 4), 4)
    assert picks.rows.tolist()[0] == 2
    assert picks.reasons[0] == "not scored yet, more typical than 75% of all frames"


def test_it_begins_again_when_all_that_is_left_resembles_a_pick() -> None:
    assert sorted(liu_ferrari(four(0), 4).rows.tolist()) == [0, 1, 2, 3]


def test_a_crowd_of_look_alikes_gives_one_frame_however_unsure_the_model_is() -> None:
    degrees = np.concatenate([np.linspace(0, 2, 1500), np.linspace(80, 82, 1500), [200, 200.5]])
    lacking = np.concatenate([np.full(1500, 0.9), np.full(1500, 0.5), [0.1, 0.2]])
    pool = replace(make_pool(on_circle(degrees)), scores={"confidence": lacking})
    rows = liu_ferrari(pool, 3).rows
    assert (rows < 1500).sum() <= 2
    assert ((rows >= 1500) & (rows < 3000)).sum() >= 1
