"""`minmax`: greedy k-centre."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from tests.strategies.pools import Referee, make_pool, on_circle, walks, with_taken


def minmax(pool: Pool, budget: int, limits: Limits | None = None) -> Picks:
    return select(
        pool,
        strategy="minmax",
        budget=budget,
        limits=limits or Limits(),
        rng=np.random.default_rng(0),
    )


def chord(degrees: float) -> float:
    return float(2 * np.sin(np.radians(degrees) / 2))


def test_it_starts_from_the_labelled_frame_and_goes_to_the_farthest() -> None:
    pool = with_taken(make_pool(on_circle([0, 10, 25, 90, 180])), [0])
    picks = minmax(pool, 4)
    assert picks.rows.tolist() == [4, 3, 2, 1]
    np.testing.assert_allclose(picks.scores, [2, chord(90), chord(25), chord(10)], rtol=1e-5)
    assert picks.reasons[:2] == (
        "2.00 from the nearest labelled or queued frame",
        "1.41 from the nearest labelled or queued frame",
    )


def test_with_nothing_labelled_it_starts_from_the_frame_nearest_to_the_mean() -> None:
    # The mean of these directions points to 20 degrees, 0.79 long.
    picks = minmax(make_pool(on_circle([-40, 0, 18, 40, 80])), 2)
    assert picks.rows.tolist() == [2, 4]
    assert picks.scores[1] == pytest.approx(chord(62), rel=1e-5)
    assert picks.reasons[0].endswith("from the mean of all frames; none is labelled yet")


def test_it_starts_from_the_audit_sample_where_there_is_one() -> None:
    pool = make_pool(on_circle([0, 10, 180]))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        picks = select(pool, strategy="minmax", budget=2, limits=Limits(audit_share=0.5), rng=rng)
        assert picks.rows.tolist() in ([0, 2], [1, 2], [2, 0])


def test_ties_go_to_the_earliest_frame() -> None:
    pool = with_taken(make_pool(np.array([[1.0, 0], [0, -1], [0, 1]])), [0])
    assert minmax(pool, 1).rows.tolist() == [1]


@pytest.mark.parametrize(
    "limits",
    [
        Limits(),
        Limits(per_video_max=7, min_gap_s=1.0),
        Limits(per_video_max=9, min_gap_s=0.3, near_duplicate_quantile=0.6),
    ],
)
def test_its_picks_are_those_of_the_plain_greedy_algorithm_under_the_limits(
    limits: Limits,
) -> None:
    pool = with_taken(walks(n_videos=8, n_frames=400, seed=7), [17, 2000])
    referee = Referee(pool, limits)
    is_open = np.ones(3200, bool)

    def close(by: int) -> None:
        for row in np.flatnonzero(is_open & (pool.video == referee.video[by])):
            is_open[row] = not referee.excludes(int(row), by, slack=0.0)

    distance = np.full(3200, np.inf)
    for taken in referee.taken:
        close(taken)
        distance = np.minimum(
            distance, np.linalg.norm(referee.unit[:3200] - referee.unit[taken], axis=1)
        )
    expected: list[int] = []
    while len(expected) < 40 and is_open.any():
        row = int(np.where(is_open, distance, -1).argmax())
        expected.append(row)
        close(row)
        of_video = pool.video == pool.video[row]
        if (pool.video[expected] == pool.video[row]).sum() == limits.per_video_max:
            is_open[of_video] = False
        distance = np.minimum(
            distance, np.linalg.norm(referee.unit[:3200] - referee.unit[row], axis=1)
        )
    assert minmax(pool, 40, limits).rows.tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 8), st.integers(1, 3), st.integers(0, 10_000))
def test_its_cover_radius_is_at_most_twice_the_best_possible(n: int, k: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((n, 2))
    pool = make_pool(vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    apart = np.linalg.norm(unit[:, None] - unit[None], axis=2)

    def radius(centres: list[int]) -> float:
        return float(apart[:, centres].min(axis=1).max())

    best = min(radius(list(centres)) for centres in combinations(range(n), k))
    assert radius(minmax(pool, k).rows.tolist()) <= 2 * best + 1e-6


def test_float16_vectors_are_taken_as_they_are() -> None:
    pool = walks(n_videos=5, n_frames=100, seed=3)
    halves = make_pool(pool.vectors, pool.video, pool.frame, pool.time_s, dtype=np.float16)
    singles = make_pool(halves.vectors, pool.video, pool.frame, pool.time_s)
    assert minmax(halves, 30).rows.tolist() == minmax(singles, 30).rows.tolist()
