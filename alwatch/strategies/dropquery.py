"""`dropquery`: what the model disputes with itself, one frame of each kind of it.

After DropQuery (Gupte et al. 2024, "Revisiting Active Learning in the Era of Vision Foundation
Models"): candidates are the frames whose prediction changes under dropout of the features, the
queue is the frame nearest to each centre of a k-means of the candidates with as many clusters as
frames wanted. What differs: a pose has no class that could flip, so the candidates are the 25 b
frames, for a queue of b, on which the snapshots of an ensemble differ most or, where there is no
ensemble, in which the model is least sure. 25 b is about what their rule leaves.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from alwatch.scores.clusters import cluster
from alwatch.strategies.candidates import highest, vectors_of
from alwatch.strategies.selection import Selection
from alwatch.strategies.turns import Candidate, take_from

_CANDIDATES_PER_PICK = 25


def fill(selection: Selection, rng: np.random.Generator) -> None:
    """Take the middle frame of each cluster of candidates, that of the largest cluster first.

    Where limits close a cluster's middle the next nearest stands in; where they close whole
    clusters, what is wanted still is chosen in the same way from what is left. The score is the
    frame's dispute, 0 where it is not known.
    """
    disputed = _dispute(selection)
    while selection.wants_more:
        rows = selection.open_rows()
        most = _CANDIDATES_PER_PICK * selection.remaining
        chosen = highest(rows, disputed[rows], most, rng)
        take_from(selection, _medoids(selection, chosen, disputed, rng))


def _dispute(selection: Selection) -> NDArray[np.float64]:
    """The ensemble's variance where it is known at all, else what the confidence lacks to 1."""
    if selection.has_score("ensemble"):
        disputed = selection.score("ensemble")
        if not np.isnan(disputed[selection.open_mask]).all():
            return disputed
    return selection.score("confidence")


def _medoids(
    selection: Selection,
    rows: NDArray[np.int64],
    disputed: NDArray[np.float64],
    rng: np.random.Generator,
) -> Iterator[Candidate]:
    """One candidate of each cluster."""
    k = min(selection.remaining, len(rows))
    number, to_centre = cluster(vectors_of(selection, rows), len(rows), k, rng)
    sizes = np.bincount(number, minlength=k)
    for i in np.argsort(-sizes, kind="stable"):
        mine = np.flatnonzero(number == i)
        by_distance = rows[mine[np.argsort(to_centre[mine], kind="stable")]]
        row = next((row for row in by_distance.tolist() if selection.is_open(row)), None)
        if row is not None:
            doubt = np.nan_to_num(disputed[row])
            yield row, float(doubt), f"typical of {sizes[i]} similar frames that are in dispute"
