"""Do new videos look as the old ones did? A two-sample test whose unit is the video.

Frames of one video resemble each other so much that a test which counts them as independent
cries wolf nearly always. Here whole videos are exchanged: if new and reference videos are alike,
every way to call some of them new is equally likely, however alike the frames of each may be.

The statistic is the squared maximum mean discrepancy (Gretton et al. 2012, "A Kernel Two-Sample
Test") between videos, each of which is the mean embedding of its frames (Muandet et al. 2012).
Pairs of a video with itself are left out: their kernel says how varied a video is within itself,
which would make short videos look new.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alwatch.scores.distances import relative_squares, squared_lengths
from alwatch.scores.moments import moments_of
from alwatch.scores.projection import principal_coordinates

PERMUTATIONS = 19_999
"""Random exchanges; where there are no more ways than that, all are tried instead."""

_DIMENSIONS = 32
_MOST_VIDEOS = 256
_ROWS_AT_ONCE = 512
_LABELINGS_AT_ONCE = 1024
_ROUNDING = 1e-7
"""Labelings whose statistics differ by less are tied: kernel values are single precision."""


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """How unlike the reference videos the new ones are, and how likely that is by chance.

    Parameters
    ----------
    p : float
        Share of the ways to exchange videos under which the two groups are at least as unlike.
    statistic : float
        Squared maximum mean discrepancy, unbiased, so at times just below 0.
    effect : float
        The statistic less its mean over the exchanges, in their standard deviations; 0 where
        these are all equal.
    shift : float
        How far the mean of the new videos lies from that of the reference, in units of how far
        a video usually lies from the mean of its group (root mean square over all directions).
        Unbiased but for being cut off at 0; infinite where videos of a group do not differ.
        Of one-dimensional vectors it has a sign: positive where the new ones are higher. It is 0
        where the groups differ in spread or shape alone.
    smallest_p : float
        The lowest p that this many videos, or this many random exchanges, can give.
    n_reference, n_new : int
        Videos that were compared.
    unlikeness : float64 array of shape (new videos,)
        How much less each new video is like the reference videos than these are like each
        other, in standard deviations of theirs: near 0 without drift, highest for the videos that
        stand out most. NaN for a video without a finite row, or not drawn.
    """

    p: float
    statistic: float
    effect: float
    shift: float
    smallest_p: float
    n_reference: int
    n_new: int
    unlikeness: NDArray[np.float64]


def video_permutation_mmd(
    reference: Sequence[NDArray[Any]],
    new: Sequence[NDArray[Any]],
    *,
    rng: np.random.Generator,
    n_permutations: int = PERMUTATIONS,
) -> Drift:
    """Test whether new videos could be reference videos, by exchanging whole videos.

    Each video is read at 32 evenly spaced moments, so each counts alike. Vectors wider than 32
    are projected on the 32 directions along which all moments vary most. The kernel is Gaussian;
    its width is the median, over pairs of videos, of the mean squared distance of their frames.
    Both are read off all videos together, so they know nothing of which are new.

    Where videos are not exchangeable themselves, as several of one session are not, pass the
    rows of each session as one video.

    Parameters
    ----------
    reference, new : sequences of float arrays of shape (n_i, d), rows in order of time
        At least two videos each with a row in which all values are finite; other rows are left
        out. Of more than 256 a random 256 are compared; only those are indexed. One-dimensional
        scores are arrays of shape (n_i, 1).
    rng : numpy.random.Generator
        Draws the exchanges where there are more than `n_permutations` ways to choose which
        videos are new, and the videos where there are more than 256.
    n_permutations : int
        Random exchanges.

    Returns
    -------
    Drift

    Raises
    ------
    ValueError
        There are fewer than two usable videos in a group, or widths differ.
    """
    if n_permutations < 1:
        raise ValueError(f"n_permutations must be at least 1, got {n_permutations}")
    old_drawn, new_drawn = (_drawn(len(videos), rng) for videos in (reference, new))
    old_moments = moments_of([reference[i] for i in old_drawn])[1]
    present, new_moments = moments_of([new[i] for i in new_drawn])
    n, m = len(old_moments), len(new_moments)
    if n < 2 or m < 2:
        raise ValueError(
            f"two reference and two new videos with finite rows are needed, got {n} and {m}"
        )
    if old_moments.shape[2] != new_moments.shape[2]:
        raise ValueError(
            "reference and new vectors must be equally wide, got "
            f"{old_moments.shape[2]} and {new_moments.shape[2]}"
        )
    moments = _narrow(np.concatenate([old_moments, new_moments]), rng)
    kernel = _mean_kernels(moments)
    statistics = _exchanged(kernel, m, n_permutations, rng)
    statistic = float(_statistics(kernel, np.arange(n + m)[None] >= n)[0])
    unlikeness = np.full(len(new), np.nan)
    unlikeness[new_drawn[present]] = _unlikeness(kernel, n)
    return Drift(
        p=float((statistics >= statistic - _ROUNDING).mean()),
        statistic=statistic,
        effect=_standardised(statistic, statistics),
        shift=_shift(moments.mean(axis=1, dtype=np.float64), n),
        smallest_p=smallest_p(n, m, n_permutations),
        n_reference=n,
        n_new=m,
        unlikeness=unlikeness,
    )


def smallest_p(n_reference: int, n_new: int, n_permutations: int = PERMUTATIONS) -> float:
    """The lowest p that `video_permutation_mmd` can give for so many videos of each kind.

    Below an alpha that is smaller than this no drift, however large, can be found. 1 for fewer
    than two videos of a kind.
    """
    if n_reference < 2 or n_new < 2:
        return 1.0
    ways = comb(min(n_reference, _MOST_VIDEOS) + min(n_new, _MOST_VIDEOS), min(n_new, _MOST_VIDEOS))
    return 1 / min(ways, n_permutations + 1)


def _drawn(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if n <= _MOST_VIDEOS:
        return np.arange(n)
    return np.sort(rng.choice(n, _MOST_VIDEOS, replace=False))


def _narrow(moments: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Moments (v, m, d) about their mean, along at most 32 directions."""
    v, m, d = moments.shape
    rows = moments.reshape(v * m, d)
    if d > _DIMENSIONS:
        return principal_coordinates(rows, _DIMENSIONS, rng).reshape(v, m, -1)
    centre = rows.mean(axis=0, dtype=np.float64)
    about: NDArray[np.float32] = (rows - centre).astype(np.float32).reshape(v, m, d)
    return about


def _mean_kernels(moments: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean kernel value between the frames of every two videos: (v, m, d) to (v, v)."""
    v, m, d = moments.shape
    rows = moments.reshape(v * m, d)
    width = _kernel_width(moments.astype(np.float64))
    means = np.empty((v, v))
    step = max(1, _ROWS_AT_ONCE // m)
    for low in range(0, v, step):
        part = rows[low * m : (low + step) * m]
        squares = relative_squares(part, rows[low * m :]) + squared_lengths(part)[:, None]
        kernel = np.exp(np.minimum(squares / np.float32(-2 * width), 0))
        block = kernel.reshape(-1, m, v - low, m).mean(axis=3).mean(axis=1, dtype=np.float64)
        means[low : low + step, low:] = block
        means[low:, low : low + step] = block.T
    return means


def _kernel_width(moments: NDArray[np.float64]) -> float:
    """Median, over pairs of videos, of the mean squared distance between their frames."""
    centres = moments.mean(axis=1)
    within = (moments**2).sum(axis=2).mean(axis=1) - (centres**2).sum(axis=1)
    apart = ((centres[:, None] - centres) ** 2).sum(axis=2) + within[:, None] + within
    pairs = apart[np.triu_indices(len(apart), 1)].clip(min=0)
    return float(np.median(pairs)) or float(pairs.mean()) or 1.0


def _exchanged(
    kernel: NDArray[np.float64], n_new: int, n_permutations: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Statistics of all ways to choose the new videos, or of the true and of random ones."""
    n = len(kernel)
    if comb(n, n_new) <= n_permutations + 1:
        labelings = _all_labelings(n, n_new)
    else:
        labelings = _random_labelings(n, n_new, n_permutations, rng)
    return np.concatenate([_statistics(kernel, part) for part in labelings])


def _all_labelings(n: int, n_new: int) -> Iterator[NDArray[np.bool_]]:
    chosen = np.array(list(combinations(range(n), n_new)))
    labelings = np.zeros((len(chosen), n), dtype=bool)
    np.put_along_axis(labelings, chosen, True, axis=1)
    yield labelings


def _random_labelings(
    n: int, n_new: int, count: int, rng: np.random.Generator
) -> Iterator[NDArray[np.bool_]]:
    true = np.arange(n) >= n - n_new
    yield true[None]
    for low in range(0, count, _LABELINGS_AT_ONCE):
        shape = (min(_LABELINGS_AT_ONCE, count - low), n)
        yield rng.permuted(np.broadcast_to(true, shape), axis=1)


def _statistics(kernel: NDArray[np.float64], labelings: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Unbiased squared discrepancy under each labeling (b, v), in which True is new."""
    between = kernel - np.diag(np.diag(kernel))
    is_new = labelings.astype(np.float64)
    m = int(labelings[0].sum())
    n = len(kernel) - m
    of_new = is_new @ between.sum(axis=1)  # all pairs with a new video
    new_new = ((is_new @ between) * is_new).sum(axis=1)
    old_old = between.sum() - 2 * of_new + new_new
    found: NDArray[np.float64] = (
        new_new / (m * (m - 1)) + old_old / (n * (n - 1)) - 2 * (of_new - new_new) / (n * m)
    )
    return found


def _standardised(statistic: float, statistics: NDArray[np.float64]) -> float:
    spread = float(statistics.std())
    return float(statistic - statistics.mean()) / spread if spread > _ROUNDING else 0.0


def _shift(centres: NDArray[np.float64], n: int) -> float:
    """Distance of the groups' means of videos (v, d) in units of the spread of videos."""
    old, new = centres[:n], centres[n:]
    difference = new.mean(axis=0) - old.mean(axis=0)
    squares = ((old - old.mean(axis=0)) ** 2).sum() + ((new - new.mean(axis=0)) ** 2).sum()
    variance = squares / (len(centres) - 2)
    distance = float(difference @ difference) - variance * (1 / len(old) + 1 / len(new))
    if distance <= 0:
        return 0.0
    size = float(np.sqrt(distance / variance)) if variance > 0 else float("inf")
    return -size if len(difference) == 1 and difference[0] < 0 else size


def _unlikeness(kernel: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Each new video's mean kernel with the reference, set against the reference's own."""
    own = (kernel[:n, :n].sum(axis=1) - np.diag(kernel)[:n]) / (n - 1)
    spread = float(own.std(ddof=1))
    less: NDArray[np.float64] = own.mean() - kernel[n:, :n].mean(axis=1)
    return less / spread if spread > _ROUNDING else np.zeros_like(less)
