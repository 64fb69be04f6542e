"""`influence_published` and `influence`: the frames that resemble most others.

The influence of the DeepLabCut AI-residency study on Horse-10 after Liu & Ferrari (2017): the sum
of cosine distances to all frames of the pool, the lowest first. It failed there, as the crowd's
middle is one place: picks resemble each other and come from few animals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from alwatch.scores.distances import nearest_distance
from alwatch.scores.influence import similarity_sums
from alwatch.strategies.selection import Selection
from alwatch.strategies.turns import Candidate, dealt, ranked, take_from, take_in_turns

_CHUNK = 4096


def fill_published(selection: Selection, rng: np.random.Generator) -> None:
    """Rank once by the sum of cosine distances to the whole pool, ascending, as the study did.

    The score is the same turned round, the mean cosine similarity: the highest first. Linear in
    the pool.
    """
    rows = selection.open_rows()
    n = len(selection.open_mask)
    with threadpool_limits(limits=1):
        similarity = similarity_sums(selection.vectors, n) / max(n, 1)
    take_from(
        selection,
        ranked(rows, similarity[rows], "mean similarity {:.2f} to all frames of the pool", rng),
    )


def fill(selection: Selection, rng: np.random.Generator) -> None:
    """Take turns over videos, each giving the frame most like its frames not yet represented.

    The score is the mean cosine similarity to those frames. What differs from the study: videos
    get equal shares, and each frame represents an equal part of its video. Where a video has
    m labelled or queued frames and gets b more, the m/(m + b) of its open frames that are
    nearest to any labelled or queued frame are represented already, and each pick represents
    the 1/(m + b) nearest to it of those that are not. When all are, it begins again.

    Exact. A turn reads those frames of its video three times, in chunks, so that a round of turns
    is linear in the pool.
    """
    known = selection.known_vectors()

    def stream(video: int, share: int) -> Iterator[Candidate]:
        return _central(selection, video, max(share, 1), known)

    with threadpool_limits(limits=1):
        take_in_turns(selection, dealt(selection, rng), stream)


def _central(
    selection: Selection, video: int, share: int, known: NDArray[np.float32]
) -> Iterator[Candidate]:
    within = selection.videos[video]
    open_rows = selection.open_rows(within)
    n_marked = int(selection.n_marked[video])
    n_parts = n_marked + share
    n_each = -(-len(open_rows) // n_parts)
    n_represented = len(open_rows) * n_marked // n_parts
    left, kind = _farthest(selection, open_rows, known, n_represented), "not represented yet"
    while True:
        left = left[selection.open_mask[left]]
        if len(left) == 0:
            left, kind = selection.open_rows(within), "left"
            if len(left) == 0:
                return
        similarity = similarity_sums(_reader(selection, left), len(left)) / len(left)
        best = int(similarity.argmax())
        row = int(left[best])
        if not selection.is_open(row):
            continue
        yield row, float(similarity[best]), _reason(len(left), kind)
        left = _farthest(selection, left, selection.vectors(left[best : best + 1]), n_each)


def _farthest(
    selection: Selection, rows: NDArray[np.int64], known: NDArray[np.float32], n_near: int
) -> NDArray[np.int64]:
    """The rows without those `n_near` that are nearest to a known frame."""
    if n_near == 0:
        return rows
    parts = [rows[low : low + _CHUNK] for low in range(0, len(rows), _CHUNK)]
    distance = np.concatenate([nearest_distance(selection.vectors(part), known) for part in parts])
    return rows[np.sort(np.argsort(distance, kind="stable")[n_near:])]


def _reader(
    selection: Selection, rows: NDArray[np.int64]
) -> Callable[[slice], NDArray[np.float32]]:
    def read(part: slice) -> NDArray[np.float32]:
        return selection.vectors(rows[part])

    return read


def _reason(n: int, kind: str) -> str:
    return f"most like the {n} frames of its video that are {kind}"
