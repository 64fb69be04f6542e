"""`uncertainty_herding`: the frames that stand best for those the model is unsure of.

UHerding (Bae et al. 2025, "Uncertainty Herding: One Active Learning Method for All Label
Budgets"): herding in which each frame weighs as much as the model is unsure of it. Its delta, the
smallest positive distance between labelled frames, is replaced by `greedy_cover.bandwidth`, as
near-duplicates make it collapse.
"""

from __future__ import annotations

import numpy as np

from alwatch.strategies.greedy_cover import bandwidth, take_covering
from alwatch.strategies.selection import Selection


def fill(selection: Selection, rng: np.random.Generator) -> None:
    """Take the frame of largest gain until the budget is used up; needs the score `confidence`.

    A frame without a score weighs as little as the surest one; if none has a score, all weigh
    the same.
    """
    uncertainty = selection.score("confidence").clip(min=0)
    is_known = ~np.isnan(uncertainty)
    lowest = uncertainty[is_known].min() if is_known.any() else 1.0
    take_covering(
        selection,
        rng,
        weights=np.where(is_known, uncertainty, lowest),
        delta=bandwidth(selection, rng),
        stand_for="the frames that the model is unsure of",
    )
