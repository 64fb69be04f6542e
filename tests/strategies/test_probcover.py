"""`probcover`: balls that cover most of the pool."""

from __future__ import annotations

import numpy as np
import pytest

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.probcover import fill
from alwatch.strategies.registry import select
from alwatch.strategies.selection import Selection
from tests.strategies.pools import make_pool, on_circle, walks, with_taken


def probcover(pool: Pool, budget: int, seed: int = 0) -> Picks:
    rng = np.random.default_rng(seed)
    return select(pool, strategy="probcover", budget=budget, limits=Limits(), rng=rng)


# Two wanted make two pseudo-labels: five frames and three. The nearest of different labels are
# 172 degrees apart, so that is the radius, and any ball holds its own cluster and no more.
POOL = make_pool(on_circle([0, 2, 4, 6, 8, 180, 182, 184]))


def test_the_ball_that_covers_most_comes_first() -> None:
    picks = probcover(POOL, 2)
    assert picks.rows.tolist() == [0, 5]
    np.testing.assert_allclose(picks.scores, [5 / 8, 3 / 8])
    assert picks.reasons[0] == "like 62.5% of the frames, none of which is like a labelled one"


def test_what_is_like_a_labelled_frame_is_covered_from_the_start() -> None:
    # One labelled and one wanted make two pseudo-labels of the seven that are left.
    picks = probcover(with_taken(POOL, [2]), 1)
    assert picks.rows.tolist() == [5]
    np.testing.assert_allclose(picks.scores, [3 / 7])


def test_once_everything_is_covered_the_farthest_frame_follows() -> None:
    # One pseudo-label, so balls have no bounds: the labelled frame covers all there is.
    pool = with_taken(make_pool(on_circle([0, 10, 100])), [0])
    one = make_pool(on_circle([0, 10]))
    assert probcover(one, 1).scores.tolist() == [1.0]
    picks = probcover(pool, 1)
    assert picks.rows.tolist() == [2]


@pytest.mark.parametrize("seed", range(3))
def test_every_pick_covers_no_more_than_the_one_before_and_all_at_most_everything(
    seed: int,
) -> None:
    picks = probcover(walks(n_videos=6, n_frames=100, seed=seed), 20, seed)
    covers = np.array(["like" in reason for reason in picks.reasons])
    assert covers[:10].all()
    shares = picks.scores[covers]
    assert (np.diff(shares) <= 0).all()
    assert 0.1 < shares.sum() <= 1 + 1e-9


def test_of_a_large_pool_some_candidates_are_enough_to_cover_nearly_as_much() -> None:
    pool = walks(n_videos=6, n_frames=500, seed=1)

    def covered(rows_max: int) -> float:
        selection = Selection(pool, Limits(), 10)
        fill(selection, np.random.default_rng(1), rows_max=rows_max)
        return float(selection.picks().scores.sum())

    assert covered(600) > 0.9 * covered(3000)


def test_where_all_candidates_are_used_up_the_queue_is_filled_from_the_other_frames() -> None:
    selection = Selection(make_pool(on_circle(range(40))), Limits(), 12)
    fill(selection, np.random.default_rng(0), rows_max=10)
    assert len(set(selection.picks().rows.tolist())) == 12
