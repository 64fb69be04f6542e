"""Intervals of means over videos."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from alwatch.scores.bootstrap import (
    difference_over_videos,
    mean_over_videos,
    resampled_means,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_every_video_counts_alike_however_many_frames_it_has() -> None:
    errors = np.array([1.0, 1.0, 1.0, 1.0, 5.0, np.nan])
    found = mean_over_videos(errors, np.array([3, 3, 3, 3, 8, 8]), rng())
    assert (found.mean, found.n_videos) == (3.0, 2)
    # Student's t of the values 1 and 5: 12.706 standard errors of 2.
    assert (found.low, found.high) == pytest.approx((3 - 25.412, 3 + 25.412), abs=1e-3)


def test_one_video_says_nothing_of_how_videos_differ() -> None:
    found = mean_over_videos(np.arange(50.0), np.zeros(50, int), rng())
    assert (found.mean, found.low, found.high) == (24.5, -np.inf, np.inf)
    none = mean_over_videos(np.array([np.nan]), np.zeros(1, int), rng())
    assert np.isnan(none.mean)
    assert (none.low, none.high, none.n_videos) == (-np.inf, np.inf, 0)
    assert (
        difference_over_videos(np.ones(3), np.zeros(3), np.zeros(3, int), rng()).share_worse == 0.5
    )


def test_the_interval_of_many_videos_is_that_of_students_t() -> None:
    values = np.random.default_rng(1).normal(7, 2, 40)
    found = mean_over_videos(values, np.arange(40), rng())
    low, high = t.interval(0.95, 39, values.mean(), values.std(ddof=1) / np.sqrt(40))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1)


@pytest.mark.parametrize("n_videos", [2, 3, 6])
def test_of_few_videos_the_interval_still_holds_nine_times_in_ten(n_videos: int) -> None:
    """300 experiments; plain percentiles hold in 51, 74 and 86 % of them."""
    draws = np.random.default_rng(2).normal(0, 1, (300, n_videos))
    found = [mean_over_videos(row, np.arange(n_videos), rng()) for row in draws]
    plain = [np.quantile(resampled_means(row, rng()), [0.025, 0.975]) for row in draws]
    held = np.mean([interval.low <= 0 <= interval.high for interval in found])
    assert held > 0.92 > 0.9 > np.mean([low <= 0 <= high for low, high in plain])


def test_skewed_errors_have_the_longer_side_where_the_high_ones_are() -> None:
    values = np.exp(np.random.default_rng(3).normal(0, 1, 15))
    found = mean_over_videos(values, np.arange(15), rng())
    assert found.high - found.mean > 1.1 * (found.mean - found.low)


def test_a_difference_is_taken_frame_by_frame_before_videos_are_drawn() -> None:
    video = np.arange(6)
    old = np.array([1.0, 10.0, 100.0, 5.0, 50.0, 7.0])
    found = difference_over_videos(old + 0.5, old, video, rng())
    assert (found.mean, found.low, found.high, found.share_worse) == (0.5, 0.5, 0.5, 1.0)
    better = difference_over_videos(old - 0.5, old, video, rng())
    assert (better.mean, better.share_worse) == (-0.5, 0.0)
    same = difference_over_videos(old, old, video, rng())
    assert (same.mean, same.low, same.high, same.share_worse) == (0.0, 0.0, 0.0, 0.5)


def test_a_frame_unknown_to_either_model_is_left_out() -> None:
    new, old = np.array([np.nan, 2.0, 3.0, 3.0]), np.array([0.0, np.nan, 1.0, 2.0])
    found = difference_over_videos(new, old, np.array([0, 0, 1, 2]), rng())
    assert (found.mean, found.n_videos) == (1.5, 2)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30), st.floats(-50, 50))
def test_the_interval_holds_the_mean_and_moves_with_the_videos(
    values: list[float], offset: float
) -> None:
    errors, video = np.array(values), np.arange(len(values))
    found = mean_over_videos(errors, video, rng())
    assert found.low - 1e-9 <= found.mean <= found.high + 1e-9
    moved = mean_over_videos(errors + offset, video, rng())
    assert moved.low == pytest.approx(found.low + offset, abs=1e-6)
    assert moved.mean == pytest.approx(found.mean + offset, abs=1e-6)


def test_resamples_of_very_many_videos_are_drawn_in_parts() -> None:
    means = resampled_means(np.arange(300_000.0), rng(), count=7)
    assert means.shape == (7,)
    np.testing.assert_allclose(means, 150_000, rtol=0.01)


def test_arrays_of_other_frames_and_levels_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"both have shape \(n,\), got \(3,\) and \(2,\)"):
        mean_over_videos(np.zeros(3), np.zeros(2, int), rng())
    with pytest.raises(ValueError, match=r"of the same frames, got shapes \(3,\) and \(2,\)"):
        difference_over_videos(np.zeros(3), np.zeros(2), np.zeros(3, int), rng())
    with pytest.raises(ValueError, match="level must lie between 0 and 1, got 95"):
        mean_over_videos(np.zeros(3), np.arange(3), rng(), level=95)
