"""Natural breaks: numbers sorted into groups that differ as little as can be within."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BINS = 1024


def natural_breaks(values: NDArray[np.floating[Any]], n_groups: int) -> NDArray[np.int64]:
    """Split numbers into intervals with the least sum of squares about the intervals' means.

    The optimum of Fisher (1958) that Jenks' natural breaks stand for, by dynamic programming.
    Exact for up to 1024 different values; beyond that values in one of 1024 equal steps from the
    lowest to the highest stay together, so that a break is off by at most a step.

    Parameters
    ----------
    values : float array of shape (n,)
        Finite.
    n_groups : int
        At least 1; there are fewer where fewer values differ.

    Returns
    -------
    int array of shape (n,)
        Number of each value's group, 0 for the lowest values.
    """
    if n_groups < 1:
        raise ValueError(f"n_groups must be at least 1, got {n_groups}")
    distinct, bin_of = np.unique(values, return_inverse=True)
    if len(distinct) > _BINS:
        step = (values - distinct[0]) / (distinct[-1] - distinct[0]) * _BINS
        bin_of = np.unique(step.astype(np.int64).clip(max=_BINS - 1), return_inverse=True)[1]
    if len(values) == 0:
        return np.zeros(0, np.int64)
    starts = _best_starts(_costs(values - distinct.mean(), bin_of), n_groups)
    return np.asarray(np.searchsorted(starts, bin_of, side="right") - 1, dtype=np.int64)


def _costs(values: NDArray[Any], bin_of: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum of squares about the mean of bins i to j, as entry (i, j); infinite for j < i."""
    sums = [
        np.concatenate([[0.0], np.bincount(bin_of, weights=weights).cumsum()])
        for weights in (np.ones(len(values)), values, values**2)
    ]
    count, first, second = (each[None, 1:] - each[:-1, None] for each in sums)
    is_interval = np.triu(np.ones(count.shape, bool))
    costs = np.full(count.shape, np.inf)
    costs[is_interval] = (second - first**2 / np.where(is_interval, count, 1))[is_interval]
    return costs


def _best_starts(costs: NDArray[np.float64], n_groups: int) -> NDArray[np.int64]:
    """First bin of each interval of the cheapest division."""
    n = len(costs)
    total = costs[0]
    choices = []
    for _ in range(min(n_groups, n) - 1):
        # Entry (i, j): bins i to j are the last interval, and those before i are divided best.
        with_last = np.concatenate([[np.inf], total[:-1]])[:, None] + costs
        choices.append(with_last.argmin(axis=0))
        total = with_last.min(axis=0)
    starts = [n]
    for choice in reversed(choices):
        starts.append(int(choice[starts[-1] - 1]))
    return np.array([0, *sorted(starts[1:])])
