"""A video as a few of its frames: equally many of every video, evenly spaced in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOMENTS = 32
"""Frames that stand for a video: frames a second apart are so alike that more add little."""


def evenly_spaced(n: int, count: int) -> NDArray[np.int64]:
    """Middles of `count` equal stretches of rows 0 to n - 1; a row comes twice where n < count.

    A video each of whose frames is repeated equally often is read at the same moments.

    Returns
    -------
    int64 array of shape (count,), not decreasing; empty where n is 0
    """
    if n == 0:
        return np.empty(0, np.int64)
    return (2 * np.arange(count) + 1) * n // (2 * count)


def moments_of(
    videos: Sequence[NDArray[Any]], count: int = MOMENTS
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Read every video at equally many evenly spaced moments, so that each counts alike.

    Parameters
    ----------
    videos : sequence of float arrays of shape (n_i, d), in order of time
        Rows with a value that is not finite are left out. Each is indexed once.
    count : int
        Moments of each video.

    Returns
    -------
    present : int64 array of shape (v,), increasing
        The videos that have a row at all.
    moments : float32 array of shape (v, count, d)
    """
    present, read, widths = [], [], set()
    for number in range(len(videos)):
        rows = videos[number]
        if rows.ndim != 2:
            raise ValueError(
                f"video {number} must be 2-D, one row per frame, got shape {rows.shape}"
            )
        widths.add(rows.shape[1])
        finite = np.flatnonzero(np.isfinite(rows).all(axis=1))
        if len(finite):
            present.append(number)
            read.append(rows[finite[evenly_spaced(len(finite), count)]].astype(np.float32))
    if len(widths) > 1:
        raise ValueError(f"videos must be equally wide, got widths {sorted(widths)}")
    width = widths.pop() if widths else 0
    moments = np.stack(read) if read else np.empty((0, count, width), np.float32)
    return np.array(present, np.int64), moments
