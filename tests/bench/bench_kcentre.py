"""K-centre against plain numpy greedy and lightly-mundig, on the same vectors.

Run `python -m tests.bench.bench_kcentre` from the repository's root; `--quick` takes seconds.
See `contest` for how contenders are measured and judged. The cover radius is the largest distance
of any row to its nearest pick, the mean cover the mean one.
"""

from __future__ import annotations

import numpy as np

from alwatch.strategies.pool import Limits
from tests.bench.contest import DEFAULT_LIMITS, Contender, arguments, by_alwatch, compare


def numpy_greedy(vectors: np.ndarray, k: int) -> list[int]:
    """One matrix-vector product per pick."""
    lengths = np.einsum("ij,ij->i", vectors, vectors)
    nearest = np.full(len(vectors), np.inf, dtype=np.float32)
    picks = [0]
    while len(picks) < k:
        row = picks[-1]
        np.minimum(nearest, lengths + lengths[row] - 2 * (vectors @ vectors[row]), out=nearest)
        picks.append(int(nearest.argmax()))
    return picks


def lightly_mundig(vectors: np.ndarray, k: int) -> list[int]:
    """LightlyStudio's selection engine, row 0 preselected."""
    from lightly_mundig import Selection  # type: ignore[import-untyped]

    selection = Selection()
    selection.add_diversifying_strategy(
        embeddings=vectors, strength=1.0, stopping_condition_minimum_distance=None
    )
    chosen = selection.run_selection(
        preselected_indices=[0], n_total_samples=len(vectors), n_samples_to_select=k
    )
    return [int(row) for row in chosen]


CONTENDERS = (
    by_alwatch("minmax", Limits()),
    by_alwatch("minmax", DEFAULT_LIMITS),
    Contender("numpy greedy", numpy_greedy),
    Contender("lightly-mundig", lightly_mundig, package="lightly_mundig"),
)


def main() -> None:
    """Print the tables."""
    settings = arguments(__doc__, "100 of 10,000 rows, once").parse_args()
    if settings.quick:
        settings.rows, settings.picks, settings.repeats = [10_000], 100, 1
    compare(CONTENDERS, settings)


if __name__ == "__main__":
    main()
