"""What it costs to assess seasons: processor time, and memory above what is loaded anyway.

python -m tests.bench.bench_seasons [--quick]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from alwatch.records import EmbedderIdentity, LabelledFrame, LabelledPoint
from alwatch.seasons.assess import assess_seasons, inputs_of
from alwatch.store import Store
from tests.store.helpers import NOW, ingested, seen

EMBEDDER = EmbedderIdentity("bench", "1", 384)
FRAMES, LABELS, SEASONS = 1000, 10, 6
NOSE = LabelledPoint("", "nose", 1.0, 1.0)


def fill(store: Store, videos: int) -> None:
    """Seasons of equally many videos, each a cloud of its own; all but the last have labels."""
    rng = np.random.default_rng(0)
    labels = []
    for number in range(videos):
        season = str(2020 + number * SEASONS // videos)
        path = f"{season}/{number}.mp4"
        store.videos.link(seen(path), f"hash-of-{path}", NOW)
        claim = store.videos.claim(NOW)
        assert claim is not None
        vectors = rng.normal(size=EMBEDDER.dim) + rng.normal(0, 0.5, (FRAMES, EMBEDDER.dim))
        video = ingested(list(range(FRAMES)), embedder=EMBEDDER, vectors=vectors)
        store.videos.finish(claim.video_id, video, season, NOW)
        if number < videos * (SEASONS - 1) // SEASONS:
            labels += [
                (claim.video_id, LabelledFrame(Path("/p"), path, frame, Path("/p"), (NOSE,)))
                for frame in range(0, FRAMES, FRAMES // LABELS)
            ]
    store.labels.set("deeplabcut", Path("/p"), labels, NOW)


def peak_mb() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print one line for each thing measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="A tenth of the videos.")
    parser.add_argument("--state", type=Path, help="Where the archive is kept for the next run.")
    options = parser.parse_args()
    videos = 30 if options.quick else 300
    with tempfile.TemporaryDirectory() as made:
        folder = options.state or Path(made)
        with Store(folder) as store:
            if not store.pools.n_frames():
                fill(store, videos)
            before_mb = peak_mb()
            began_s = time.process_time()
            inputs = inputs_of(store, EMBEDDER)
            print(f"whether anything has changed   {time.process_time() - began_s:8.3f} s")
            for seasons in (list(inputs)[-1:], list(inputs)):
                began_s = time.process_time()
                assess_seasons(store, EMBEDDER, seasons, before={}, drift_alpha=0.01)
                spent_s, more_mb = time.process_time() - began_s, peak_mb() - before_mb
                print(f"{len(seasons)} of {SEASONS} seasons {spent_s:24.1f} s, {more_mb:.0f} MB")


if __name__ == "__main__":
    main()
