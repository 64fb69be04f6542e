"""Is one video unlike anything labelled? Conformal p-values of novelty (Vovk et al. 2005)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alwatch.scores.distances import relative_squares, squared_lengths
from alwatch.scores.moments import moments_of

NEIGHBOURS = 5
"""Labelled frames that a frame is compared with: one alone may be a chance likeness."""


def conformal_p(
    reference: NDArray[np.floating[Any]], scores: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Share of all videos, each score's own among them, that score at least as high: its p.

    If a video is like the n reference videos, its p is at most alpha with probability at most
    alpha. No p can be below 1 / (n + 1).

    Parameters
    ----------
    reference : float array of shape (n,)
        Scores of reference videos; NaN are left out.
    scores : float array of shape (m,)
        Scores of other videos.

    Returns
    -------
    float64 array of shape (m,)
        (1 + how many of the reference are as high or higher) / (n + 1); NaN for a score of NaN.
    """
    known = np.sort(np.asarray(reference, np.float64)[~np.isnan(reference)])
    as_high = len(known) - np.searchsorted(known, np.asarray(scores, np.float64), side="left")
    p: NDArray[np.float64] = (1 + as_high) / (len(known) + 1)
    return np.where(np.isnan(scores), np.nan, p)


def video_novelty(
    videos: Sequence[NDArray[Any]],
    numbers: NDArray[np.integer[Any]],
    labelled: NDArray[Any],
    labelled_video: NDArray[np.integer[Any]],
    *,
    k: int = NEIGHBOURS,
) -> NDArray[np.float64]:
    """How far videos lie from the labelled frames of *other* videos.

    A video's own labelled frames never count, so the scores of videos with and without labels
    are alike, and one serves as the other's reference in `conformal_p`.

    Parameters
    ----------
    videos : sequence of float arrays of shape (n_i, d), rows in order of time
        Read at 32 evenly spaced moments; rows with a value that is not finite are left out.
    numbers : int array of shape (videos,)
        Which video each is, counted as in `labelled_video`.
    labelled : float array of shape (m, d)
        Vectors of the labelled frames.
    labelled_video : int array of shape (m,)
        Which video each labelled frame is from.
    k : int
        Nearest labelled frames; fewer where there are fewer.

    Returns
    -------
    float64 array of shape (videos,)
        Mean over the moments of the mean distance to the k nearest. Infinite where no other
        video has a labelled frame; NaN for a video without a finite row.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if len(numbers) != len(videos) or labelled_video.shape != labelled.shape[:1]:
        raise ValueError(
            f"numbers must have shape ({len(videos)},) and labelled_video "
            f"{labelled.shape[:1]}, got {numbers.shape} and {labelled_video.shape}"
        )
    usable = np.isfinite(labelled).all(axis=1)
    rows, of_video = labelled[usable].astype(np.float32), labelled_video[usable]
    novelty = np.full(len(videos), np.nan)
    present, moments = moments_of(videos)
    for number, frames in zip(present.tolist(), moments, strict=True):
        novelty[number] = _mean_distance(frames, rows[of_video != numbers[number]], k)
    return novelty


def _mean_distance(frames: NDArray[np.float32], others: NDArray[np.float32], k: int) -> float:
    if len(others) == 0:
        return float("inf")
    k = min(k, len(others))
    squares = relative_squares(frames, others) + squared_lengths(frames)[:, None]
    nearest = np.partition(squares, k - 1, axis=1)[:, :k]
    return float(np.sqrt(nearest.clip(min=0)).mean(dtype=np.float64))
