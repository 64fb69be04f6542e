"""`bayesian`: where an ensemble disagrees most, spread out by k-centre.

The variance of an ensemble's predictions, a stand-in for the Bayesian model's (Beluch et al.
2018, "The power of ensembles for active learning"), with the core-set of Sener & Savarese (2018)
among the 25 b frames of highest variance for a queue of b. The variance is in the score
`ensemble`; how many candidates are kept is this project's choice, as DropQuery's.
"""

from __future__ import annotations

import numpy as np

from alwatch.strategies.candidates import farthest, highest
from alwatch.strategies.selection import Selection
from alwatch.strategies.turns import take_from

_CANDIDATES_PER_PICK = 25


def fill(selection: Selection, rng: np.random.Generator) -> None:
    """Take the farthest of the most disputed frames; the next 25 b where limits close them all.

    The score is the distance to the nearest labelled or queued frame at the moment of choice.
    `rng` only settles which of equally disputed frames are candidates.
    """
    disputed = selection.score("ensemble")
    while selection.wants_more:
        rows = selection.open_rows()
        most = _CANDIDATES_PER_PICK * selection.remaining
        chosen = highest(rows, disputed[rows], most, rng)
        take_from(
            selection,
            (
                (row, distance, f"{_dispute(disputed[row])}, {reason}")
                for row, distance, reason in farthest(selection, chosen)
            ),
        )


def _dispute(variance: float) -> str:
    if np.isnan(variance):
        return "not scored yet"
    return f"among the frames on which snapshots disagree most ({variance:.3g})"
