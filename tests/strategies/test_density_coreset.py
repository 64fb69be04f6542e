"""`density_coreset`: k-centre in parts of equal density."""

from __future__ import annotations

import numpy as np
import pytest

from alwatch.strategies.density_coreset import fill
from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from alwatch.strategies.selection import Selection
from tests.strategies.pools import make_pool, on_circle, with_taken


def density_coreset(pool: Pool, budget: int, limits: Limits | None = None) -> Picks:
    return select(
        pool,
        strategy="density_coreset",
        budget=budget,
        limits=limits or Limits(),
        rng=np.random.default_rng(0),
    )


# Five circles in planes of their own, so that they are the square root of 2 apart, farther than
# the 20 nearest of any frame; the fewer frames a circle has, the farther its neighbours are.
SIZES = np.array([200, 130, 90, 60, 44])
CIRCLE = np.repeat(np.arange(5), SIZES)


def circles() -> np.ndarray:
    rows = np.zeros((SIZES.sum(), 10))
    for i, size in enumerate(SIZES):
        rows[i == CIRCLE, 2 * i : 2 * i + 2] = on_circle(np.arange(size) * 360 / size)
    return rows


def sparseness(size: int) -> float:
    """Mean distance to the ten neighbours on either side."""
    return float(np.mean(2 * np.sin(np.pi * np.arange(1, 11) / size)))


@pytest.mark.parametrize("budget", [1, 7, 40])
def test_each_part_gets_a_budget_in_proportion_to_how_sparse_it_is(budget: int) -> None:
    # The budget goes to the largest quotients weight / 1, weight / 3, weight / 5, ...
    quotients = [
        (sparseness(size) / (2 * turn + 1), i) for i, size in enumerate(SIZES) for turn in range(60)
    ]
    expected = [i for _, i in sorted(quotients, reverse=True)[:budget]]
    picks = density_coreset(make_pool(circles()), budget)
    assert CIRCLE[picks.rows].tolist() == expected
    assert picks.reasons[0].startswith("from the sparsest of 5 parts of the pool, by density, ")


def test_the_sparsest_part_gets_several_times_the_share_it_would_at_random() -> None:
    picked = np.bincount(CIRCLE[density_coreset(make_pool(circles()), 60).rows], minlength=5)
    share = picked / 60 / (SIZES / SIZES.sum())
    assert (np.diff(share) > 0).all()
    assert share[4] > 4 and share[0] < 0.3


def test_within_a_part_the_farthest_frame_is_taken() -> None:
    # Row 480 is at 0 degrees of the sparsest circle, of 44. Opposite is row 480 + 22, half way
    # between them are rows 491 and 513.
    pool = with_taken(make_pool(circles()), [480])
    mine = [row for row in density_coreset(pool, 12).rows.tolist() if row > 480]
    assert mine[0] == 502
    assert sorted(mine[1:3]) == [491, 513]


def test_where_a_part_is_used_up_the_others_go_on() -> None:
    limits = Limits(per_video_max=1)
    pool = make_pool(circles(), video=np.where(CIRCLE == 4, 100, np.arange(524) % 90))
    picks = density_coreset(pool, 30, limits)
    assert len(picks.rows) == 30
    assert (CIRCLE[picks.rows] == 4).sum() == 1


def test_of_a_large_pool_samples_are_drawn_until_the_queue_is_full() -> None:
    # A hundred frames are the same, so that a pick of one closes all; ten are not.
    pool = make_pool(on_circle([0] * 100 + list(range(10, 110, 10))))
    selection = Selection(pool, Limits(), 11)
    fill(selection, np.random.default_rng(0), rows_max=30)
    rows = selection.picks().rows
    assert len(rows) == 11 and (rows >= 100).sum() == 10


def test_a_sample_leaves_no_part_of_a_large_pool_out() -> None:
    selection = Selection(make_pool(circles()), Limits(), 30)
    fill(selection, np.random.default_rng(0), rows_max=150)
    assert set(CIRCLE[selection.picks().rows]) == {0, 1, 2, 3, 4}
