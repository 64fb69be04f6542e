"""`dlc_kmeans`, `dlc_uniform`, `dlc_jump`: DeepLabCut's own ways of extracting frames.

After `extract_frames` (k-means and uniform) and `extract_outlier_frames` ("jump") of DeepLabCut 3,
Nath et al. (2019), as baselines. As there, every video gives equally many frames; here the queue
alternates between videos, and others make up for what a video cannot give.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from alwatch.strategies.selection import Selection
from alwatch.strategies.turns import Candidate, dealt, in_turns, ranked, take_in_turns

_BATCH = 100


def fill_kmeans(selection: Selection, rng: np.random.Generator) -> None:
    """Cluster each video into its share and take a random member of each cluster.

    With DeepLabCut's settings of MiniBatchKMeans. What differs: it clusters the embeddings, not
    grey images 30 pixels wide; an empty cluster, or one that the limits have closed, is made up
    for; one thread. Memory is one video's vectors in float32.
    """

    def stream(video: int, share: int) -> Iterator[Candidate]:
        return _clusters(selection, video, max(share, 1), rng)

    take_in_turns(selection, dealt(selection, rng), stream)


def fill_uniform(selection: Selection, rng: np.random.Generator) -> None:
    """Take random frames of each video, all equally likely."""

    def stream(video: int, share: int) -> Iterator[Candidate]:
        rows = selection.open_rows(selection.videos[video])
        return ranked(rows, np.zeros(len(rows)), "drawn at random from its video", rng)

    take_in_turns(selection, dealt(selection, rng), stream)


def fill_jump(selection: Selection, rng: np.random.Generator) -> None:
    """Take the frames of each video at which the predicted pose changes most.

    DeepLabCut flags frames on which any bodypart has moved by more than 20 pixels since the
    frame before, and lets k-means choose among them. What differs: `change` is measured to the
    frame after, over all bodyparts, and the largest come first without a threshold.
    """
    change = selection.score("change")

    def stream(video: int, share: int) -> Iterator[Candidate]:
        rows = selection.open_rows(selection.videos[video])
        return ranked(rows, change[rows], "the pose jumps to the next frame ({:.3g})", rng)

    take_in_turns(selection, dealt(selection, rng), stream)


def _clusters(
    selection: Selection, video: int, share: int, rng: np.random.Generator
) -> Iterator[Candidate]:
    rows = selection.open_rows(selection.videos[video])
    cluster = _cluster(selection.vectors(rows), min(share, len(rows)), rng)
    streams = []
    for i in np.unique(cluster):
        mine = rows[cluster == i]
        reason = f"drawn from a cluster of {len(mine)} similar frames of its video"
        streams.append(ranked(mine, np.zeros(len(mine)), reason, rng))
    yield from in_turns(selection, streams)


def _cluster(vectors: NDArray[np.float32], k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Cluster number of each row."""
    if k == len(vectors):
        return np.arange(k)
    batch = _BATCH if len(vectors) >= _BATCH else max(len(vectors) // 2, 1)
    model = MiniBatchKMeans(
        n_clusters=k,
        tol=1e-3,
        batch_size=batch,
        max_iter=50,
        n_init=1,
        init_size=3 * max(batch, k),
        random_state=int(rng.integers(2**31)),
    )
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters
        cluster: NDArray[np.int64] = model.fit_predict(vectors).astype(np.int64)
    return cluster
