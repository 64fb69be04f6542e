"""`minmax`: k-centre, the frame farthest from all that is labelled or queued, again and again.

Greedy core-set selection after Sener & Savarese (2018), the "min-max" of the DeepLabCut
AI-residency study. With no limits in play no k frames cover the pool with less than half the
radius (Gonzalez 1985).
"""

from __future__ import annotations

import numpy as np

from alwatch.scores.farthest import FarthestFirst
from alwatch.strategies.candidates import nearest_to_mean
from alwatch.strategies.selection import Selection


def fill(selection: Selection, rng: np.random.Generator) -> None:
    """Take the farthest open frame until the budget is used up.

    The score is the distance between unit vectors at the moment of choice, 0 to 2. With nothing
    labelled or queued it starts from the frame nearest to the mean. `rng` is not used.
    """
    if not selection.wants_more:
        return
    n = len(selection.open_mask)
    if selection.n_known == 0:
        row, distance = nearest_to_mean(selection, selection.open_rows())
        selection.take(
            row, distance, f"{distance:.2f} from the mean of all frames; none is labelled yet"
        )
    farthest_first = FarthestFirst(selection.vectors, n, selection.known_vectors())
    while selection.wants_more:
        found = farthest_first.farthest(selection.open_mask)
        if found is None:
            return
        row, distance = found
        if selection.is_open(row):
            selection.take(
                row, distance, f"{distance:.2f} from the nearest labelled or queued frame"
            )
            farthest_first.add(selection.vectors(np.array([row]))[0])
