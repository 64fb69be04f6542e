"""What counts as the same picture: equal vectors anywhere, small steps within a video."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK = 2048

_ROUNDING = 1e-5
"""Of distances in float32: where all steps of a video are equal, all of them are duplicates."""


def step_radius(
    vectors: Callable[[slice], NDArray[np.float32]], within: slice, quantile: float
) -> float:
    """Set quantile of the distances between a video's neighbouring frames.

    Parameters
    ----------
    vectors : callable
        Unit vectors of a slice of rows.
    within : slice
        The video's rows, in the order of time.
    quantile : float
        0 to 1.
    """
    steps = [np.zeros(0, dtype=np.float32)]
    for low in range(within.start, within.stop - 1, _CHUNK):
        rows = vectors(slice(low, min(low + _CHUNK + 1, within.stop)))
        steps.append(np.linalg.norm(rows[1:] - rows[:-1], axis=1))
    lengths = np.concatenate(steps)
    radius = float(np.quantile(lengths, quantile)) if len(lengths) else 0.0
    return radius * (1 + _ROUNDING)


def keys_of(vectors: NDArray[Any]) -> NDArray[np.int64]:
    """A number for each row that is equal for equal rows; adding 0 turns -0 into 0."""
    keys = np.empty(len(vectors), dtype=np.int64)
    for low in range(0, len(vectors), _CHUNK):
        part = vectors[low : low + _CHUNK].astype(np.float32) + np.float32(0)
        keys[low : low + _CHUNK] = [hash(row.tobytes()) for row in part]
    return keys
