"""How densely the rows of a pool lie, and fair samples for where all of it is too much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alwatch.scores.distances import relative_squares, squared_lengths

EXACT_UP_TO = 50_000
"""Rows that are compared with each other one and all: a minute or so on one core."""

SAMPLE = 10_000
"""Rows that stand for a larger pool."""

_CHUNK = 1024
_REFERENCE_CHUNK = 8192


def stratified_rows(n: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw one row from each of `most` equal stretches of rows 0 to n - 1; all if there are fewer.

    Where rows are in the order (video, time) every video and every part of it has its share.

    Returns
    -------
    int array of shape (min(n, most),), increasing
    """
    if n <= most:
        return np.arange(n)
    ends = np.arange(most + 1) * n // most
    return rng.integers(ends[:-1], ends[1:])


def mean_neighbour_distance(
    rows: Callable[[Any], NDArray[np.float32]],
    n: int,
    k: int,
    rng: np.random.Generator,
    *,
    exact_up_to: int = EXACT_UP_TO,
    sample: int = SAMPLE,
) -> NDArray[np.float64]:
    """Measure how far each row's k nearest neighbours are on average; small where it is dense.

    Up to `exact_up_to` rows every row is compared with all. Beyond, with a stratified sample of
    `sample` rows, so that time stays linear: the k nearest of one row in r are about as far as
    the k r nearest of all, that is, density is measured at a coarser scale, alike for all rows.
    Memory is the compared rows in float32 and some 50 MB.

    Parameters
    ----------
    rows : callable
        Takes a slice or an int array of row numbers, returns these rows as float32 of shape
        (m, d).
    n : int
        Number of rows.
    k : int
        Neighbours, the row itself not counted; at most as many as there are.
    rng : numpy.random.Generator
        For the sample; not used up to `exact_up_to` rows.

    Returns
    -------
    float64 array of shape (n,)
        Euclidean distances, good to about 1e-3; 0 where there is no other row or k is 0.
    """
    chosen = stratified_rows(n, n if n <= exact_up_to else sample, rng)
    k = min(k, len(chosen) - 1)
    mean = np.zeros(n)
    if k < 1:
        return mean
    reference = rows(chosen)
    for low in range(0, n, _CHUNK):
        part = rows(slice(low, min(low + _CHUNK, n)))
        squares = _smallest_squares(part, low, reference, chosen, k)
        mean[low : low + len(part)] = np.sqrt(squares.clip(min=0)).mean(axis=1, dtype=np.float64)
    return mean


def _smallest_squares(
    part: NDArray[np.float32],
    low: int,
    reference: NDArray[np.float32],
    chosen: NDArray[np.int64],
    k: int,
) -> NDArray[np.float32]:
    """Squared distances to the k nearest reference rows, none of them the row itself."""
    lengths = squared_lengths(part)[:, None]
    best = np.empty((len(part), 0), np.float32)
    for start in range(0, len(reference), _REFERENCE_CHUNK):
        squares = relative_squares(part, reference[start : start + _REFERENCE_CHUNK]) + lengths
        first, end = np.searchsorted(
            chosen[start : start + _REFERENCE_CHUNK], [low, low + len(part)]
        )
        itself = np.arange(first, end)
        squares[chosen[start + itself] - low, itself] = np.inf
        best = np.concatenate([best, squares], axis=1)
        if best.shape[1] > k:
            best = np.partition(best, k - 1, axis=1)[:, :k]
    return best
