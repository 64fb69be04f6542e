"""Farthest-first traversal: which row is farthest from everything chosen so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alwatch.scores.distances import relative_squares, squared_lengths

_STEP = 16


class FarthestFirst:
    """Tell, again and again, which row is farthest from all known ones (exact, lazy).

    The plain greedy algorithm reads every row once per pick. Here each row carries an upper
    bound of its squared distance to the known rows: the distance to those it was last compared
    with, which further known rows can only shorten. The rows with the largest bounds form a
    block that is kept exact; its best is the farthest of all while it is no nearer than the
    largest bound outside. Only then is the next block compared, by one matrix product, with the
    known rows it has missed. The choice is that of the plain algorithm (but for rounding),
    ties going to the lowest row.

    Memory is about 20 bytes a row, plus the known rows and some 20 MB at 384 columns.

    Parameters
    ----------
    rows : callable
        Takes a slice or an int array of row numbers, returns these rows as float32 of shape
        (k, d). A float32 array's own ``__getitem__`` will do.
    n : int
        Number of rows.
    known : float32 array of shape (m, d), m >= 1
        Where to start from.
    block : int
        Rows that are kept exact. 512 to 8192 measure alike; this stays within a core's cache.
    known_chunk : int
        Known rows per matrix product.
    """

    def __init__(
        self,
        rows: Callable[[Any], NDArray[np.float32]],
        n: int,
        known: NDArray[np.float32],
        *,
        block: int = 2048,
        known_chunk: int = 1024,
    ) -> None:
        if known.ndim != 2 or len(known) == 0:
            raise ValueError(f"at least one known row is needed, got shape {known.shape}")
        self._rows = rows
        self._block_size = block
        self._known_chunk = known_chunk
        # The first chunk is spread over all known rows, so that first bounds are good everywhere.
        spread = np.argsort(np.arange(len(known)) % -(-len(known) // known_chunk), kind="stable")
        self._known = known[spread]
        self._n_known = len(known)
        self._bound = np.empty(n, dtype=np.float32)  # squared; -inf once a row is closed
        self._seen = np.full(n, min(self._n_known, known_chunk), dtype=np.int64)
        for low in range(0, n, block):
            part = slice(low, low + block)
            self._bound[part] = _to_nearest(rows(part), self._known[:known_chunk])
        self._block = np.empty(0, dtype=np.int64)  # increasing row numbers
        self._block_rows = np.empty((0, known.shape[1]), dtype=np.float32)
        self._block_lengths = np.empty(0, dtype=np.float32)  # squared
        self._block_squares = np.empty(0, dtype=np.float32)
        self._outside = (np.float32(np.inf), 0)  # largest bound, lowest row that may have it

    def farthest(self, is_open: NDArray[np.bool_]) -> tuple[int, float] | None:
        """Find the open row that is farthest from all known rows.

        Parameters
        ----------
        is_open : bool array of shape (n,)
            Which rows may be chosen. A row once closed stays closed.

        Returns
        -------
        (row, Euclidean distance), or None if no row is open
        """
        while True:
            if len(self._block):
                squares = np.where(is_open[self._block], self._block_squares, -np.inf)
                best = int(squares.argmax())
                row, square = int(self._block[best]), squares[best]
                bound, bound_row = self._outside
                if square > bound or (square == bound and row < bound_row):
                    if square == -np.inf:
                        return None
                    return row, float(np.sqrt(max(square, 0.0)))
            elif len(self._bound) == 0:
                return None
            self._next_block(is_open)

    def add(self, known: NDArray[np.float32]) -> None:
        """Make one more row known, float32 of shape (d,)."""
        if self._n_known == len(self._known):
            self._known = np.concatenate([self._known, np.empty_like(self._known)])
        self._known[self._n_known] = known
        self._n_known += 1
        if len(self._block):
            # einsum, as on a busy machine BLAS threads would wait for each other at every pick.
            squares = np.einsum("ij,j->i", self._block_rows, -2 * known)
            squares += self._block_lengths + known @ known
            np.minimum(self._block_squares, squares, out=self._block_squares)

    def _next_block(self, is_open: NDArray[np.bool_]) -> None:
        """Take the rows with the largest bounds into the block and make them exact."""
        self._bound[self._block] = self._block_squares
        self._seen[self._block] = self._n_known
        self._bound[~is_open] = -np.inf
        self._block, self._outside = _largest(self._bound, self._block_size)
        self._block_rows = self._rows(self._block)
        self._block_lengths = squared_lengths(self._block_rows)
        self._block_squares = self._bound[self._block]
        for low in range(self._seen[self._block].min(), self._n_known, self._known_chunk):
            missed = self._known[low : min(low + self._known_chunk, self._n_known)]
            squares = _to_nearest(self._block_rows, missed)
            np.minimum(self._block_squares, squares, out=self._block_squares)


def _to_nearest(rows: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared distance of each row to the nearest known one."""
    nearest: NDArray[np.float32] = relative_squares(rows, known).min(axis=1)
    return nearest + squared_lengths(rows)


def _largest(
    bound: NDArray[np.float32], size: int
) -> tuple[NDArray[np.int64], tuple[np.float32, int]]:
    """Split off the `size` rows of largest bound, the lower row first among equals.

    Returns them in increasing order, with the largest bound that may be found outside and the
    lowest row there that has it.
    """
    n = len(bound)
    if n <= size:
        return np.arange(n), (np.float32(-np.inf), n)
    level = _size_th_largest(bound, size)
    above = np.flatnonzero(bound > level)
    equal = np.flatnonzero(bound == level)
    room = size - len(above)
    block = np.sort(np.concatenate([above, equal[:room]]))
    return block, (level, int(equal[room]) if len(equal) > room else n)


def _size_th_largest(bound: NDArray[np.float32], size: int) -> np.float32:
    """Find it among the rows above a guess from every 16th row, as sorting all is slow."""
    sparse = bound[::_STEP]
    place = max(len(sparse) - 2 * (size // _STEP) - 1, 0)
    largest = bound[bound >= np.partition(sparse, place)[place]]
    if len(largest) < size:  # a poor guess
        largest = bound
    place = len(largest) - size
    level: np.float32 = np.partition(largest, place)[place]
    return level
