"""Herding against plain numpy greedy and apricot-select, on the same vectors.

Run `python -m tests.bench.bench_herding` from the repository's root; `--quick` takes seconds,
`--full` chooses from 1,000,000 rows. Every run is a process of its own, and its peak memory is
given above what the process held before it chose, the vectors included (Linux only). All
contenders start from the same row. The columns of quality are between the vectors that the
contenders were given: what herding maximises, the mean over all rows of exp(-d^2), d being the
distance to the nearest pick; the mean of d; and the largest d. The plain contenders hold a
matrix of similarities, which is why beyond 10,000 rows they choose from random 10,000.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec

import numpy as np

from alwatch.scores.distances import nearest_distance, unit_rows
from alwatch.strategies.pool import Limits, Pool
from alwatch.strategies.registry import select
from tests.bench.bench_kcentre import DATA, N_VIDEOS, measure

MATRIX_ROWS = 10_000


def choose(vectors: np.ndarray, k: int, strategy: str) -> list[int]:
    """`select` from 50 equally long videos, row 0 labelled."""
    n = len(vectors)
    frame = np.arange(n)
    pool = Pool(
        vectors,
        frame * N_VIDEOS // n,
        frame,
        frame / 25,
        taken_vectors=vectors[:1],
        taken_video=np.zeros(1, np.int64),
        taken_frame=np.zeros(1, np.int64),
        taken_time_s=np.zeros(1),
    )
    picks = select(
        pool, strategy=strategy, budget=k - 1, limits=Limits(), rng=np.random.default_rng(0)
    )
    return [0, *picks.rows.tolist()]


def herding(vectors: np.ndarray, k: int) -> list[int]:
    """`select` with strategy herding, delta 1."""
    return choose(vectors, k, "herding")


def balanced_herding(vectors: np.ndarray, k: int) -> list[int]:
    """`select` with strategy balanced_herding, which chooses its delta: another objective."""
    return choose(vectors, k, "balanced_herding")


def minmax(vectors: np.ndarray, k: int) -> list[int]:
    """`select` with strategy minmax, for its radius."""
    return choose(vectors, k, "minmax")


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


CONTENDERS = (herding, balanced_herding, minmax, numpy_greedy, apricot)


def main() -> None:
    """Print one table per kind of data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5,000 rows and 100 picks")
    parser.add_argument("--full", action="store_true", help="1,000,000 rows, walks only")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--picks", type=int, default=500)
    parser.add_argument("--data", nargs="+", choices=DATA, default=["walks", "clustered"])
    settings = parser.parse_args()
    if settings.quick:
        settings.rows, settings.picks = 5_000, 100
    if settings.full:
        settings.rows, settings.data = 1_000_000, ["walks"]
    for data in settings.data:
        shape = (data, settings.rows, settings.width, settings.picks)
        vectors = unit_rows(DATA[data](*shape[1:3], np.random.default_rng(0)))
        print(f"\n{data}: {settings.picks} of {settings.rows:,} x {settings.width}")
        print(
            f"{'':16} {'seconds':>8} {'MB above':>9} {'similarity':>10} {'mean':>8} {'radius':>8}"
        )
        for contender in CONTENDERS:
            if contender is apricot and find_spec("apricot") is None:
                print("apricot          skipped: apricot-select is not installed")
                continue
            picks, duration_s, peak_bytes = measure(contender, *shape)
            cover = nearest_distance(vectors, vectors[picks])
            print(
                f"{contender.__name__:16} {duration_s:8.2f} {peak_bytes / 1e6:9.0f} "
                f"{np.exp(-(cover**2)).mean():10.4f} {cover.mean():8.4f} {cover.max():8.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
