"""Drift tests on videos as they are: few, and each of frames that resemble one another.

`tests/bench/bench_drift.py` measures the same with more repetitions.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binom, ks_2samp

from tests.scores.drift_simulation import alarms, by_video, by_video_roughly, correlated_videos


def test_seasons_alike_raise_alarm_no_oftener_than_alpha_where_frames_as_units_always_do() -> None:
    rng = np.random.default_rng(0)
    alpha, n_seasons, d = 0.1, 150, 4
    false, framewise = 0, 0
    for _ in range(n_seasons):
        reference = correlated_videos(12, d, rng, frames=100)
        season = correlated_videos(12, d, rng, frames=100)
        false += any(alarm for _, alarm in alarms(by_video_roughly, reference, season, alpha, rng))
        first = np.concatenate(reference), np.concatenate(season[:3])
        framewise += any(ks_2samp(first[0][:, i], first[1][:, i]).pvalue < 1e-4 for i in range(d))
    assert false <= binom.ppf(0.999, n_seasons, alpha)
    assert framewise >= 0.95 * n_seasons


def test_a_shift_by_one_spread_of_videos_is_found_after_six_videos_four_times_in_five() -> None:
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(50):
        reference = correlated_videos(20, 8, rng, frames=200)
        season = correlated_videos(6, 8, rng, frames=200, shift=1.0)
        found += any(alarm for _, alarm in alarms(by_video, reference, season, 0.01, rng))
    assert found >= 40
