"""The largest of values that only ever fall, again and again, without measuring all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class LazyGreedy:
    """Tell which row has the largest value while picks make values fall (Minoux 1978).

    A value measured earlier is an upper bound of what it is now, so the row of the largest bound
    is the best of all as soon as its own value is up to date. Until it is, a block of rows with
    the largest bounds is measured. The choice is that of measuring every row; ties go to the
    lowest row.

    Parameters
    ----------
    values : float array of shape (n,)
        The values at the start.
    measure : callable
        Takes an int array of rows, returns their values now, which are no larger than before.
    block : int
        Rows measured at a time.
    """

    def __init__(
        self,
        values: NDArray[Any],
        measure: Callable[[NDArray[np.int64]], NDArray[Any]],
        *,
        block: int = 512,
    ) -> None:
        self._bounds = values.astype(np.float64)
        self._measure = measure
        self._block = block
        self._is_current = np.ones(len(values), bool)

    def best(self, is_open: NDArray[np.bool_]) -> tuple[int, float] | None:
        """Find the open row of largest value.

        Parameters
        ----------
        is_open : bool array of shape (n,)
            A row once closed stays closed.

        Returns
        -------
        (row, value), or None if no row is open
        """
        self._bounds[~is_open] = -np.inf
        while len(self._bounds):
            row = int(self._bounds.argmax())
            if self._bounds[row] == -np.inf:
                break
            if self._is_current[row]:
                return row, float(self._bounds[row])
            top = _largest(self._bounds, self._block)
            top = np.union1d(top[~self._is_current[top] & is_open[top]], [row])
            self._bounds[top] = self._measure(top)
            self._is_current[top] = True
        return None

    def outdate(self) -> None:
        """Say that any value may have fallen."""
        self._is_current[:] = False


def _largest(values: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    if len(values) <= size:
        return np.arange(len(values))
    return np.argpartition(values, -size)[-size:]
