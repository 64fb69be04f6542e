"""k-means of a pool of any size, the same whatever the number of cores."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from alwatch.scores.distances import relative_squares, squared_lengths
from alwatch.scores.neighbours import stratified_rows

_FITTED = 50_000
_FULL_WORK = 2_500_000
"""Rows times clusters up to which all rows are used at every step: a second or two."""

_CHUNK = 4096


def cluster(
    rows: Callable[[Any], NDArray[np.float32]], n: int, k: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Cluster rows by k-means.

    The centres are those of all rows up to 50,000, beyond that of a stratified sample of as
    many; every row is then assigned to its nearest centre. Small tasks are solved by Lloyd's
    algorithm, large ones by mini-batches.

    Parameters
    ----------
    rows : callable
        Takes a slice or an int array of row numbers, returns these rows as float32 of shape
        (m, d).
    n : int
        Number of rows.
    k : int
        Clusters, at most n. Where fewer rows are distinct some stay empty.
    rng : numpy.random.Generator

    Returns
    -------
    (int array of shape (n,), float32 array of shape (n,))
        Number of each row's cluster, and its Euclidean distance to the centre.
    """
    fitted = stratified_rows(n, _FITTED, rng)
    seed = int(rng.integers(2**31))
    model = (
        KMeans(k, random_state=seed)
        if len(fitted) * k <= _FULL_WORK
        else MiniBatchKMeans(k, n_init=1, batch_size=_CHUNK, random_state=seed)
    )
    number = np.empty(n, np.int64)
    distance = np.empty(n, np.float32)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters
        centres = model.fit(rows(fitted)).cluster_centers_.astype(np.float32)
        for low in range(0, n, _CHUNK):
            part = rows(slice(low, min(low + _CHUNK, n)))
            nearest = relative_squares(part, centres).argmin(axis=1)
            number[low : low + len(part)] = nearest
            distance[low : low + len(part)] = np.sqrt(squared_lengths(part - centres[nearest]))
    return number, distance
