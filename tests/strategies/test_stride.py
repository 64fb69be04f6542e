"""`stride`: equally many frames of every video."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from tests.strategies.pools import make_pool, on_circle, walks, with_taken


def stride(pool: Pool, budget: int, seed: int = 0, limits: Limits | None = None) -> Picks:
    return select(
        pool,
        strategy="stride",
        budget=budget,
        limits=limits or Limits(),
        rng=np.random.default_rng(seed),
    )


def pool_of(*lengths: int) -> Pool:
    """Videos of these many frames, one a second."""
    return make_pool(
        on_circle(0.1 * np.arange(sum(lengths))),
        video=np.repeat(np.arange(len(lengths)), lengths),
        frame=np.concatenate([np.arange(length) for length in lengths]),
    )


def counts(pool: Pool, picks: Picks) -> list[int]:
    return np.bincount(pool.video[picks.rows], minlength=pool.video.max() + 1).tolist()


def test_every_video_gets_the_same_share_whatever_its_length() -> None:
    pool = pool_of(100, 10, 1000)
    assert counts(pool, stride(pool, 15)) == [5, 5, 5]


def test_what_short_videos_cannot_use_flows_to_the_others() -> None:
    pool = pool_of(2, 50, 5, 50)
    assert counts(pool, stride(pool, 27)) == [2, 10, 5, 10]


def test_the_remainder_goes_to_different_videos_by_seed() -> None:
    pool = pool_of(20, 20, 20)
    shares = [tuple(counts(pool, stride(pool, 10, seed))) for seed in range(20)]
    assert set(shares) == {(4, 3, 3), (3, 4, 3), (3, 3, 4)}


@pytest.mark.parametrize("seed", range(5))
def test_a_share_is_evenly_spaced_in_time_not_in_frames(seed: int) -> None:
    # A dense stretch of 90 frames in the first second, then one frame a second for 40 seconds.
    times_s = np.concatenate([np.arange(90) / 90, np.arange(1, 41)])
    pool = make_pool(on_circle(0.1 * np.arange(130)), time_s=times_s)
    picked_s = np.sort(times_s[stride(pool, 4, seed).rows])
    np.testing.assert_allclose(np.diff(picked_s), 10, atol=1.0)
    assert picked_s[0] <= 10


def test_the_phase_is_random() -> None:
    pool = pool_of(100)
    assert len({int(min(stride(pool, 4, seed).rows)) for seed in range(30)}) > 10


def test_videos_take_turns() -> None:
    pool = pool_of(30, 30, 30, 30)
    picks = stride(pool, 12)
    for turn in range(0, 12, 4):
        assert set(pool.video[picks.rows[turn : turn + 4]].tolist()) == {0, 1, 2, 3}


def test_a_budget_below_the_number_of_videos_is_dealt_fairly() -> None:
    pool = walks(n_videos=10, n_frames=5, seed=0)
    drawn: Counter[int] = Counter()
    for seed in range(500):
        videos = pool.video[stride(pool, 4, seed).rows].tolist()
        assert len(set(videos)) == 4
        drawn.update(videos)
    assert min(drawn.values()) > 150  # 200 each are expected, with a spread of 11


def test_videos_with_fewer_labelled_or_queued_frames_come_first() -> None:
    pool = with_taken(pool_of(9, 9, 9, 9), [0, 1, 9, 27])
    for seed in range(5):
        videos = pool.video[stride(pool, 3, seed).rows]
        assert videos[0] == 2
        assert set(videos[1:].tolist()) == {1, 3}


def test_a_cap_leaves_the_capped_share_evenly_spaced() -> None:
    pool = pool_of(100)
    picks = stride(pool, 50, limits=Limits(per_video_max=4))
    assert set(np.diff(np.sort(picks.rows)).tolist()) <= {24, 25, 26}
    assert picks.reasons == ("one of 4 evenly spaced frames of its video",) * 4


def test_what_limits_close_in_one_video_flows_to_the_others() -> None:
    pool = pool_of(10, 100)
    picks = stride(pool, 20, limits=Limits(min_gap_s=5))
    assert counts(pool, picks)[0] <= 2
    assert len(picks.rows) >= 12
