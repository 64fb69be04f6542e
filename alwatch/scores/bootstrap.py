"""How sure a mean over videos is. Videos are drawn again, not frames, which resemble each other.

The intervals are percentiles of the resampled means, moved outwards as far as the number of
videos asks for (the expanded percentile interval of Hesterberg 2015, "What Teachers Should Know
About the Bootstrap", section 5.3), and nowhere narrower than Student's t, as of two or three
videos no resample leaves their range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

_RESAMPLES = 10_000
_DRAWN_AT_ONCE = 1_000_000


@dataclass(frozen=True, slots=True)
class VideoMean:
    """A mean in which every video counts alike, and the bounds it lies within.

    Parameters
    ----------
    mean : float
        NaN where there is no video.
    low, high : float
        Bounds of the interval; infinite for fewer than two videos, which say nothing of how
        videos differ.
    n_videos : int
    """

    mean: float
    low: float
    high: float
    n_videos: int


@dataclass(frozen=True, slots=True)
class VideoDifference(VideoMean):
    """New errors less old ones, so negative where the new are lower.

    Parameters
    ----------
    share_worse : float
        Share of the resamples in which the new are higher, an equal one counting half; 0.5
        for fewer than two videos. It reaches 0 or 1 where all videos agree, which few do by chance
        too: three of three one time in four.
    """

    share_worse: float


def mean_over_videos(
    errors: NDArray[np.floating[Any]],
    video: NDArray[np.integer[Any]],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
) -> VideoMean:
    """Mean of the videos' mean errors, with an interval from resampling videos.

    Parameters
    ----------
    errors : float array of shape (n,)
        One value a frame; NaN are left out.
    video : int array of shape (n,)
        Which video each frame is from.
    rng : numpy.random.Generator
    level : float
        Probability that the interval is meant to hold, between 0 and 1.
    """
    means = _video_means(errors, video)
    low, high = _interval(means, resampled_means(means, rng), level)
    return VideoMean(_mean(means), low, high, len(means))


def difference_over_videos(
    new_errors: NDArray[np.floating[Any]],
    old_errors: NDArray[np.floating[Any]],
    video: NDArray[np.integer[Any]],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
) -> VideoDifference:
    """Compare two models on the same frames: `mean_over_videos` of new less old errors.

    Parameters
    ----------
    new_errors, old_errors : float arrays of shape (n,)
        Of the same frames in the same order. A frame that has NaN in either is left out.
    video : int array of shape (n,)
    rng : numpy.random.Generator
    level : float
    """
    if new_errors.shape != old_errors.shape:
        raise ValueError(
            "new and old errors must be of the same frames, got shapes "
            f"{new_errors.shape} and {old_errors.shape}"
        )
    means = _video_means(new_errors - old_errors, video)
    drawn = resampled_means(means, rng)
    low, high = _interval(means, drawn, level)
    worse = 0.5
    if len(means) > 1:
        worse = float((drawn > 0).mean() + (drawn == 0).mean() / 2)
    return VideoDifference(_mean(means), low, high, len(means), worse)


def resampled_means(
    values: NDArray[np.float64], rng: np.random.Generator, *, count: int = _RESAMPLES
) -> NDArray[np.float64]:
    """Means of `count` samples drawn with replacement, each as large as `values` (n,).

    Returns
    -------
    float64 array of shape (count,); NaN where there are no values
    """
    n = len(values)
    means = np.full(count, np.nan)
    step = max(1, _DRAWN_AT_ONCE // max(n, 1))
    for low in range(0, count if n else 0, step):
        shape = (min(step, count - low), n)
        means[low : low + step] = values[rng.integers(0, n, shape)].mean(axis=1)
    return means


def _video_means(
    errors: NDArray[np.floating[Any]], video: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    if errors.ndim != 1 or video.shape != errors.shape:
        raise ValueError(
            f"errors and video must both have shape (n,), got {errors.shape} and {video.shape}"
        )
    known = ~np.isnan(errors)
    _, number = np.unique(video[known], return_inverse=True)
    sums = np.bincount(number, weights=errors[known].astype(np.float64))
    means: NDArray[np.float64] = sums / np.bincount(number)
    return means


def _interval(
    means: NDArray[np.float64], drawn: NDArray[np.float64], level: float
) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    n = len(means)
    if n < 2:
        return -np.inf, np.inf
    students = float(t.ppf((1 + level) / 2, n - 1))
    tail = float(norm.cdf(-np.sqrt(n / (n - 1)) * students))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    mean, half = means.mean(), students * means.std(ddof=1) / np.sqrt(n)
    return float(min(low, mean - half)), float(max(high, mean + half))


def _mean(means: NDArray[np.float64]) -> float:
    return float(means.mean()) if len(means) else float("nan")
