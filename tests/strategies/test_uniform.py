"""`uniform`: a stride over one list of all frames."""

from __future__ import annotations

import numpy as np
import pytest

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from tests.strategies.pools import make_pool, on_circle, with_taken


def uniform(pool: Pool, budget: int, seed: int, limits: Limits | None = None) -> Picks:
    return select(
        pool,
        strategy="uniform",
        budget=budget,
        limits=limits or Limits(),
        rng=np.random.default_rng(seed),
    )


@pytest.mark.parametrize("seed", range(8))
def test_one_frame_in_four_from_a_random_phase_runs_on_across_videos(seed: int) -> None:
    pool = make_pool(on_circle(range(12)), video=[0] * 5 + [1] * 7, frame=[*range(5), *range(7)])
    picks = uniform(pool, 3, seed)
    assert sorted(picks.rows.tolist()) in ([0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11])
    assert picks.reasons == ("one in 4 frames of all videos in a row",) * 3


def test_every_phase_occurs() -> None:
    pool = make_pool(on_circle(range(12)))
    assert {int(min(uniform(pool, 3, seed).rows)) for seed in range(40)} == {0, 1, 2, 3}


def test_a_stride_that_is_no_whole_number_is_spread_evenly() -> None:
    pool = make_pool(on_circle(np.arange(100)))
    steps = np.diff(np.sort(uniform(pool, 30, seed=1).rows))
    assert set(steps.tolist()) == {3, 4}


def test_labelled_frames_are_not_on_the_list() -> None:
    pool = with_taken(make_pool(on_circle(range(12))), [0, 1, 2, 3, 4, 5])
    assert sorted(uniform(pool, 2, seed=0).rows.tolist()) in ([6, 9], [7, 10], [8, 11])


def test_the_nearest_open_frame_stands_in_for_a_closed_one() -> None:
    pool = make_pool(on_circle(range(6)), time_s=[0, 1, 2, 3, 4, 100])
    rows = uniform(pool, 3, seed=0, limits=Limits(min_gap_s=50)).rows
    assert sorted(rows.tolist())[-1] == 5
    assert len(rows) == 2
