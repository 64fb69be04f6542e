"""When a season is tested for drift as its videos come, and at which alpha.

Every look at the data is a chance of a false alarm. Here a season is looked at whenever the
number of its videos has doubled, and the k-th look may spend alpha / (k (k + 1)). These add up to
alpha however many looks there are, so a season without drift gives a false alarm, ever, with
probability alpha at most (Bonferroni; looks need not be independent). Half is spent at the first
look, where a change of camera or cage shows at once; later looks have more videos and need less.
Halving the share each time would give the second look more, but soon falls below what random
exchanges can tell: this one stays above it for the eight doublings after the first look, at an
alpha of 0.005.
"""

from __future__ import annotations

from alwatch.scores.drift import smallest_p

FIRST_LOOK = 3
"""New videos at the first look."""


def alpha_of_look(k: int, alpha: float) -> float:
    """Alpha that the k-th look at a season may spend; k counts from 1."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")
    return alpha / (k * (k + 1))


def look_is_due(n_reference: int, n_new: int, *, looks: int, n_at_last: int, alpha: float) -> bool:
    """Whether a season should be tested now.

    It depends on numbers of videos alone, never on what they show, which is what keeps the error
    rate. A look that could not find even the largest drift, too few videos being there, waits
    for more of them and spends nothing.

    Parameters
    ----------
    n_reference, n_new : int
        Videos there are.
    looks : int
        How often the season has been tested.
    n_at_last : int
        New videos at the last test; 0 before the first.
    alpha : float
        Probability of a false alarm over the whole season.
    """
    if n_new < max(FIRST_LOOK, 2 * n_at_last):
        return False
    return smallest_p(n_reference, n_new) <= alpha_of_look(looks + 1, alpha)
