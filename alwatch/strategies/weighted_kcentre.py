"""`weighted_kcentre`: far from everything labelled, and uncertain if that has proved of use.

The uncertainty-weighted k-centre of VATL4Pose: argmax (1 - m) d + lambda m U, with d the distance
to the nearest labelled or picked frame, U the uncertainty and m the mean object-keypoint
similarity of the last labelled batch, lambda = 0.01 to bring U down to the size of d. What
differs: both terms are scaled to 0..1 instead, d by the largest distance at the start and U, what
the confidence lacks to 1, by its range in the pool; and m is `trust`, how far the uncertainty has
proved to know the true error. With m = 0 this is k-centre, with m = 1 a ranking by uncertainty.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from alwatch.scores.distances import nearest_distance
from alwatch.scores.lazy_greedy import LazyGreedy
from alwatch.strategies.candidates import nearest_to_mean
from alwatch.strategies.selection import Selection

_CHUNK = 2048


def fill(selection: Selection, rng: np.random.Generator) -> None:
    """Take the frame of largest weighted sum, which is the score, until the budget is used up.

    A frame that has not been scored counts as the least uncertain one. With nothing labelled or
    queued it starts from the frame nearest to the mean. `rng` is not used.
    """
    if not selection.wants_more:
        return
    if selection.n_known == 0:
        row, distance = nearest_to_mean(selection, selection.open_rows())
        selection.take(
            row, 0.0, f"{distance:.2f} from the mean of all frames; none is labelled yet"
        )
    with threadpool_limits(limits=1):
        _Weighing(selection).fill()


class _Weighing:
    """Distances to what is known, brought up to date row by row, and the weighted sum."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._unsure = _scaled(selection.score("confidence"))
        self._distance = np.zeros(len(self._unsure), np.float32)
        self._seen = np.zeros(len(self._unsure), np.int64)
        self._picked = np.empty((0, selection.known_vectors().shape[1]), np.float32)
        rows = selection.open_rows()
        known = selection.known_vectors()
        for low in range(0, len(rows), _CHUNK):
            part = rows[low : low + _CHUNK]
            self._distance[part] = nearest_distance(selection.vectors(part), known)
        self._largest = float(self._distance.max()) or 1.0

    def fill(self) -> None:
        selection = self._selection
        greedy = LazyGreedy(self._sum(np.arange(len(self._distance))), self._measure)
        while selection.wants_more:
            found = greedy.best(selection.open_mask)
            if found is None:
                return
            row, value = found
            if selection.is_open(row):
                selection.take(row, value, self._reason(row))
                added = selection.vectors(np.array([row]))
                self._picked = np.concatenate([self._picked, added])
                greedy.outdate()

    def _measure(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        missed = self._picked[self._seen[rows].min() :]
        to_missed = nearest_distance(self._selection.vectors(rows), missed)
        self._distance[rows] = np.minimum(self._distance[rows], to_missed)
        self._seen[rows] = len(self._picked)
        return self._sum(rows)

    def _sum(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        trust = self._selection.trust
        distance = self._distance[rows].astype(np.float64) / self._largest
        total: NDArray[np.float64] = (1 - trust) * distance + trust * self._unsure[rows]
        return total

    def _reason(self, row: int) -> str:
        far = f"{self._distance[row]:.2f} from the nearest labelled or queued frame"
        trust = self._selection.trust
        return f"{far}, uncertainty {self._unsure[row]:.0%} (weight {trust:.2f})" if trust else far


def _scaled(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores from 0 for the lowest known to 1 for the highest; 0 where NaN or all are equal."""
    known = scores[~np.isnan(scores)]
    if len(known) == 0 or known.max() == known.min():
        return np.zeros(len(scores))
    scaled: NDArray[np.float64] = (scores - known.min()) / (known.max() - known.min())
    return np.where(np.isnan(scaled), 0.0, scaled)
