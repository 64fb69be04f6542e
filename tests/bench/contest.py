"""What the benches of frame selection share: drawn pools, how a contender is measured and judged.

A pool is drawn as a latent, of which contenders see one noisy random projection, rounded to
float16 as the store keeps vectors. Their picks are judged in another projection, with axes and
noise of its own, that none of them has seen. Every run is a process of its own; contenders take
turns, so that ratios hold on a machine that others use as well, and the fastest run counts. The
seconds of all cores together ("CPU s") depend least on what others do. Peak memory is given above
what the process held before it chose, the vectors included (Linux only): float16 where alwatch
chooses, float32 for its peers, whose conversion is not counted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from alwatch.scores.distances import nearest_distance, unit_rows
from alwatch.strategies.pool import Limits, Pool
from alwatch.strategies.registry import select

FRAMES_PER_VIDEO = 1000  # as many as alwatch looks at in one video by default
RATE_HZ = 4.0
NOISE = 0.1
DEFAULT_LIMITS = Limits(equal_share_max=1.0, near_duplicate_quantile=0.2, min_gap_s=0.5)

Choose = Callable[[np.ndarray, int], list[int]]


@dataclass(frozen=True)
class Contender:
    """One way to choose: the first row is labelled, and counts as the first pick."""

    name: str
    choose: Choose
    dtype: str = "float32"
    package: str | None = None  # without which it is skipped


@dataclass(frozen=True)
class Outcome:
    """What a contender picked, and what it took: on the clock, on all cores, and of memory."""

    picks: list[int]
    duration_s: float
    cpu_s: float
    peak_bytes: int


def gaussian(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Independent directions: nothing to gain from structure."""
    return rng.standard_normal((n, 128), dtype=np.float32)


def clustered(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Fifty tight clusters."""
    centres = rng.standard_normal((50, 32), dtype=np.float32)
    near = rng.standard_normal((n, 32), dtype=np.float32)
    return centres[rng.integers(0, 50, n)] + np.float32(0.3) * near


def walks(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Videos of correlated frames: 16 slow directions each, around one of fifty scenes."""
    n_videos = -(-n // FRAMES_PER_VIDEO)
    steps = 0.2 * rng.standard_normal((n_videos, FRAMES_PER_VIDEO, 16), dtype=np.float32)
    pose = lfilter([1], [1, -0.98], steps, axis=1).astype(np.float32)
    axes = rng.standard_normal((n_videos, 16, 32), dtype=np.float32) / 4
    scenes = 2 * rng.standard_normal((50, 1, 32), dtype=np.float32)
    scene = scenes[rng.integers(0, 50, n_videos)]
    frames: NDArray[np.float32] = (pose @ axes + scene).reshape(-1, 32)[:n]
    return frames


def plane(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A square in two dimensions: every pick changes its whole neighbourhood."""
    corners = np.column_stack([rng.uniform(-1, 1, (n, 2)), np.ones(n)])
    return corners.astype(np.float32)


DATA: dict[str, Callable[[int, np.random.Generator], NDArray[np.float32]]] = {
    "gaussian": gaussian,
    "clustered": clustered,
    "walks": walks,
    "plane": plane,
}


def view(latent: NDArray[np.float32], width: int, rng: np.random.Generator) -> np.ndarray:
    """Project at random to unit rows, with noise a tenth as long as the rows; float16."""
    axes = rng.standard_normal((latent.shape[1], width), dtype=np.float32)
    seen = np.empty((len(latent), width), np.float16)
    for low in range(0, len(latent), 8192):
        rows = unit_rows(latent[low : low + 8192] @ axes)
        noise = rng.standard_normal(rows.shape, dtype=np.float32)
        seen[low : low + 8192] = unit_rows(rows + noise * np.float32(NOISE / width**0.5))
    return seen


def by_alwatch(strategy: str, limits: Limits) -> Contender:
    """`select` from videos of 1000 frames each, row 0 labelled."""
    name = strategy + (", default limits" if limits != Limits() else "")
    return Contender(name, _Select(strategy, limits), dtype="float16")


@dataclass(frozen=True)
class _Select:
    strategy: str
    limits: Limits

    def __call__(self, vectors: np.ndarray, k: int) -> list[int]:
        video, frame = np.divmod(np.arange(len(vectors)), FRAMES_PER_VIDEO)
        pool = Pool(
            vectors,
            video,
            frame,
            frame / RATE_HZ,
            taken_vectors=vectors[:1],
            taken_video=video[:1],
            taken_frame=frame[:1],
            taken_time_s=np.zeros(1),
        )
        picks = select(
            pool,
            strategy=self.strategy,
            budget=k - 1,
            limits=self.limits,
            rng=np.random.default_rng(0),
        )
        return [0, *picks.rows.tolist()]


def memory_bytes(figure: str) -> int:
    """What this process holds now (VmRSS) or has held at most (VmHWM)."""
    kilobytes = re.search(rf"{figure}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert kilobytes is not None
    return int(kilobytes[1]) * 1024


def work(pipe: Connection, contender: Contender, path: Path, k: int) -> None:
    """Run one contender in this process and send its outcome."""
    vectors = np.load(path).astype(contender.dtype, copy=False)
    contender.choose(vectors[:2000].copy(), 5)  # imports and thread pools
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before_bytes = memory_bytes("VmRSS")
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    picks = contender.choose(vectors, k)
    duration_s = time.perf_counter() - start_s
    cpu_s = time.process_time() - start_cpu_s
    pipe.send(Outcome(picks, duration_s, cpu_s, memory_bytes("VmHWM") - before_bytes))


def measure(contender: Contender, path: Path, k: int) -> Outcome:
    """The outcome of `work` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(sender, contender, path, k))
    process.start()
    sender.close()
    outcome: Outcome = receiver.recv()
    process.join()
    return outcome


def arguments(description: str, quick: str) -> argparse.ArgumentParser:
    """The options that the benches share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--picks", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=2, help="the fastest run counts")
    parser.add_argument("--data", nargs="+", choices=DATA, default=["walks"])
    return parser


def compare(contenders: Sequence[Contender], settings: argparse.Namespace) -> None:
    """Print one table for each kind of data and number of rows."""
    present = []
    for each in contenders:
        if each.package is None or find_spec(each.package) is not None:
            present.append(each)
        else:
            print(f"{each.name} is skipped: {each.package} is not installed (`.[bench]`)")
    for data in settings.data:
        for rows in settings.rows:
            with tempfile.TemporaryDirectory() as folder:
                _compare_on(present, data, rows, settings, Path(folder) / "vectors.npy")


def _compare_on(
    contenders: Sequence[Contender],
    data: str,
    n: int,
    settings: argparse.Namespace,
    path: Path,
) -> None:
    axes, k = np.random.default_rng(1), settings.picks
    latent = DATA[data](n, np.random.default_rng(0))
    shown, hidden = view(latent, settings.width, axes), view(latent, settings.width, axes)
    np.save(path, shown)
    print(f"\n{data}: {k} of {n:,} x {settings.width}; cover as chosen by, and as judged")
    print(
        f"{'':32} {'seconds':>8} {'slowest':>8} {'ratio':>6} {'CPU s':>8} {'MB above':>9} "
        f"{'radius':>7} {'mean':>7}  {'radius':>7} {'mean':>7}"
    )
    rounds = [[measure(each, path, k) for each in contenders] for _ in range(settings.repeats)]
    best = [min(runs, key=lambda run: run.duration_s) for runs in zip(*rounds, strict=True)]
    for number, (each, run) in enumerate(zip(contenders, best, strict=True)):
        slowest_s = max(outcomes[number].duration_s for outcomes in rounds)
        picks = run.picks
        covers = [nearest_distance(rows, rows[picks]) for rows in (shown, hidden)]
        print(
            f"{each.name:32} {run.duration_s:8.2f} {slowest_s:8.2f} "
            f"{run.duration_s / best[0].duration_s:6.1f} {run.cpu_s:8.2f} "
            f"{run.peak_bytes / 1e6:9.0f} "
            + "  ".join(f"{cover.max():7.4f} {cover.mean():7.4f}" for cover in covers)
            + ("" if len(set(picks)) == k else f"  only {len(set(picks))} picks"),
            flush=True,
        )
