"""How central each frame is in a pool, in time linear in the pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alwatch.scores.distances import unit_rows

_CHUNK = 4096
"""Rows turned to float64 at a time."""


def cosine_distance_sums(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Sum each frame's cosine distances to every frame of the pool, itself included.

    With rows x of length 1 this is n - x . sum(X), so no pair of frames is ever looked at. Of
    AlexNet features (`classifier.2`) it is the influence of the DeepLabCut study of active
    learning on Horse-10, which labels frames in *ascending* order: the frame in the thick of the
    crowd has the LOWEST sum and is the most influential.

    Parameters
    ----------
    vectors : float array of shape (n, d)
        Of any lengths; a row of zeros is at distance 1 from every row.

    Returns
    -------
    float64 array of shape (n,)
        Between 0 and 2 n.
    """
    sums = len(vectors) - similarity_sums(lambda part: unit_rows(vectors[part]), len(vectors))
    return np.maximum(sums, 0)


def similarity_sums(rows: Callable[[slice], NDArray[np.float32]], n: int) -> NDArray[np.float64]:
    """Sum each frame's cosine similarities to all `n` frames, itself included: x . sum(X).

    Parameters
    ----------
    rows : callable
        Takes a slice of row numbers, returns these rows scaled to length 1, float32 of shape
        (k, d). Each is asked for twice, so that not all of them need to be in memory.
    n : int
        Number of rows.

    Returns
    -------
    float64 array of shape (n,)
        Between -n and n.
    """
    parts = [slice(low, min(low + _CHUNK, n)) for low in range(0, n, _CHUNK)]
    if not parts:
        return np.empty(0)
    total = np.sum([rows(part).sum(axis=0, dtype=np.float64) for part in parts], axis=0)
    return np.concatenate([rows(part).astype(np.float64) @ total for part in parts])


def influence(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Tell how much each frame resembles the pool: its mean cosine similarity to all frames.

    ``1 - cosine_distance_sums(vectors) / n``: the same ranking turned round, so that, as for
    every score to be maximised, the HIGHEST is the most influential.

    Parameters
    ----------
    vectors : float array of shape (n, d)

    Returns
    -------
    float64 array of shape (n,)
        Between -1 and 1.
    """
    return 1 - cosine_distance_sums(vectors) / max(len(vectors), 1)
