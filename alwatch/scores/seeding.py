"""k-means++ seeding (Arthur & Vassilvitskii 2007): rows drawn by squared distance to the drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alwatch.scores.distances import nearest_distance

_CHUNK = 4096
_DRAWS = 64


class Seeding:
    """Draw rows one after another, each with a chance in proportion to its squared distance.

    The first is the longest row, as in BADGE. The plain algorithm then measures every row after
    every draw. Here a distance measured earlier is an upper bound of the one now: rows are drawn
    by their bounds and accepted with the chance (distance / bound)^2, which gives exactly the
    same odds while only rows that were drawn are measured anew.

    Parameters
    ----------
    rows : callable
        Takes a slice or an int array of row numbers, returns these rows as float32 of shape
        (m, d).
    lengths : float array of shape (n,)
        Their Euclidean lengths, finite.
    """

    def __init__(
        self, rows: Callable[[Any], NDArray[np.float32]], lengths: NDArray[np.floating[Any]]
    ) -> None:
        self._rows = rows
        self._squares = lengths.astype(np.float64) ** 2  # bounds; 0 once a row is closed
        self._seen = np.zeros(len(lengths), np.int64)
        self._drawn: list[NDArray[np.float32]] = []

    def draw(
        self, is_open: NDArray[np.bool_], rng: np.random.Generator
    ) -> tuple[int, float] | None:
        """Draw an open row.

        Parameters
        ----------
        is_open : bool array of shape (n,)
            A row once closed stays closed.

        Returns
        -------
        (row, distance to the nearest row added), or the length of the first row; None where no
        open row is any distance away
        """
        self._squares[~is_open] = 0
        if not self._drawn:
            longest = int(self._squares.argmax()) if len(self._squares) else 0
            length = np.sqrt(self._squares[longest : longest + 1].sum())
            return (longest, float(length)) if length > 0 else None
        while (sums := self._squares.cumsum()).size and sums[-1] > 0:
            # Rounding may carry a draw to the very end, where the row may be closed.
            last = int(np.searchsorted(sums, sums[-1]))
            drawn = np.searchsorted(sums, rng.random(_DRAWS) * sums[-1], side="right").clip(
                max=last
            )
            bounds = self._squares[drawn]
            self._measure(np.unique(drawn))
            accepted = np.flatnonzero(rng.random(_DRAWS) * bounds < self._squares[drawn])
            if len(accepted):
                row = int(drawn[accepted[0]])
                return row, float(np.sqrt(self._squares[row]))
        return None

    def add(self, row: NDArray[np.float32]) -> None:
        """Keep away from this row, float32 of shape (d,), as well."""
        self._drawn.append(row)
        if len(self._drawn) == 1:  # lengths say little about distances: measure all of them once
            self._squares[:] = np.inf
            for low in range(0, len(self._squares), _CHUNK):
                self._measure(np.arange(low, min(low + _CHUNK, len(self._squares))))

    def _measure(self, rows: NDArray[np.int64]) -> None:
        missed = np.stack(self._drawn[self._seen[rows].min() :] or self._drawn[-1:])
        squares = nearest_distance(self._rows(rows), missed).astype(np.float64) ** 2
        self._squares[rows] = np.minimum(self._squares[rows], squares)
        self._seen[rows] = len(self._drawn)
