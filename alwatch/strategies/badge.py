"""`badge`: uncertain frames that differ, by k-means++ seeding of gradient embeddings.

After BADGE (Ash et al. 2020, "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower
Bounds"), whose embedding is the gradient of the last layer for the class that the model believes
in: the features times how wrong the model may be, class by class. A pose model gives no class
gradient, so here it is vector * uncertainty, with the unit vector of the frame and what the
confidence lacks to 1. The first pick is the longest, that is the least sure frame; each next one
is drawn with a chance in proportion to its squared distance to the nearest pick. As in the paper
labelled frames play no part: where the model has learned its lesson the embedding is short.

The draw is exact for pools of any size; see `alwatch.scores.seeding`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from alwatch.scores.seeding import Seeding
from alwatch.strategies.candidates import farthest
from alwatch.strategies.selection import Selection
from alwatch.strategies.turns import take_from


def fill(selection: Selection, rng: np.random.Generator) -> None:
    """Draw frames until the budget is used up.

    The score is the distance, in embeddings, to the nearest pick; of the first the uncertainty.
    Frames without a distance follow, farthest from all that is known first, and last of all, in
    the same way, those that have not been scored.
    """
    if not selection.wants_more:
        return
    unsure = selection.score("confidence")
    rows = selection.open_rows()
    scored = rows[~np.isnan(unsure[rows])]
    with threadpool_limits(limits=1):
        _seed(selection, scored, unsure[scored], rng)
        take_from(selection, farthest(selection, scored))
        take_from(selection, farthest(selection, rows[np.isnan(unsure[rows])]))


def _seed(
    selection: Selection,
    rows: NDArray[np.int64],
    unsure: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Take rows as k-means++ draws them."""

    def embeddings(part: Any) -> NDArray[np.float32]:
        return selection.vectors(rows[part]) * unsure[part, None].astype(np.float32)

    seeding = Seeding(embeddings, np.abs(unsure))
    reason = "the least sure of all"
    while selection.wants_more:
        found = seeding.draw(selection.open_mask[rows], rng)
        if found is None:
            return
        i, distance = found
        if selection.is_open(int(rows[i])):
            lacking = f"(confidence lacks {unsure[i]:.2f} to 1)"
            selection.take(int(rows[i]), distance, f"{reason} {lacking}")
            seeding.add(embeddings(np.array([i]))[0])
            reason = "unlike the other picks in what the model is unsure of"
