"""`liu_ferrari`: uncertainty and influence combined, uncertainty the more the more is labelled.

After Liu & Ferrari (2017), who combine w U + (1 - w) R dynamically over rounds. Their schedule
for w is unverified; here w = m / (m + b), with m labelled or queued frames and a queue of b: 0 at
first, when the model knows nothing, then 1/2, 2/3, 3/4 in rounds of equal size. It is not
`trust`, with which it would be plain influence until the uncertainty has proved itself.

What differs: U is what the confidence lacks to 1 instead of multiple-peak entropy; U and R are
ranks, so that neither drowns the other; R is ranked over the whole pool in linear time; and
picks are kept apart by a radius within which 1/b of the pool lies on average.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from alwatch.scores.distances import nearest_distance, relative_squares, squared_lengths
from alwatch.scores.influence import similarity_sums
from alwatch.strategies.selection import Selection
from alwatch.strategies.turns import take_from

_CHUNK = 1024
_SAMPLE = 2000
"""Frames on which the radius is measured."""


def fill(selection: Selection, rng: np.random.Generator) -> None:
    """Take the highest w U + (1 - w) R that resembles no pick, then begin again with the rest.

    A frame that has not been scored has U = 0, so that it gains nothing by being unknown. Time is
    linear in the pool, times the budget where nearly everything resembles a pick. `rng` is not
    used.
    """
    if not selection.wants_more:
        return
    n = len(selection.open_mask)
    n_known = selection.n_known
    weight = n_known / (n_known + selection.remaining)
    with threadpool_limits(limits=1):
        uncertain = _ranks(selection.score("confidence"))
        typical = _ranks(similarity_sums(selection.vectors, n))
        combined = weight * uncertain + (1 - weight) * typical
        rows = selection.open_rows()
        order = rows[np.argsort(-combined[rows], kind="stable")]
        candidates = (
            (row, float(combined[row]), _reason(uncertain[row] - 1 / n, typical[row] - 1 / n))
            for row in _apart(selection, order, _radius(selection, rows))
        )
        take_from(selection, candidates)


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from above 0 to 1 for the highest, the mean rank for equals; 0 where NaN."""
    ranks = np.zeros(len(scores))
    known = ~np.isnan(scores)
    ranks[known] = rankdata(scores[known]) / max(known.sum(), 1)
    return ranks


def _radius(selection: Selection, rows: NDArray[np.int64]) -> float:
    """The distance within which lies, on average over frames, one in `remaining` of the others."""
    n = min(len(rows), _SAMPLE)
    if n < 2:
        return 0.0
    sample = selection.vectors(rows[np.arange(n) * len(rows) // n])
    squares = relative_squares(sample, sample) + squared_lengths(sample)[:, None]
    others = squares[~np.eye(n, dtype=bool)]
    return float(np.sqrt(max(np.quantile(others, 1 / selection.remaining), 0)))


def _apart(selection: Selection, order: NDArray[np.int64], radius: float) -> Iterator[int]:
    """Open rows in order, those last that lie within the radius of one given before."""
    while len(order):
        near = [order[:0]]
        given = selection.vectors(order[:0])
        for low in range(0, len(order), _CHUNK):
            part = order[low : low + _CHUNK]
            part = part[selection.open_mask[part]]
            vectors = selection.vectors(part)
            is_far = nearest_distance(vectors, given) > radius
            for i, row in enumerate(part):
                if is_far[i] and selection.is_open(int(row)):
                    yield int(row)
                    given = np.concatenate([given, vectors[i : i + 1]])
                    is_far[i + 1 :] &= nearest_distance(vectors[i + 1 :], given[-1:]) > radius
            near.append(part[~is_far])
        order = np.concatenate(near)


def _reason(less_unsure: float, less_typical: float) -> str:
    """From the shares of frames that lie below; negative where it is not known."""
    unsure = "not scored yet" if less_unsure < 0 else f"more unsure than {less_unsure:.0%}"
    return f"{unsure}, more typical than {less_typical:.0%} of all frames"
