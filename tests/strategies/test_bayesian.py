"""`bayesian`: k-centre among the most disputed frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from tests.strategies.pools import Referee, make_pool, on_circle, walks, with_taken

NO_LIMITS = Limits()


def bayesian(pool: Pool, variance: object, budget: int) -> Picks:
    scored = replace(pool, scores={"ensemble": np.asarray(variance, np.float64)})
    rng = np.random.default_rng(0)
    return select(scored, strategy="bayesian", budget=budget, limits=NO_LIMITS, rng=rng)


# The labelled frame, 25 disputed ones at 1 to 25 degrees, two that nobody disputes far off.
FAN = with_taken(make_pool(on_circle([0, *range(1, 26), 120, 180])), [0])
DISPUTED = [0.0] + [0.5 + i / 100 for i in range(25)] + [0.1, 0.2]


def test_the_farthest_of_the_25_most_disputed_is_picked() -> None:
    picks = bayesian(FAN, DISPUTED, 1)
    assert picks.rows.tolist() == [25]
    assert picks.reasons == (
        "among the frames on which snapshots disagree most (0.74), "
        "0.43 from the nearest labelled or queued frame",
    )


def test_a_queue_of_two_has_50_candidates_here_all_of_them() -> None:
    assert bayesian(FAN, DISPUTED, 2).rows.tolist() == [27, 26]


def test_frames_that_are_not_scored_are_candidates_last() -> None:
    unknown = [0.0] + [0.5] * 25 + [np.nan, 0.1]
    picks = bayesian(FAN, unknown, 26)
    assert picks.rows[0] == 27
    assert picks.reasons[list(picks.rows).index(26)].startswith("not scored yet, ")
    assert 26 not in bayesian(FAN, unknown, 1).rows


def test_its_picks_are_those_of_plain_greedy_k_centre_among_the_candidates() -> None:
    pool = with_taken(walks(n_videos=5, n_frames=100, seed=3), [7, 300])
    variance = np.random.default_rng(1).random(500)
    unit = Referee(pool, NO_LIMITS).unit
    left = np.ones(500, bool)
    left[[7, 300]] = False
    top = np.argsort(np.where(left, -variance, np.inf))[: 25 * 8]
    distance = np.linalg.norm(unit[top, None] - unit[None, [7, 300]], axis=2).min(axis=1)
    expected = []
    for _ in range(8):
        best = np.lexsort((top, -distance))[0]
        expected.append(int(top[best]))
        distance = np.minimum(distance, np.linalg.norm(unit[top] - unit[top[best]], axis=1))
    assert bayesian(pool, variance, 8).rows.tolist() == expected
