"""How central each frame is in a pool, in time linear in the pool."""

from __future__ import annotations

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
    total = np.zeros(vectors.shape[-1])
    for low in range(0, len(vectors), _CHUNK):
        total += unit_rows(vectors[low : low + _CHUNK]).sum(axis=0, dtype=np.float64)
    sums = np.empty(len(vectors))
    for low in range(0, len(vectors), _CHUNK):
        part = slice(low, low + _CHUNK)
        sums[part] = len(vectors) - unit_rows(vectors[part]).astype(np.float64) @ total
    return np.maximum(sums, 0)


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
