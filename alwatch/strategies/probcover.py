"""`probcover`: frames whose neighbourhoods, balls of one radius, cover most of the pool.

ProbCover (Yehuda et al. 2022, "Active Learning Through a Covering Lens", algorithm 1): again and
again the frame with most uncovered frames closer than delta, those near a labelled one being
covered from the start. Delta by the paper's own rule, which is feasible here: the largest at
which 95 % of the balls are pure, that is, hold frames of one k-means pseudo-label only. The
result is known to hang on delta (Bae et al. 2024). What differs: a pose has no classes, so there
are as many pseudo-labels as frames labelled and wanted, at most 500; purity is measured on 5,000
balls, each against all frames; and once everything is covered the farthest frames follow.

Up to 50,000 open frames all of them are candidates, and coverage is counted on all. Beyond, both
are stratified samples. 10,000 frames to be covered: the share that a ball of a million-frame pool
holds is then known to within 0.03 for all of its balls at once (Hoeffding, 99 %). 50,000
candidates: any neighbourhood that holds 1/5000 of the frames has one with a probability of
99.99 %, and a ball about it holds all that one smaller by the neighbourhood's radius held about
its middle. What is lost are balls about lone frames, of which coverage gains little.
"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from alwatch.scores.ball_cover import BallCover, pure_radius
from alwatch.scores.clusters import cluster
from alwatch.scores.neighbours import EXACT_UP_TO, SAMPLE, stratified_rows
from alwatch.strategies.candidates import farthest, vectors_of
from alwatch.strategies.selection import Selection
from alwatch.strategies.turns import take_from

_LABELS_MOST = 500
_BALLS = 5000


def fill(selection: Selection, rng: np.random.Generator, *, rows_max: int = EXACT_UP_TO) -> None:
    """Take the frame that covers most. The score is the share of frames that it newly covers.

    Where more than `rows_max` frames are open, so many of them are candidates.
    """
    if not selection.wants_more:
        return
    rows = selection.open_rows()
    n = len(rows)
    known = selection.known_vectors()
    vectors = vectors_of(selection, rows)
    with threadpool_limits(limits=1):
        k = min(len(known) + selection.remaining, _LABELS_MOST, n)
        label = cluster(vectors, n, k, rng)[0]
        delta = pure_radius(vectors, label, stratified_rows(n, _BALLS, rng))
        targets = vectors(stratified_rows(n, n if n <= rows_max else SAMPLE, rng))
        candidates = rows[stratified_rows(n, rows_max, rng)]
        cover = BallCover(vectors_of(selection, candidates), len(candidates), targets, known, delta)
        while selection.wants_more and cover.n_bare > 0:
            found = cover.best(selection.open_mask[candidates])
            if found is None or found[1] == 0:
                break
            row, share = int(candidates[found[0]]), found[1] / len(targets)
            if selection.is_open(row):
                reason = f"like {share:.1%} of the frames, none of which is like a labelled one"
                selection.take(row, share, reason)
                cover.add(selection.vectors(np.array([row]))[0])
        take_from(selection, farthest(selection, rows))
