"""What the herding strategies share: greedy facility location over a selection of any size.

Up to 20,000 open frames all of them are reference and candidates, and the choice is that of the
plain greedy algorithm. Beyond that both are samples, in proportion to the weights and spread over
videos and time (`weighted_sample`):

- 20,000 reference frames: F of any one queue is off by 1.2 % of its range or more with a
  probability below 1 % (Hoeffding).
- 20,000 candidates, drawn again from the open frames if the limits close all of them. Any
  neighbourhood that holds 1/2000 of the weight has a candidate with a probability of 99.99 %. The
  guarantee of the greedy algorithm holds among the candidates; exchanging a frame of the best
  queue for a candidate at a distance r loses at most 0.86 r / delta, the steepest slope of the
  kernel, of the share of F that this frame stands for. What is lost are lone frames, of which F
  gains little.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from alwatch.scores.facility import (
    DELTA_MIN,
    FacilityGreedy,
    distances_between,
    spacing,
    weighted_sample,
)
from alwatch.strategies.selection import Selection

_ROWS_MAX = 20_000
_DELTA_ROWS = 2048
_FLOOR_QUANTILE = 0.05


def take_covering(
    selection: Selection,
    rng: np.random.Generator,
    *,
    weights: NDArray[np.float64],
    delta: float,
    stand_for: str,
    rows_max: int = _ROWS_MAX,
) -> None:
    """Take the open frame that adds most to F until the budget is used up.

    F weighs the frames that are open now: what is closed for good, an empty scene or an
    outlier, needs no frame that stands for it. The score is the gain as a share of the weight,
    0 to 1. One thread, so that the number of cores does not change a gain's last digits.

    Parameters
    ----------
    selection : Selection
    rng : numpy.random.Generator
        Used only where more than `rows_max` frames are open.
    weights : float64 array of shape (n,)
        Of each row, >= 0. Where all open rows have 0, all weigh the same.
    delta : float
        Scale of the kernel; at least `DELTA_MIN` is taken.
    stand_for : str
        What the reason says that the frame stands for.
    rows_max : int
        Most reference rows, and most candidates.
    """
    if not selection.wants_more:
        return
    weights = np.where(selection.open_mask, weights, 0)
    rows, shares = _reference(selection, rng, weights, rows_max)
    reference = selection.vectors(rows)
    with threadpool_limits(limits=1):
        while selection.wants_more:
            candidates = _candidates(selection, rng, weights, rows_max)
            greedy = FacilityGreedy(
                selection.vectors(candidates),
                reference,
                shares,
                selection.known_vectors(),
                delta=max(delta, DELTA_MIN),
            )
            _take_from(selection, greedy, candidates, stand_for)


def bandwidth(selection: Selection, rng: np.random.Generator) -> float:
    """Choose delta by how densely the pool is labelled.

    It is the median distance of a labelled (or queued) frame to the nearest other one, so that
    it shrinks as labels become dense: few labels are spread over the pool's large structure,
    many over its detail. It does not fall below the 5 % quantile of the distances between open
    frames of different videos, at which frames look alike: the published rule, the smallest
    positive distance between labelled frames, collapses with near-duplicates, and all frames
    would stand for themselves only. With fewer than two labelled frames it is the median of the
    distances between open frames of different videos. At most 2048 frames of the pool are
    measured, equally many of each video, and 2048 of the labelled ones, against all labelled.
    """
    rows = selection.open_rows()
    if len(rows) > _DELTA_ROWS:
        equal = weighted_sample(equal_say(selection)[rows], _DELTA_ROWS, rng)
        rows = rows[np.unique(equal)]
    known = selection.known_vectors()
    with threadpool_limits(limits=1):
        apart = distances_between(selection.vectors(rows), selection.video[rows])
        if len(known) >= 2:
            floor = float(np.quantile(apart, _FLOOR_QUANTILE)) if len(apart) else DELTA_MIN
            return max(spacing(known), floor, DELTA_MIN)
    return max(float(np.median(apart)), DELTA_MIN) if len(apart) else 1.0


def equal_say(selection: Selection) -> NDArray[np.float64]:
    """Weights (n,) by which all who have equal shares have an equal say; 0 where closed.

    The open frames of each individual (or what `Limits.share_by` says) add up to 1, and those of
    each of its videos to equal parts of it.
    """
    weights = np.zeros(len(selection.open_mask))
    for videos in selection.sharers:
        open_rows = [selection.open_rows(selection.videos[video]) for video in videos]
        n_videos = sum(len(rows) > 0 for rows in open_rows)
        for rows in open_rows:
            weights[rows] = 1 / (max(len(rows), 1) * max(n_videos, 1))
    return weights


def _reference(
    selection: Selection,
    rng: np.random.Generator,
    weights: NDArray[np.float64],
    rows_max: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows to stand for, and the weight of each."""
    rows = selection.open_rows()
    of_rows = weights[rows] if weights[rows].any() else np.ones(len(rows))
    if len(rows) <= rows_max:
        return rows, of_rows
    drawn, times = np.unique(weighted_sample(of_rows, rows_max, rng), return_counts=True)
    return rows[drawn], times.astype(np.float64)


def _candidates(
    selection: Selection,
    rng: np.random.Generator,
    weights: NDArray[np.float64],
    rows_max: int,
) -> NDArray[np.int64]:
    """Open rows to choose from: all, or some drawn by weight."""
    rows = selection.open_rows()
    if len(rows) <= rows_max:
        return rows
    of_rows = weights[rows] if weights[rows].any() else np.ones(len(rows))
    return rows[np.unique(weighted_sample(of_rows, rows_max, rng))]


def _take_from(
    selection: Selection,
    greedy: FacilityGreedy,
    candidates: NDArray[np.int64],
    stand_for: str,
) -> None:
    """Take the best of these candidates until the budget is used up or all are closed."""
    while selection.remaining > 0:
        found = greedy.best(selection.open_mask[candidates])
        if found is None:
            return
        candidate, gain = found
        row = int(candidates[candidate])
        if selection.is_open(row):
            selection.take(row, gain, f"labels stand for {stand_for} {gain:.1%} better with it")
            greedy.add(candidate)
