"""Plain rankings by one score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alwatch.strategies.pool import Limits, Pool
from alwatch.strategies.registry import select
from tests.strategies.pools import make_pool, on_circle, walks, with_taken

NAMES = ["mpe", "mpe_softmax", "confidence", "novelty", "learned_loss", "ensemble"]
every_ranking = pytest.mark.parametrize("name", NAMES)


def pool_with(name: str, scores: list[float]) -> Pool:
    """The scores are those of `name`; by every other score the order is the reverse."""
    pool = make_pool(on_circle(10 * np.arange(len(scores))))
    values = np.array(scores)
    return replace(pool, scores={each: values if each == name else -values for each in NAMES})


def ranking(pool: Pool, name: str, budget: int, limits: Limits | None = None) -> object:
    rng = np.random.default_rng(0)
    return select(pool, strategy=name, budget=budget, limits=limits or Limits(), rng=rng)


@every_ranking
def test_frames_come_in_the_order_of_this_score_and_unscored_ones_last(name: str) -> None:
    picks = ranking(pool_with(name, [0.1, np.nan, 0.9, 0.4]), name, 4)
    assert picks.rows.tolist() == [2, 3, 0, 1]
    assert picks.scores.tolist() == [0.9, 0.4, 0.1, 0]
    assert "0.9" in picks.reasons[0]
    assert picks.reasons[3] == "not scored yet, drawn at random"


def test_a_reason_says_what_the_score_means() -> None:
    picks = ranking(pool_with("confidence", [0.1, 0.834]), "confidence", 1)
    assert picks.reasons == ("the model is unsure (confidence lacks 0.83 to 1)",)


def test_a_taken_frame_is_passed_over_and_the_gap_kept() -> None:
    pool = with_taken(pool_with("mpe", [0.9, 0.8, 0.7, 0.6]), [0])
    assert ranking(pool, "mpe", 2, Limits(min_gap_s=2)).rows.tolist() == [2]


@every_ranking
def test_it_is_the_plain_ranking_even_where_all_of_it_is_one_video(name: str) -> None:
    pool = walks(n_videos=5, n_frames=40, seed=0)
    scores = np.random.default_rng(1).random(200) + (pool.video == 3)
    picks = ranking(replace(pool, scores={name: scores}), name, 30)
    assert picks.rows.tolist() == np.argsort(-scores)[:30].tolist()
    assert set(pool.video[picks.rows].tolist()) == {3}
