"""Balls of one radius about as few rows as possible that hold as much of a pool as possible.

Probability coverage after Yehuda et al. (2022), "Active Learning Through a Covering Lens".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alwatch.scores.distances import nearest_distance, relative_squares, squared_lengths
from alwatch.scores.lazy_greedy import LazyGreedy

_CHUNK = 1024
_BLOCK = 64

_ROUNDING = 4e-6
"""Of squared distances by float32 products, in squared lengths."""


class BallCover:
    """Tell, again and again, which row's ball holds most targets that no ball holds yet.

    The number of targets held is submodular, so the k balls hold at least 1 - 1/e of what the
    best k could (Nemhauser et al. 1978). Ties go to the lowest row.

    Parameters
    ----------
    rows : callable
        Takes a slice or an int array of row numbers, returns these rows as float32 of shape
        (m, d).
    n : int
        Number of rows.
    targets : float32 array of shape (t, d)
        What is to be covered.
    known : float32 array of shape (m, d)
        Rows whose balls are there from the start.
    delta : float
        Radius; a target exactly that far away is outside.
    """

    def __init__(
        self,
        rows: Callable[[Any], NDArray[np.float32]],
        n: int,
        targets: NDArray[np.float32],
        known: NDArray[np.float32],
        delta: float,
    ) -> None:
        self._rows = rows
        self._delta = delta
        self._bare = targets[nearest_distance(targets, known) >= delta]
        parts = [slice(low, min(low + _CHUNK, n)) for low in range(0, n, _CHUNK)]
        counts = [np.zeros(0, np.int64), *(self._count(part) for part in parts)]
        self._greedy = LazyGreedy(np.concatenate(counts), self._count, block=_BLOCK)

    @property
    def n_bare(self) -> int:
        """How many targets no ball holds yet."""
        return len(self._bare)

    def best(self, is_open: NDArray[np.bool_]) -> tuple[int, int] | None:
        """Find the open row, of `is_open` of shape (n,), whose ball holds most bare targets.

        Returns
        -------
        (row, number of targets), or None if no row is open
        """
        found = self._greedy.best(is_open)
        return None if found is None else (found[0], int(found[1]))

    def add(self, row: NDArray[np.float32]) -> None:
        """Put a ball about one more row, float32 of shape (d,)."""
        self._bare = self._bare[nearest_distance(self._bare, row[None]) >= self._delta]
        self._greedy.outdate()

    def _count(self, part: Any) -> NDArray[np.int64]:
        vectors = self._rows(part)
        squares = relative_squares(vectors, self._bare)
        limit = self._delta**2 - squared_lengths(vectors)
        counts: NDArray[np.int64] = np.count_nonzero(squares < limit[:, None], axis=1)
        return counts


def pure_radius(
    rows: Callable[[Any], NDArray[np.float32]],
    label: NDArray[np.integer[Any]],
    centres: NDArray[np.int64],
    *,
    purity: float = 0.95,
) -> float:
    """Find the largest radius at which this share of balls holds rows of one label only.

    Section 4.2 of Yehuda et al. (2022): delta = max{d : purity(d) >= alpha}. A ball about x is
    pure up to the distance from x to the nearest row of another label, so delta is a quantile of
    these distances and no search is needed.

    Parameters
    ----------
    rows : callable
        As of `BallCover`.
    label : int array of shape (n,)
        Of all rows; pseudo-labels, as a rule.
    centres : int array of shape (m,), m >= 1
        Rows about which to draw balls.
    purity : float
        Between 0 and 1.

    Returns
    -------
    float
        By rounding less than the distance it is, so that the row of another label which sets it
        stays outside; infinite where there is but one label.
    """
    vectors = rows(centres)
    lengths = squared_lengths(vectors)
    nearest = np.full(len(centres), np.inf, np.float32)
    for low in range(0, len(label), _CHUNK):
        stop = min(low + _CHUNK, len(label))
        squares = relative_squares(vectors, rows(slice(low, stop)))
        squares[label[centres][:, None] == label[None, low:stop]] = np.inf
        np.minimum(nearest, squares.min(axis=1), out=nearest)
    impure = int((1 - purity) * len(centres) + 1e-9)
    square = np.sort(nearest + lengths)[impure] - _ROUNDING * lengths.max()
    return float(np.sqrt(max(square, 0)))
