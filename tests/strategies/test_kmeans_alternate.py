"""`kmeans_alternate`: nine clusters in turn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alwatch.strategies import kmeans_alternate
from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from tests.strategies.pools import make_pool, on_circle

# Nine clusters of two frames, 40 degrees apart. The eighth frame's cluster has the two highest
# scores; the first frame's has none that is known.
DEGREES = np.repeat(40 * np.arange(9), 2) + np.tile([0, 1], 9)
SCORES = [np.nan, np.nan, 0.2, 0.3, 0.5, 0.4, 0.9, 1.0, 0.6, 0.1, 0.7, 0.0, 0.05, 0.8]
SCORES += [0.55, 0.0, 0.65, 0.0]


def alternate(pool: Pool, budget: int, seed: int = 0) -> Picks:
    rng = np.random.default_rng(seed)
    return select(pool, strategy="kmeans_alternate", budget=budget, limits=Limits(), rng=rng)


def eighteen() -> Pool:
    return replace(make_pool(on_circle(DEGREES)), scores={"mpe": np.array(SCORES)})


def test_each_cluster_gives_its_highest_score_before_any_gives_its_second() -> None:
    picks = alternate(eighteen(), 12)
    assert picks.rows[:8].tolist() == [7, 13, 10, 16, 8, 14, 4, 3]
    assert picks.rows[8] in (0, 1)
    assert picks.rows[9:].tolist() == [6, 12, 11]
    assert picks.scores[:2].tolist() == [1.0, 0.8]
    assert (
        picks.reasons[0] == "peak entropy 1.00, among the highest of a cluster of 2 similar frames"
    )
    assert picks.reasons[8] == "not scored yet, drawn at random"


def test_the_clusters_do_not_depend_on_the_seed() -> None:
    rng = np.random.default_rng(0)
    pool = make_pool(rng.standard_normal((300, 4)))
    pool = replace(pool, scores={"mpe": rng.random(300)})
    assert len({tuple(alternate(pool, 40, seed).rows.tolist()) for seed in range(3)}) == 1


def test_where_there_are_many_frames_the_centres_of_a_sample_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = alternate(eighteen(), 8).rows.tolist()
    monkeypatch.setattr(kmeans_alternate, "_FITTED", 9)
    monkeypatch.setattr(kmeans_alternate, "_CHUNK", 5)
    assert alternate(eighteen(), 8).rows.tolist() == expected
