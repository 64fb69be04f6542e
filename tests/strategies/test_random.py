"""`random`: every frame is equally likely."""

from __future__ import annotations

from collections import Counter

import numpy as np

from alwatch.strategies.pool import Limits
from alwatch.strategies.registry import select
from tests.strategies.pools import make_pool, on_circle


def test_every_frame_is_drawn_equally_often_whatever_its_video() -> None:
    pool = make_pool(on_circle(range(10)), video=[0] * 9 + [1])
    counts: Counter[int] = Counter()
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        picks = select(pool, strategy="random", budget=2, limits=Limits(), rng=rng)
        counts.update(picks.rows.tolist())
    assert len(counts) == 10
    assert min(counts.values()) > 140  # 200 each are expected, with a spread of 13
    assert picks.reasons == ("drawn at random",) * 2
    assert picks.scores.tolist() == [0, 0]
