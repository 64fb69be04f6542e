"""`balanced_herding`: herding in which every video has an equal say, and doubt as far as earned.

Greedy maximisation of ``sum_x 1 / n_video(x) u(x) max_s exp(-(d(x, s) / delta)^2)`` over what is
labelled, queued or picked. Herding is of Bae et al. (2024), its weighting by uncertainty of Bae et
al. (2025); this project's own are

- the equal say of videos, so that a long one does not take the queue;
- ``u = (1 - lambda) + lambda rank(U)``, U being what is missing to full confidence: lambda is the
  rank correlation of U with the error measured on labelled frames, at most 0.7. Before that is
  known, or where the pool has no scores, it is 0.

Delta is the published 1: one that follows the density of labels (`greedy_cover.bandwidth`) did
worse in the long-tailed race of `bench_selection`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from alwatch.strategies.greedy_cover import equal_say, take_covering
from alwatch.strategies.herding import DELTA
from alwatch.strategies.selection import Selection

_TRUST_MAX = 0.7


def fill(selection: Selection, rng: np.random.Generator) -> None:
    """Take the frame of largest gain until the budget is used up; `confidence` if there is any."""
    take_covering(
        selection,
        rng,
        weights=equal_say(selection) * doubt_weight(selection),
        delta=DELTA,
        stand_for="all videos alike",
    )


def doubt_weight(selection: Selection) -> NDArray[np.float64]:
    """``u = (1 - lambda) + lambda rank(U)`` of each row, float64 of shape (n,).

    Ranks lie in (0, 1), equal values share theirs; a row without a score has rank 0.
    """
    rank = np.zeros(len(selection.open_mask))
    trust = min(selection.trust, _TRUST_MAX) if selection.has_score("confidence") else 0.0
    if trust > 0:
        uncertainty = selection.score("confidence")
        is_known = ~np.isnan(uncertainty)
        rank[is_known] = (rankdata(uncertainty[is_known]) - 0.5) / max(is_known.sum(), 1)
    return 1 - trust + trust * rank
