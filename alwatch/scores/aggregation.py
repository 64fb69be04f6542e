"""From one value per bodypart to one per frame."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Aggregation = Literal["top_quarter", "max", "mean"]


def aggregate(
    per_bodypart: NDArray[np.floating[Any]], how: Aggregation = "top_quarter"
) -> NDArray[np.float32]:
    """Make one value per frame of one per bodypart, those that are NaN left out.

    Parameters
    ----------
    per_bodypart : float array of shape (n, k)
    how : {"top_quarter", "max", "mean"}
        The mean of the highest quarter of the bodyparts that are not NaN (rounded up), which a
        single odd bodypart moves less than the maximum, and which many good ones do not hide as
        they do in the mean.

    Returns
    -------
    float32 array of shape (n,)
        NaN where all bodyparts are.

    Raises
    ------
    ValueError
        The array is not two-dimensional, or there is no such aggregation.
    """
    if per_bodypart.ndim != 2:
        raise ValueError(f"per_bodypart must have shape (n, k), got {per_bodypart.shape}")
    known = (~np.isnan(per_bodypart)).sum(axis=1)
    if how == "top_quarter":
        counted = -(-known // 4)
    elif how == "max":
        counted = np.minimum(known, 1)
    elif how == "mean":
        counted = known
    else:
        raise ValueError(f"how must be top_quarter, max or mean, got {how!r}")
    falling = -np.sort(-per_bodypart.astype(np.float64), axis=1)  # NaN last
    is_counted = np.arange(per_bodypart.shape[1]) < counted[:, None]
    sums = np.where(is_counted, falling, 0).sum(axis=1)
    means = np.where(counted > 0, sums / np.maximum(counted, 1), np.nan)
    return np.asarray(means, np.float32)
