"""`balanced_herding`: equal say of the videos, doubt as far as it is earned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alwatch.strategies.balanced_herding import doubt_weight
from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from alwatch.strategies.selection import Selection
from tests.strategies.pools import make_pool, on_circle, walks

NAN = float("nan")


def pick(pool: Pool, budget: int, strategy: str = "balanced_herding") -> Picks:
    rng = np.random.default_rng(0)
    return select(pool, strategy=strategy, budget=budget, limits=Limits(), rng=rng)


def weight(uncertainty: list[float], trust: float) -> list[float]:
    pool = make_pool(on_circle(range(len(uncertainty))))
    scored = replace(pool, scores={"confidence": np.array(uncertainty)}, trust=trust)
    return doubt_weight(Selection(scored, Limits(), 1)).tolist()


def test_a_long_video_does_not_take_the_queue() -> None:
    # A video of 300 frames that looks two ways, at 0 and 90 degrees, and two of 10 frames at 180
    # and 270. By frames the two ways of the long video come first, by videos each has half of one.
    angles = np.repeat([0, 90, 180, 270], [150, 150, 10, 10]) + np.tile(np.arange(10) / 100, 32)
    video = np.repeat([0, 1, 2], [300, 10, 10])
    pool = make_pool(on_circle(angles), video, np.arange(320))
    assert pool.video[pick(pool, 2, "herding").rows].tolist() == [0, 0]
    assert sorted(pool.video[pick(pool, 2).rows].tolist()) == [1, 2]
    assert sorted(pool.video[pick(pool, 4).rows].tolist()) == [0, 0, 1, 2]


def test_gains_by_hand() -> None:
    # Frames at 0, 2 and 4 degrees of one video, at 180 of another: each frame of the first weighs
    # 1/6, the lone one 1/2. k = exp(-4 sin^2(a / 2)): .0183 to the far side, .99878 at 2 degrees.
    # First the lone frame: 1/2 + 1/2 * .0184 = .5092 against (2 * .99878 + 1) / 6 + .0092 = .5088
    # of the middle one. Then what the middle one adds: (1 + 2 * .99878) / 6 - 1/2 * .0184 = .4904.
    pool = make_pool(on_circle([0, 2, 4, 180]), [0, 0, 0, 1], [0, 1, 2, 0])
    picks = pick(pool, 2)
    assert picks.rows.tolist() == [3, 1]
    np.testing.assert_allclose(picks.scores, [0.5092, 0.4904], atol=1e-4)
    assert picks.reasons[1] == "labels stand for all videos alike 49.0% better with it"


def test_doubt_weighs_by_rank_as_far_as_it_is_trusted() -> None:
    # Ranks of .9, .1, .1, .5 at the middle of their quarter: 7/8, 1/4 twice, 5/8.
    assert weight([0.9, 0.1, 0.1, 0.5], 0.5) == pytest.approx([0.9375, 0.625, 0.625, 0.8125])


def test_a_frame_without_a_score_weighs_least() -> None:
    assert weight([0.9, NAN, 0.1], 0.4) == pytest.approx([0.6 + 0.3, 0.6, 0.6 + 0.1])
    assert weight([NAN, NAN], 0.4) == pytest.approx([0.6, 0.6])


def test_trust_counts_up_to_seven_tenths() -> None:
    assert weight([0.9, 0.1], 1.0) == weight([0.9, 0.1], 0.7) == pytest.approx([0.825, 0.475])


def test_doubt_that_is_not_trusted_changes_nothing() -> None:
    assert weight([0.9, NAN, 0.1], 0.0) == [1, 1, 1]


def test_without_scores_trust_changes_nothing() -> None:
    pool = walks(n_videos=4, n_frames=50, seed=0)
    assert pick(replace(pool, trust=0.6), 12).rows.tolist() == pick(pool, 12).rows.tolist()


def test_trusted_doubt_draws_the_queue() -> None:
    # Equally large crowds in one video; the model is unsure of the later one.
    pool = make_pool(on_circle([0, 1, 2, 180, 181, 182]))
    scores = {"confidence": np.array([0.1, 0.1, 0.1, 0.9, 0.9, 0.9])}
    assert pick(replace(pool, scores=scores), 2).rows.tolist() == [1, 4]
    assert pick(replace(pool, scores=scores, trust=0.5), 2).rows.tolist() == [4, 1]
