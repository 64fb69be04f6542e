"""K-centre against plain numpy greedy and lightly-mundig, on the same vectors.

Run `python -m tests.bench.bench_kcentre` from the repository's root; `--quick` takes seconds.
Every run is a process of its own, and its peak memory is given above what the process held
before it chose, the vectors included (Linux only). All contenders start from the same row. The
cover radius is the largest distance of any row to its nearest pick, the mean cover the mean one,
both between the vectors that the contenders were given.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from alwatch.scores.distances import nearest_distance, unit_rows
from alwatch.strategies.pool import Limits, Pool
from alwatch.strategies.registry import select

N_VIDEOS = 50


def gaussian(n: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Independent directions: nothing to gain from structure."""
    return rng.standard_normal((n, width), dtype=np.float32)


def clustered(n: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Fifty tight clusters."""
    centres = rng.standard_normal((50, width), dtype=np.float32)
    return centres[rng.integers(0, 50, n)] + 0.5 * gaussian(n, width, rng)


def walks(n: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Videos of correlated frames: 16 slow directions each, around a scene of their own."""
    videos = []
    for length in np.diff(np.linspace(0, n, N_VIDEOS + 1).astype(int)):
        latent = 0.2 * rng.standard_normal((length, 16))
        for t in range(1, length):
            latent[t] += 0.98 * latent[t - 1]
        scene = 3 * rng.standard_normal(width)
        frames = latent @ rng.standard_normal((16, width)) / 4 + scene
        videos.append(frames + 0.1 * rng.standard_normal((length, width)))
    return np.concatenate(videos).astype(np.float32)


def plane(n: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A square in two dimensions: every pick changes its whole neighbourhood."""
    axes = np.linalg.qr(rng.standard_normal((width, 3)))[0].T
    corners = np.column_stack([rng.uniform(-1, 1, (n, 2)), np.ones(n)])
    return (corners @ axes).astype(np.float32)


def alwatch(vectors: np.ndarray, k: int) -> list[int]:
    """`select` with strategy minmax, row 0 labelled."""
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
        pool, strategy="minmax", budget=k - 1, limits=Limits(), rng=np.random.default_rng(0)
    )
    return [0, *picks.rows.tolist()]


def alwatch_float16(vectors: np.ndarray, k: int) -> list[int]:
    """The same from vectors as the store holds them."""
    return alwatch(vectors, k)


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


DATA: dict[str, Callable[..., np.ndarray]] = {
    "gaussian": gaussian,
    "clustered": clustered,
    "walks": walks,
    "plane": plane,
}
CONTENDERS = (alwatch, alwatch_float16, numpy_greedy, lightly_mundig)


def memory_bytes(figure: str) -> int:
    """What this process holds now (VmRSS) or has held at most (VmHWM)."""
    kilobytes = re.search(rf"{figure}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert kilobytes is not None
    return int(kilobytes[1]) * 1024


def work(
    pipe: Connection, contender: Callable[..., list[int]], data: str, n: int, width: int, k: int
) -> None:
    """Run one contender in this process and send (picks, seconds, peak bytes above the start)."""
    vectors = unit_rows(DATA[data](n, width, np.random.default_rng(0)))
    if contender is alwatch_float16:
        vectors = vectors.astype(np.float16)
    contender(vectors[:1000].copy(), 5)  # imports and thread pools
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before_bytes = memory_bytes("VmRSS")
    start_s = time.perf_counter()
    picks = contender(vectors, k)
    duration_s = time.perf_counter() - start_s
    pipe.send((picks, duration_s, memory_bytes("VmHWM") - before_bytes))


def measure(*arguments: object) -> tuple[list[int], float, int]:
    """The outcome of `work` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(sender, *arguments))
    process.start()
    sender.close()
    outcome: tuple[list[int], float, int] = receiver.recv()
    process.join()
    return outcome


def main() -> None:
    """Print one table per kind of data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10,000 rows and 100 picks")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--picks", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3, help="the fastest run counts")
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    settings = parser.parse_args()
    if settings.quick:
        settings.rows, settings.picks, settings.repeats = 10_000, 100, 1
    for data in settings.data:
        shape = (data, settings.rows, settings.width, settings.picks)
        vectors = unit_rows(DATA[data](*shape[1:3], np.random.default_rng(0)))
        print(f"\n{data}: {settings.picks} of {settings.rows:,} x {settings.width}")
        print(f"{'':16} {'seconds':>8} {'times':>6} {'MB above':>9} {'radius':>8} {'mean':>8}")
        ours_s = 0.0
        for contender in CONTENDERS:
            runs = [measure(contender, *shape) for _ in range(settings.repeats)]
            picks, duration_s, peak_bytes = min(runs, key=lambda run: run[1])
            ours_s = ours_s or duration_s
            cover = nearest_distance(vectors, vectors[picks])
            print(
                f"{contender.__name__:16} {duration_s:8.2f} {duration_s / ours_s:6.1f} "
                f"{peak_bytes / 1e6:9.0f} {cover.max():8.4f} {cover.mean():8.4f}"
                + ("" if len(set(picks)) == settings.picks else f"  only {len(set(picks))} picks"),
                flush=True,
            )


if __name__ == "__main__":
    main()
