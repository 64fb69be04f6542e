"""How much of a pool lies close to a labelled frame, and what "close" means in an archive."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alwatch.scores.distances import nearest_distance

_PAIR_CHUNK = 1024
"""Pairs of frames measured at a time."""


def coverage(pool: NDArray[Any], covered_by: NDArray[Any], radius: float) -> float:
    """Share of the pool's frames that have a labelled frame within `radius`.

    Parameters
    ----------
    pool : float array of shape (n, d)
    covered_by : float array of shape (m, d)
        Vectors of the labelled frames, by the same embedder and scaled as the pool's are.
    radius : float
        Euclidean distance, >= 0; a frame exactly that far away counts.

    Returns
    -------
    float
        Between 0 and 1; 1 for an empty pool, which leaves nothing uncovered.
    """
    if not radius >= 0:
        raise ValueError(f"radius must be at least 0, got {radius}")
    if len(pool) == 0:
        return 1.0
    return float((nearest_distance(pool, covered_by) <= radius).mean())


def typical_radius(
    vectors: NDArray[Any],
    rng: np.random.Generator,
    *,
    video: NDArray[np.integer[Any]],
    quantile: float = 0.05,
    n_pairs: int = 10_000,
) -> float:
    """Read off an archive how far apart two frames are that still look alike.

    It is a low quantile of the distances between random frames of *different* videos. Frames of
    one video are close only because one follows the other; two videos come as close as this
    only where the animal, the scene and the posture agree. Every pair of videos is equally
    likely, whatever their lengths, so that one long video does not set the scale. Where all
    frames are of one video, random pairs of its frames are taken instead.

    Parameters
    ----------
    vectors : float array of shape (n, d)
    rng : numpy.random.Generator
        The same state gives the same radius.
    video : int array of shape (n,)
        Which video each row is from.
    quantile : float
        Between 0 and 1.
    n_pairs : int
        How many random pairs to measure.

    Returns
    -------
    float
        Euclidean distance; 0 where there are fewer than two frames.
    """
    if vectors.ndim != 2 or video.shape != vectors.shape[:1]:
        raise ValueError(
            f"vectors must have shape (n, d) and video (n,), got {vectors.shape} and {video.shape}"
        )
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile must lie between 0 and 1, got {quantile}")
    if n_pairs < 1:
        raise ValueError(f"n_pairs must be at least 1, got {n_pairs}")
    if len(vectors) < 2:
        return 0.0
    return radius_of_pairs(vectors, *random_pairs(video, n_pairs, rng), quantile=quantile)


def radius_of_pairs(
    vectors: NDArray[Any],
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    *,
    quantile: float = 0.05,
) -> float:
    """A low quantile of the distances between pairs of rows: see `typical_radius`.

    Parameters
    ----------
    vectors : float array of shape (n, d)
    one, other : int64 arrays of shape (pairs,)
        Row numbers; at least one pair.
    quantile : float
    """
    lengths = [
        np.linalg.norm(
            vectors[one[low : low + _PAIR_CHUNK]].astype(np.float32)
            - vectors[other[low : low + _PAIR_CHUNK]].astype(np.float32),
            axis=1,
        )
        for low in range(0, len(one), _PAIR_CHUNK)
    ]
    return float(np.quantile(np.concatenate(lengths), quantile))


def random_pairs(
    video: NDArray[np.integer[Any]], n_pairs: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers of random pairs of frames: of two videos, or of one where there is but one.

    Parameters
    ----------
    video : int array of shape (n,), n >= 2
        Which video each row is from; every pair of videos is equally likely.
    n_pairs : int
    rng : numpy.random.Generator

    Returns
    -------
    one, other : int64 arrays of shape (n_pairs,)
    """
    by_video = np.argsort(video, kind="stable")
    _, start, count = np.unique(video[by_video], return_index=True, return_counts=True)
    if len(start) == 1:
        return _two_of(np.full(n_pairs, len(video)), rng)
    first, second = _two_of(np.full(n_pairs, len(start)), rng)
    one = by_video[start[first] + rng.integers(0, count[first])]
    other = by_video[start[second] + rng.integers(0, count[second])]
    return one, other


def _two_of(
    sizes: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two different whole numbers below each size, every pair equally likely."""
    first = rng.integers(0, sizes)
    second = (first + rng.integers(1, sizes)) % sizes
    return first, second
