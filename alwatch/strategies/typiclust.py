"""`typiclust`: the most typical frame of each cluster in which nothing is labelled yet.

TypiClust (Hacohen et al. 2022, "Active Learning on a Budget: Opposite Strategies Suit High and
Low Budgets", algorithm 1) as published: min(L + b, 500) k-means clusters of all frames, L
labelled and b wanted; clusters of at most 5 frames are skipped; of the others those with fewest
labelled frames take their turn first, the larger first among equals; in each the frame of highest
typicality, that is 1 / mean distance to its 20 nearest neighbours among the cluster's unlabelled
frames, or to half as many as it has. What differs: embeddings of the pool instead of a
self-supervised network of its own; labelled, queued and picked frames all count as labelled;
distances are exact in clusters of up to 50,000 frames and, beyond, to a stratified sample; and
small clusters have their turn once all others are used up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from alwatch.scores.clusters import cluster
from alwatch.scores.neighbours import mean_neighbour_distance
from alwatch.strategies.candidates import vectors_of
from alwatch.strategies.selection import Selection
from alwatch.strategies.turns import Candidate, in_turns, take_from

_CLUSTERS_MOST = 500
_SKIPPED_SIZE = 5
_NEIGHBOURS = 20


def fill(selection: Selection, rng: np.random.Generator) -> None:
    """Take from the clusters in turn. The score is the typicality."""
    if not selection.wants_more:
        return
    rows = selection.open_rows()
    number, n_known = _clusters(selection, rows, rng)
    size = np.bincount(number)
    n_labelled = np.bincount(number[:n_known], minlength=len(size))
    order = np.lexsort((-size, n_labelled))
    with threadpool_limits(limits=1):
        for turn in (order[size[order] > _SKIPPED_SIZE], order[size[order] <= _SKIPPED_SIZE]):
            streams = [
                _typical_first(
                    selection,
                    rows[number[n_known:] == i],
                    _reason(int(size[i]), int(n_labelled[i])),
                    rng,
                )
                for i in turn
            ]
            take_from(selection, in_turns(selection, streams))


def _clusters(
    selection: Selection, rows: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], int]:
    """Cluster number of each known frame and then of each of these rows; how many are known."""
    known = selection.known_vectors()
    n = len(known) + len(rows)

    def vectors(part: Any) -> NDArray[np.float32]:
        wanted = np.arange(n)[part]
        of_pool = wanted[wanted >= len(known)] - len(known)
        return np.concatenate(
            [known[wanted[wanted < len(known)]], selection.vectors(rows[of_pool])]
        )  # parts are increasing, so known frames come first

    k = min(len(known) + selection.remaining, _CLUSTERS_MOST, n)
    return cluster(vectors, n, k, rng)[0], len(known)


def _typical_first(
    selection: Selection, members: NDArray[np.int64], reason: str, rng: np.random.Generator
) -> Iterator[Candidate]:
    """The most typical open member of a cluster, measured anew after every pick."""
    while len(members := members[selection.open_mask[members]]):
        distance = mean_neighbour_distance(
            vectors_of(selection, members),
            len(members),
            min(_NEIGHBOURS, len(members) // 2),
            rng,
        )
        for i in np.argsort(distance, kind="stable"):
            if selection.is_open(int(members[i])):
                yield int(members[i]), 1 / (float(distance[i]) + 1e-5), reason
                break


def _reason(size: int, n_labelled: int) -> str:
    labels = {0: "no label yet", 1: "1 label"}.get(n_labelled, f"{n_labelled} labels")
    return f"typical of a cluster of {size} similar frames that has {labels}"
