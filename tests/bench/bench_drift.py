"""How often does the drift test cry wolf, and what does it find? Simulated seasons and real flies.

Run `python -m tests.bench.bench_drift simulated` or `… flies` from the repository's root; `--quick`
takes a twentieth of the seasons, and of the flies every fourth frame.

simulated: 20 reference videos, then seasons of 48 that come one by one and are tested whenever
their number has doubled from 3, with `--alpha` for the whole season: half for the vectors (8
directions), half for the uncertainty (one). Frames are AR(1) of lag-1 correlation 0.95, 500 a
video; videos differ in their means as much as frames do within one. A shift by one SD is one
standard deviation *between videos* of that mean, in all directions or in one.

flies: six recordings of three experiments, two flies each, hog vectors, cut in chunks in time
that stand for videos. Chunks of one recording dealt out at random should be alike. Its second
half may differ from the first, as a fly moves on, and neighbouring chunks are alike, so that chunks
are no fair stand-in for videos there. Another experiment should differ.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import av
import numpy as np
from scipy.stats import beta, ks_2samp

from alwatch.embedders.hog import HogEmbedder
from alwatch.scores.drift import Drift, video_permutation_mmd
from tests.scores.drift_simulation import (
    Drifts,
    Test,
    Videos,
    alarms,
    by_video,
    correlated_videos,
)

DATA = Path(os.environ.get("ALWATCH_DATA", Path(__file__).resolve().parents[3] / "shared/data"))
FLIES = ("clip_a", "clip_b", "cpair_a", "cpair_b", "fly20190128_a", "fly20190128_b")
N_REFERENCE, N_SEASON, DIRECTIONS = 20, 48, 8
SEASONS_A_YEAR = 12
CHUNK_FRAMES = 100
FRAMES_DRAWN = 100


# --- simulated ---------------------------------------------------------------------------------


def ks_bonferroni(stride: int) -> Test:
    """Kolmogorov-Smirnov in each direction, every `stride`-th frame counted as independent."""

    def test(reference: Videos, new: Videos, rng: np.random.Generator) -> float:
        one, other = (np.concatenate([v[::stride] for v in of]) for of in (reference, new))
        d = one.shape[1]
        return min(1.0, d * min(ks_2samp(one[:, i], other[:, i]).pvalue for i in range(d)))

    return test


def by_frame(reference: Videos, new: Videos, rng: np.random.Generator) -> float:
    """The same statistic with frames exchanged, 100 of each side."""
    one, other = (
        [row[None] for row in rng.permutation(np.concatenate(of))[:FRAMES_DRAWN]]
        for of in (reference, new)
    )
    return video_permutation_mmd(one, other, rng=rng).p


def season_alarms(
    test: Test, shift: Drifts, rng: np.random.Generator, streams: str, alpha: float
) -> list[tuple[int, bool]]:
    """Looks at one season, an alarm being one in any of the streams."""
    found: list[list[tuple[int, bool]]] = []
    for d in {"both": (DIRECTIONS, 1), "vectors": (DIRECTIONS,), "score": (1,)}[streams]:
        reference = correlated_videos(N_REFERENCE, d, rng)
        season = correlated_videos(N_SEASON, d, rng, shift=shift.of(d))
        found.append(alarms(test, reference, season, alpha / 2, rng))
    return [(looks[0][0], any(alarm for _, alarm in looks)) for looks in zip(*found, strict=True)]


def by_look(seasons: list[list[tuple[int, bool]]]) -> dict[int, float]:
    """Share of the seasons with an alarm at that look or before."""
    ever = np.array([[alarm for _, alarm in season] for season in seasons])
    share = np.maximum.accumulate(ever, axis=1).mean(axis=0)
    return {n_new: float(s) for (n_new, _), s in zip(seasons[0], share, strict=True)}


def upper(count: float, n: int) -> float:
    """Upper end of the exact 95 % interval of a share (Clopper & Pearson)."""
    return float(beta.ppf(0.975, count + 1, n - count)) if count < n else 1.0


def simulated(quick: bool, alpha: float) -> None:
    rng = np.random.default_rng(0)
    scale = 20 if quick else 1
    none = Drifts(0.0)
    print("seasons alike: false alarms")
    contenders: tuple[tuple[str, Test, int], ...] = (
        ("MMD, videos exchanged (alwatch)", by_video, 1000),
        ("MMD, frames exchanged", by_frame, 40),
        ("KS-Bonferroni, all frames", ks_bonferroni(1), 100),
        ("KS-Bonferroni, every 20th frame", ks_bonferroni(20), 200),
    )
    for name, test, n in contenders:
        n = max(10, n // scale)
        seasons = [season_alarms(test, none, rng, "both", alpha) for _ in range(n)]
        count = sum(any(alarm for _, alarm in season) for season in seasons)
        print(
            f"  {name:<33} {count:4d} of {n:4d} seasons (nominal {alpha}; at most "
            f"{upper(count, n):.3f}), {SEASONS_A_YEAR * count / n:5.2f} a year of "
            f"{SEASONS_A_YEAR} seasons",
            flush=True,
        )
    print("\ndrift from the first video on: share found by the look at so many new videos")
    for streams, along in (("vectors", "all"), ("vectors", "one"), ("score", "one")):
        for sd in (0.5, 1.0, 2.0):
            n = max(10, 200 // scale)
            shift = Drifts(sd, along)
            seasons = [season_alarms(by_video, shift, rng, streams, alpha) for _ in range(n)]
            shares = "  ".join(f"{k}: {share:.2f}" for k, share in by_look(seasons).items())
            print(
                f"  {streams}, {sd} SD in {along} direction(s), {n} seasons:  {shares}", flush=True
            )


# --- flies -------------------------------------------------------------------------------------


def chunks_of(name: str, stride: int) -> Videos:
    """A recording's hog vectors in chunks in time, as if each were a video."""
    embedder = HogEmbedder()
    with av.open(str(DATA / f"flies-dlc/videos/{name}.mp4")) as video:
        side_px = embedder.frame_size_px(
            video.streams.video[0].height, video.streams.video[0].width
        )
        frames = [
            frame.to_ndarray(format="rgb24", height=side_px[0], width=side_px[1])
            for index, frame in enumerate(video.decode(video=0))
            if index % stride == 0
        ]
    vectors = np.concatenate(
        [embedder.embed(np.stack(frames[low : low + 64])) for low in range(0, len(frames), 64)]
    )
    per_chunk = max(1, CHUNK_FRAMES // stride)
    return [
        vectors[low : low + per_chunk] for low in range(0, len(vectors) - per_chunk + 1, per_chunk)
    ]


def flies(quick: bool, alpha: float) -> None:
    rng = np.random.default_rng(0)
    chunks = {name: chunks_of(name, 4 if quick else 1) for name in FLIES}
    print(f"chunks of {CHUNK_FRAMES} frames; ALARM: p <= {alpha / 4}, the share of the first look")
    print("\nthe same fly, chunks dealt out at random: how often p <= 0.05")
    n_deals = 20 if quick else 200
    for name in FLIES:
        below = sum(_dealt(chunks[name], rng).p <= 0.05 for _ in range(n_deals))
        print(f"  {name:<46} {below:3d} of {n_deals} (nominal {0.05 * n_deals:.0f})", flush=True)
    print("\nthe same fly, the first half of its chunks against the second half in time")
    for name in FLIES:
        half = len(chunks[name]) // 2
        _row(name, alpha, [(chunks[name][:half], chunks[name][half:])], rng)
    print("\nanother fly: its first six chunks, and all of them")
    for one in FLIES:
        for other in FLIES:
            if other != one:
                same = one.rsplit("_", 1)[0] == other.rsplit("_", 1)[0]
                name = f"{one} - {other}{' (same recording)' if same else ''}"
                splits = [(chunks[one], chunks[other][:6]), (chunks[one], chunks[other])]
                _row(name, alpha, splits, rng)


def _dealt(videos: Videos, rng: np.random.Generator) -> Drift:
    order = rng.permutation(len(videos))
    dealt = [videos[i] for i in order]
    return video_permutation_mmd(dealt[::2], dealt[1::2], rng=rng)


def _row(
    name: str, alpha: float, splits: list[tuple[Videos, Videos]], rng: np.random.Generator
) -> None:
    text = f"  {name:<46}"
    for reference, new in splits:
        found = video_permutation_mmd(reference, new, rng=rng)
        alarm = "ALARM" if found.p <= alpha / 4 else "     "
        text += (
            f" {found.n_reference:2d} v {found.n_new:2d}: p {found.p:.5f} "
            f"({found.smallest_p:.5f} at best) shift {found.shift:4.2f} {alarm}"
        )
    print(text, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", choices=["simulated", "flies"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--alpha", type=float, default=0.01)
    arguments = parser.parse_args()
    {"simulated": simulated, "flies": flies}[arguments.data](arguments.quick, arguments.alpha)
