"""`herding`: the frames that together stand best for all frames of the pool.

MaxHerding (Bae et al. 2024, "Generalized Coverage for More Robust Low-Budget Active Learning"):
greedy maximisation of the mean similarity of a frame to the most similar labelled one, similarity
being exp(-(d / delta)^2) with delta = 1 on unit vectors, as published. Beyond 20,000 open frames it
works on samples: see `greedy_cover`.
"""

from __future__ import annotations

import numpy as np

from alwatch.strategies.greedy_cover import take_covering
from alwatch.strategies.selection import Selection

DELTA = 1.0
"""Scale of the kernel between unit vectors, as published."""


def fill(selection: Selection, rng: np.random.Generator) -> None:
    """Take the frame of largest gain until the budget is used up; every frame weighs the same."""
    take_covering(
        selection,
        rng,
        weights=np.ones(len(selection.open_mask)),
        delta=DELTA,
        stand_for="all frames",
    )
