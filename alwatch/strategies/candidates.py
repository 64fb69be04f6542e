"""Which rows to consider: those of the highest scores, and the farthest among some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alwatch.scores.distances import nearest_distance
from alwatch.scores.farthest import FarthestFirst
from alwatch.strategies.selection import Selection
from alwatch.strategies.turns import Candidate

_CHUNK = 2048


def highest(
    rows: NDArray[np.int64], scores: NDArray[np.float64], most: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The rows with the highest of the scores, one for each row, in increasing order of row.

    At random among equals; rows whose score is NaN only where there are too few others.
    """
    return np.sort(rows[np.lexsort((rng.random(len(rows)), -scores))[:most]])


def vectors_of(
    selection: Selection, rows: NDArray[np.int64]
) -> Callable[[Any], NDArray[np.float32]]:
    """Tell the unit vectors of some of these rows, by slice or int array of places among them."""
    return lambda part: selection.vectors(rows[part])


def farthest(selection: Selection, rows: NDArray[np.int64]) -> Iterator[Candidate]:
    """Greedy k-centre among some rows: the open one farthest from all known frames, and so on.

    Known is what is labelled, queued or picked when the next candidate is asked for, whoever
    picked it. With nothing known it starts from the row nearest to the mean of these rows.
    """
    if selection.n_known == 0 and selection.open_mask[rows].any():
        row, distance = nearest_to_mean(selection, rows[selection.open_mask[rows]])
        yield row, distance, f"{distance:.2f} from the mean of its like; none is labelled yet"
    n_known = selection.n_known
    if len(rows) == 0 or n_known == 0:
        return
    traversal = FarthestFirst(vectors_of(selection, rows), len(rows), selection.known_vectors())
    while (found := traversal.farthest(selection.open_mask[rows])) is not None:
        distance = found[1]
        yield (
            int(rows[found[0]]),
            distance,
            f"{distance:.2f} from the nearest labelled or queued frame",
        )
        for vector in selection.known_vectors(since=n_known):
            traversal.add(vector)
        n_known = selection.n_known


def nearest_to_mean(selection: Selection, rows: NDArray[np.int64]) -> tuple[int, float]:
    """The one of these rows, at least one, nearest to their mean, and its distance from it."""
    parts = [rows[low : low + _CHUNK] for low in range(0, len(rows), _CHUNK)]
    total = np.stack([selection.vectors(part).sum(axis=0, dtype=np.float64) for part in parts])
    mean = (total.sum(axis=0) / len(rows)).astype(np.float32)[None]
    distances = np.concatenate([nearest_distance(selection.vectors(p), mean) for p in parts])
    nearest = int(distances.argmin())
    return int(rows[nearest]), float(distances[nearest])
