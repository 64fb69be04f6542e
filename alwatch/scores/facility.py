"""Facility location: which rows stand best, together, for all the others.

``F(S) = sum_x w(x) max_{s in S or L} k(x, s)`` with ``k(x, s) = exp(-(|x - s| / delta)^2)``, the
generalised coverage that MaxHerding maximises (Bae et al. 2024, "Generalized Coverage for More
Robust Low-Budget Active Learning"), where L is what is known from the start. F is monotone and
submodular, so picking the row of largest gain again and again gets within 1 - 1/e of the best
set of that size (Nemhauser, Wolsey & Fisher 1978), within 1/2 where there are caps per video.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alwatch.scores.distances import nearest_distance, relative_squares, squared_lengths

DELTA_MIN = 0.01
"""Squared distances by float32 products are good to about 1e-6: no scale below is resolved."""

_REFERENCE_CHUNK = 4096
_SPACING_ROWS = 2048

_TIE = 1e-5
"""Gains that differ by less than this share are equal but for rounding."""

_NOTHING = 1e-7
"""Gains below this share of the whole are rounding."""


class FacilityGreedy:
    """Tell, again and again, which candidate adds most to F (lazy greedy, Minoux 1978).

    Each candidate carries the gain it was last measured to have. Gains only shrink while more
    is picked, so these are upper bounds: only candidates whose bound reaches the best gain
    measured since the last pick are measured again, a block at a time by matrix products. The
    choice is that of the plain greedy algorithm; among gains that are equal to within 1e-5 of the
    best, which float32 does not tell apart, the lowest candidate wins.

    Time is one product of all candidates with the whole reference, plus some ten to a hundred
    candidates a pick; memory beyond the arguments some 10 MB.

    Parameters
    ----------
    candidates : float32 array of shape (c, d)
        Unit rows (or zero).
    reference : float32 array of shape (r, d), r >= 1
        Unit rows (or zero), what is to be stood for.
    weights : float array of shape (r,)
        Of the reference rows, >= 0 and not all 0.
    known : float32 array of shape (m, d)
        Unit rows, the starting set L; may be empty.
    delta : float
        Scale of the kernel in Euclidean distance, >= `DELTA_MIN`.
    block : int
        Candidates measured at a time.

    Raises
    ------
    ValueError
        Weights or delta are out of range, or there is no reference row.
    """

    def __init__(
        self,
        candidates: NDArray[np.float32],
        reference: NDArray[np.float32],
        weights: NDArray[np.floating],
        known: NDArray[np.float32],
        *,
        delta: float,
        block: int = 64,
    ) -> None:
        _check(reference, weights, delta)
        self._candidates = candidates
        self._reference = reference
        self._lengths = squared_lengths(reference)
        self._weights = (weights / weights.sum(dtype=np.float64)).astype(np.float32)
        self._delta = delta
        self._block = block
        nearest = nearest_distance(reference, known)
        self._cover = np.exp(-np.square(nearest / np.float32(delta)))  # max_s k(x, s) so far
        self._bound = np.full(len(candidates), np.inf)  # -inf once a candidate is closed
        self._fresh = np.zeros(len(candidates), dtype=bool)  # the bound is the gain itself

    def best(self, is_open: NDArray[np.bool_]) -> tuple[int, float] | None:
        """Find the open candidate of largest gain.

        Parameters
        ----------
        is_open : bool array of shape (c,)
            Which candidates may be chosen. One that is closed stays closed.

        Returns
        -------
        (candidate, gain as a share of the sum of all weights), or None if no candidate is open
        """
        self._bound[~is_open] = -np.inf
        if not is_open.any():
            return None
        while True:
            gain = self._bound[self._fresh].max(initial=-np.inf)
            level = max(gain * (1 - _TIE), 0.0)
            in_doubt = self._in_doubt(gain, level)
            if len(in_doubt) == 0:
                candidate = int((self._bound >= level).argmax())
                return candidate, float(self._bound[candidate])
            if len(in_doubt) > self._block:
                largest = np.argsort(-self._bound[in_doubt], kind="stable")[: self._block]
                in_doubt = in_doubt[largest]
            self._bound[in_doubt] = self._gains(in_doubt)
            self._fresh[in_doubt] = True

    def add(self, candidate: int) -> None:
        """Pick a candidate: it covers what it is nearest to from now on."""
        one = self._candidates[candidate : candidate + 1]
        for low in range(0, len(self._reference), _REFERENCE_CHUNK):
            part = slice(low, low + _REFERENCE_CHUNK)
            np.maximum(self._cover[part], self._kernel(part, one)[:, 0], out=self._cover[part])
        self._fresh[:] = False

    def value(self) -> float:
        """F of all that is known or picked, as a share of the sum of all weights."""
        return float(self._weights.astype(np.float64) @ self._cover)

    def _in_doubt(self, gain: float, level: float) -> NDArray[np.int64]:
        """Candidates to be measured before one that ties with the best gain so far may win.

        Those behind the lowest such candidate may only beat it, those before it also tie: where
        thousands are equal, not all of them need to be measured at every pick.
        """
        ties = self._fresh & (self._bound >= level)
        lowest = int(ties.argmax()) if ties.any() else len(ties)
        may_win = self._bound > max(gain * (1 + _TIE), 0.0)
        may_win[:lowest] |= (self._bound[:lowest] >= level) & (self._bound[:lowest] > 0)
        return np.flatnonzero(may_win & ~self._fresh)

    def _gains(self, candidates: NDArray[np.int64]) -> NDArray[np.float64]:
        rows = self._candidates[candidates]
        gains = np.zeros(len(rows))
        for low in range(0, len(self._reference), _REFERENCE_CHUNK):
            part = slice(low, low + _REFERENCE_CHUNK)
            more = self._kernel(part, rows)
            more -= self._cover[part, None]
            np.maximum(more, 0, out=more)
            gains += self._weights[part] @ more
        gains[gains < _NOTHING] = 0
        return gains

    def _kernel(self, part: slice, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Similarity of each reference row of this part to each of the rows."""
        squares = relative_squares(self._reference[part], rows)
        squares += self._lengths[part, None]
        np.maximum(squares, 0, out=squares)
        squares *= np.float32(-1 / self._delta**2)
        return np.exp(squares, out=squares)


def weighted_sample(
    weights: NDArray[np.floating], size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw rows in proportion to their weights, spread evenly over the order of the rows.

    The rows are cut into `size` strata of equal weight and one is drawn from each. With rows in
    the order (video, time) every video gets its share to within two draws, and so does every
    stretch of it. The mean of any f with values in [0, 1] over the draws is an unbiased estimate
    of its weighted mean over all rows, and off by eps or more with a probability of at most
    2 exp(-2 size eps^2) (Hoeffding 1963: independent terms, here less spread than free draws).

    Parameters
    ----------
    weights : float array of shape (n,)
        >= 0 and not all 0; a row of weight 0 is never drawn.
    size : int
        Number of draws, >= 1.
    rng : numpy.random.Generator

    Returns
    -------
    int64 array of shape (size,)
        Row numbers in increasing order; a heavy row may occur more than once.
    """
    ends = np.cumsum(weights, dtype=np.float64)
    points = (np.arange(size) + rng.random(size)) * (ends[-1] / size)
    last = int(np.flatnonzero(weights)[-1])
    drawn: NDArray[np.int64] = np.searchsorted(ends, points, side="right")
    return np.minimum(drawn, last)


def spacing(rows: NDArray[np.float32]) -> float:
    """Median distance of a row to the nearest other one.

    Parameters
    ----------
    rows : float32 array of shape (n, d), n >= 2
        Of more than 2048 rows, 2048 at even steps are measured, against all.

    Returns
    -------
    float
        Euclidean distance, good to about 1e-3 between unit rows.
    """
    asked = np.unique(np.linspace(0, len(rows) - 1, _SPACING_ROWS).astype(np.int64))
    lengths = squared_lengths(rows)
    nearest = np.empty(len(asked), dtype=np.float32)
    for low in range(0, len(asked), 256):
        part = asked[low : low + 256]
        squares = relative_squares(rows[part], rows) + lengths[part, None]
        squares[np.arange(len(part)), part] = np.inf
        nearest[low : low + 256] = squares.min(axis=1)
    return float(np.median(np.sqrt(nearest.clip(min=0))))


def distances_between(rows: NDArray[np.float32], group: NDArray[np.integer]) -> NDArray[np.float32]:
    """Distances between rows of different groups, or between all rows where there is but one.

    Parameters
    ----------
    rows : float32 array of shape (n, d)
        Memory is some 10 n^2 bytes.
    group : int array of shape (n,)

    Returns
    -------
    float32 array of shape (number of pairs,)
        Euclidean, each pair once; good to about 1e-3 between unit rows.
    """
    squares = relative_squares(rows, rows) + squared_lengths(rows)[:, None]
    pair = np.triu(group[:, None] != group[None])
    if not pair.any():
        pair = np.triu(np.ones_like(pair), k=1)
    distances: NDArray[np.float32] = np.sqrt(squares[pair].clip(min=0))
    return distances


def _check(reference: NDArray[np.float32], weights: NDArray[np.floating], delta: float) -> None:
    faults = []
    if len(reference) == 0 or weights.shape != reference.shape[:1]:
        faults.append(
            "reference must be of shape (r, d) and weights (r,) with r >= 1, got "
            f"{reference.shape} and {weights.shape}"
        )
    elif not (weights >= 0).all() or not weights.any():
        faults.append(
            f"weights must be at least 0 and not all 0, got {weights.min()} to {weights.max()}"
        )
    if not delta >= DELTA_MIN:
        faults.append(f"delta must be at least {DELTA_MIN}, got {delta}")
    if faults:
        raise ValueError("; ".join(faults))
