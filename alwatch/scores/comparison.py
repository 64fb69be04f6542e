"""Whether a new model is worse than another one on frames that people have labelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alwatch.scores.bootstrap import difference_over_videos, mean_over_videos

_SURE = 0.9
"""In so large a share of the draws a new model must be worse to be called so."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A new and an old model on the same frames of one season, or of all.

    Parameters
    ----------
    season : str or None
        None is all.
    frames, videos : int
    new_px, old_px : float
        Mean errors, every video counting alike.
    share_worse : float
        Share of the draws of the videos in which the new error lies above the allowed ratio.
    is_worse : bool
    """

    season: str | None
    frames: int
    videos: int
    new_px: float
    old_px: float
    share_worse: float
    is_worse: bool


def frame_errors(
    new_px: NDArray[np.floating[Any]], old_px: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean error of each frame, over the bodyparts that either model has found.

    One that only the other has found counts as the largest error of either model on any frame:
    else a model that keeps silent where it is hard would look good.

    Parameters
    ----------
    new_px, old_px : float arrays of shape (n, k)
        Errors by frame and bodypart; NaN where it is not labelled, or that model has not found it.

    Returns
    -------
    new, old : float64 arrays of shape (n,)
        NaN where neither has found anything.
    """
    both = np.stack([new_px, old_px]).astype(np.float64)
    found = np.isfinite(both)
    either = found.any(axis=0)
    largest = both[found].max(initial=0.0)
    total = np.where(either, np.where(found, both, largest), 0.0).sum(axis=2)
    count = either.sum(axis=1)
    new, old = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return new, old


def compare(
    new_px: NDArray[np.floating[Any]],
    old_px: NDArray[np.floating[Any]],
    video: NDArray[np.integer[Any]],
    season: NDArray[np.str_],
    rng: np.random.Generator,
    *,
    min_frames: int,
    worse_ratio: float,
) -> list[Comparison]:
    """Compare two models over all frames, and then season by season.

    The new one is worse where its mean error lies above `worse_ratio` times the old one's, and
    does so in at least 90 of 100 draws of the videos. One video alone never tells.

    Parameters
    ----------
    new_px, old_px : float arrays of shape (n,)
        One error a frame; frames with a NaN in either are left out.
    video : int array of shape (n,)
    season : str array of shape (n,)
    rng : numpy.random.Generator
    min_frames : int
        Seasons, and a whole, with fewer frames are left out.
    worse_ratio : float
        At least 1.

    Returns
    -------
    list of Comparison
        All frames first; empty where there are too few.
    """
    known = np.isfinite(new_px) & np.isfinite(old_px)
    groups: list[tuple[str | None, NDArray[np.bool_]]] = [(None, known)]
    groups += [(name, known & (season == name)) for name in np.unique(season[known]).tolist()]
    return [
        _compared(name, new_px[rows], old_px[rows], video[rows], rng, worse_ratio)
        for name, rows in groups
        if rows.sum() >= max(min_frames, 1)
    ]


def _compared(
    season: str | None,
    new_px: NDArray[np.floating[Any]],
    old_px: NDArray[np.floating[Any]],
    video: NDArray[np.integer[Any]],
    rng: np.random.Generator,
    worse_ratio: float,
) -> Comparison:
    excess = difference_over_videos(new_px, worse_ratio * old_px, video, rng)
    return Comparison(
        season=season,
        frames=len(new_px),
        videos=excess.n_videos,
        new_px=mean_over_videos(new_px, video, rng).mean,
        old_px=mean_over_videos(old_px, video, rng).mean,
        share_worse=excess.share_worse,
        is_worse=bool(excess.mean > 0 and excess.share_worse >= _SURE),
    )
