"""Herding against plain numpy greedy and apricot-select, on the same vectors.

Run `python -m tests.bench.bench_herding` from the repository's root; `--quick` takes seconds.
See `contest` for how contenders are measured and judged. The plain contenders hold a matrix of
similarities, which is why beyond 10,000 rows they choose from random 10,000.
"""

from __future__ import annotations

import numpy as np

from alwatch.strategies.pool import Limits
from tests.bench.contest import DEFAULT_LIMITS, Contender, arguments, by_alwatch, compare

MATRIX_ROWS = 10_000


def similarities(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row 0 and random others, at most `MATRIX_ROWS`, and the similarity of each to each."""
    others = np.random.default_rng(0).permutation(np.arange(1, len(vectors)))[: MATRIX_ROWS - 1]
    rows = np.concatenate([[0], np.sort(others)])
    similar = vectors[rows] @ vectors[rows].T
    similar -= 1
    similar *= 2
    return rows, np.exp(similar, out=similar)


def numpy_greedy(vectors: np.ndarray, k: int) -> list[int]:
    """Every candidate's gain at every pick, in parts that stay small."""
    rows, similar = similarities(vectors)
    cover, picks = similar[0].copy(), [0]
    gains = np.empty(len(rows))
    while len(picks) < k:
        for low in range(0, len(rows), 256):
            more = np.maximum(similar[low : low + 256] - cover, 0)
            gains[low : low + 256] = more.sum(axis=1)
        gains[picks] = -1
        picks.append(int(gains.argmax()))
        np.maximum(cover, similar[picks[-1]], out=cover)
    return [int(row) for row in rows[picks]]


def apricot(vectors: np.ndarray, k: int) -> list[int]:
    """apricot-select's facility location by its two-stage lazy greedy."""
    from apricot import FacilityLocationSelection  # type: ignore[import-not-found]

    rows, similar = similarities(vectors)
    selection = FacilityLocationSelection(
        k - 1, metric="precomputed", optimizer="two-stage", initial_subset=[0]
    )
    selection.fit(similar)
    return [0, *(int(row) for row in rows[selection.ranking])]


CONTENDERS = (
    by_alwatch("herding", Limits()),
    by_alwatch("herding", DEFAULT_LIMITS),
    by_alwatch("balanced_herding", DEFAULT_LIMITS),
    Contender("numpy greedy of 10,000", numpy_greedy),
    Contender("apricot of 10,000", apricot, package="apricot"),
)


def main() -> None:
    """Print the tables."""
    settings = arguments(__doc__, "100 of 5,000 rows, once").parse_args()
    if settings.quick:
        settings.rows, settings.picks, settings.repeats = [5_000], 100, 1
    compare(CONTENDERS, settings)


if __name__ == "__main__":
    main()
