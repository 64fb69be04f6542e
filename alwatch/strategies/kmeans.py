"""`kmeans`: as many clusters as frames wanted, the frame nearest to each centre.

The idea of DeepLabCut's k-means extraction, over all videos at once and on embeddings.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from alwatch.strategies.selection import Selection


def fill(selection: Selection, rng: np.random.Generator) -> None:
    """Take from the clusters in turn, the largest first, nearest to the centre first.

    The score is the cluster's share of the open frames. One thread, so that the number of cores
    does not change the clusters. Memory is one float32 copy of the open frames' vectors.
    """
    rows = selection.open_rows()
    k = min(selection.remaining, len(rows))
    if k == 0:
        return
    cluster, to_centre = _cluster(selection.vectors(rows), k, rng)
    sizes = np.bincount(cluster, minlength=k)
    by_distance = np.lexsort((to_centre, cluster))
    members = np.split(rows[by_distance], np.cumsum(sizes)[:-1])
    waiting = [(int(i), iter(members[i].tolist())) for i in np.argsort(-sizes, kind="stable")]
    while waiting and selection.wants_more:
        still_waiting = []
        for i, candidates in waiting:
            row = next((row for row in candidates if selection.is_open(row)), None)
            if row is None or not selection.wants_more:
                continue
            selection.take(
                row, sizes[i] / len(rows), f"typical of a cluster of {sizes[i]} similar frames"
            )
            still_waiting.append((i, candidates))
        waiting = still_waiting


def _cluster(
    vectors: NDArray[np.float32], k: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Cluster number of each row, and its distance to the cluster's centre."""
    model = MiniBatchKMeans(n_clusters=k, n_init=1, random_state=int(rng.integers(2**31)))
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters
        cluster = model.fit_predict(vectors).astype(np.int64)
    distance = np.empty(len(vectors), dtype=np.float32)
    for i, centre in enumerate(model.cluster_centers_):
        mine = cluster == i
        distance[mine] = np.linalg.norm(vectors[mine] - centre, axis=1)
    return cluster, distance
