"""DeepLabCut's own ways of extracting frames."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from tests.strategies.pools import make_pool, on_circle

CLUSTER = np.repeat([0, 1, 2], [30, 50, 40])
DEGREES = 120 * CLUSTER + np.linspace(0, 5, 120)
"""A video with three clusters."""


def run(strategy: str, pool: Pool, budget: int, seed: int = 0) -> Picks:
    rng = np.random.default_rng(seed)
    return select(pool, strategy=strategy, budget=budget, limits=Limits(), rng=rng)


def two_videos() -> Pool:
    degrees = [*DEGREES, *(DEGREES + 60)]
    return make_pool(on_circle(degrees), np.repeat([0, 1], 120), np.tile(np.arange(120), 2))


@pytest.mark.parametrize("seed", range(5))
def test_kmeans_takes_one_frame_of_each_cluster_of_each_video(seed: int) -> None:
    picks = run("dlc_kmeans", two_videos(), 6, seed)
    seen = {(int(row) // 120, int(CLUSTER[row % 120])) for row in picks.rows}
    assert seen == {(video, cluster) for video in (0, 1) for cluster in range(3)}
    assert set(picks.reasons) == {
        f"drawn from a cluster of {n} similar frames of its video" for n in (30, 50, 40)
    }


def test_kmeans_takes_any_member_of_a_cluster() -> None:
    drawn = [
        int(row) for seed in range(60) for row in run("dlc_kmeans", two_videos(), 6, seed).rows
    ]
    places = [sum(1 for row in drawn if low <= row < low + 10) for low in range(0, 30, 10)]
    assert min(places) > 8  # of the first cluster's thirds 20 each are expected, spread 4


def test_kmeans_with_a_share_as_large_as_the_video_takes_all_of_it() -> None:
    pool = make_pool(on_circle(range(12)), [0, 0, *[1] * 10], [0, 1, *range(10)])
    rows = run("dlc_kmeans", pool, 6).rows.tolist()
    assert {0, 1} < set(rows)
    assert len(rows) == 6


def test_uniform_gives_every_video_the_same_number_and_every_frame_the_same_chance() -> None:
    pool = make_pool(on_circle(range(15)), [0] * 5 + [1] * 10, [*range(5), *range(10)])
    drawn: Counter[int] = Counter()
    for seed in range(300):
        rows = run("dlc_uniform", pool, 4, seed).rows.tolist()
        assert sorted(pool.video[rows].tolist()) == [0, 0, 1, 1]
        drawn.update(rows)
    # Expected are 120 of each frame of the first video and 60 of the second; spread about 8.
    assert all(80 < drawn[row] < 160 for row in range(5))
    assert all(30 < drawn[row] < 90 for row in range(5, 15))


def two_short_videos(change: list[float]) -> Pool:
    pool = make_pool(on_circle(range(18)), np.repeat([0, 1], 9), np.tile(np.arange(9), 2))
    return replace(pool, scores={"change": np.array(change)})


def test_jump_takes_the_largest_changes_of_each_video_in_turn() -> None:
    change = [0, 5, 1, 0, 9, 0, 7, 0, np.nan, 0.1, 0, 0, 0.3, 0, 0, 0.2, 0, np.nan]
    picks = run("dlc_jump", two_short_videos(change), 6)
    of_video = [[row for row in picks.rows.tolist() if row // 9 == video] for video in (0, 1)]
    assert of_video == [[4, 6, 1], [12, 15, 9]]
    assert set(picks.rows[:2].tolist()) == {4, 12}
    assert "the pose jumps to the next frame (9)" in picks.reasons


def test_jump_takes_frames_whose_change_is_unknown_last() -> None:
    change = [*[np.nan] * 8, 0.0, *[0.0] * 9]
    rows = run("dlc_jump", two_short_videos(change), 4).rows.tolist()
    assert next(row for row in rows if row < 9) == 8
