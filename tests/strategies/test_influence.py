"""`influence` and `influence_published`."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from tests.strategies.pools import make_pool, on_circle, walks, with_taken


def run(pool: Pool, strategy: str, budget: int, limits: Limits | None = None) -> Picks:
    rng = np.random.default_rng(0)
    return select(pool, strategy=strategy, budget=budget, limits=limits or Limits(), rng=rng)


def cosine(degrees: object) -> np.ndarray:
    return np.cos(np.radians(np.asarray(degrees, dtype=np.float64)))


# Sums of similarities to 0, 30, 90 and 135 degrees:
#   0: 1 + .866 + 0 - .707 = 1.159;   30: .866 + 1 + .5 - .259 = 2.107
#  90: 0 + .5 + 1 + .707 = 2.207;    135: -.707 - .259 + .707 + 1 = .741
FOUR = on_circle([0, 30, 90, 135])


def test_published_ranks_by_the_sum_of_cosine_distances_ascending() -> None:
    picks = run(make_pool(FOUR), "influence_published", 4)
    assert picks.rows.tolist() == [2, 1, 0, 3]
    np.testing.assert_allclose(4 * picks.scores, [2.207, 2.107, 1.159, 0.741], atol=1e-3)
    assert picks.reasons[0] == "mean similarity 0.55 to all frames of the pool"


def test_published_counts_the_whole_pool_labelled_frames_included() -> None:
    # Without the frame at 30 degrees, 135 (1.0) would come before 0 (.293).
    pool = with_taken(make_pool(FOUR), [1])
    assert run(pool, "influence_published", 3).rows.tolist() == [2, 0, 3]


def test_published_is_the_ranking_over_all_pairs_and_concentrates() -> None:
    pool = walks(n_videos=6, n_frames=50, seed=3)
    ascending = np.argsort(cdist(pool.vectors, pool.vectors, "cosine").sum(axis=1))
    picks = run(pool, "influence_published", 30)
    assert picks.rows.tolist() == ascending[:30].tolist()
    assert len(set(pool.video[picks.rows].tolist())) <= 2


# All nine point to 27.6 degrees together, next to which is 22. It represents the three nearest,
# itself, 21 and 20. The other six point to 31.5 degrees: 60 is 28.5 away, 2 is 29.5 away. It
# represents 60, 61 and 65, so that 0, 1 and 2 are left.
NINE = [0, 1, 2, 20, 21, 22, 60, 61, 65]


def test_each_pick_is_the_most_influential_of_what_is_not_represented_yet() -> None:
    picks = run(make_pool(on_circle(NINE)), "influence", 3)
    assert picks.rows.tolist() == [5, 6, 1]
    others = [0, 1, 2, 60, 61, 65]
    expected = [
        cosine(22 - np.array(NINE)).mean(),
        cosine(60 - np.array(others)).mean(),
        cosine([1, 0, 1]).mean(),
    ]
    np.testing.assert_allclose(picks.scores, expected, rtol=1e-5)
    assert picks.reasons == (
        "most like the 9 frames of its video that are not represented yet",
        "most like the 6 frames of its video that are not represented yet",
        "most like the 3 frames of its video that are not represented yet",
    )


def test_a_labelled_frame_represents_its_part_too() -> None:
    # One labelled and two wanted are three parts of the 8 open frames: 20 and 22 are represented.
    pool = with_taken(make_pool(on_circle(NINE)), [4])
    assert run(pool, "influence", 2).rows.tolist() == [6, 1]


def test_when_every_part_has_its_frame_it_begins_again_with_what_is_left() -> None:
    # Both videos are to give 3, but those of the second exclude each other. What is then left of
    # the first, 0, 2, 20, 21, 61 and 65, points to 27.8 degrees.
    pool = make_pool(
        on_circle([*NINE, 180, 181, 182]),
        video=[0] * 9 + [1] * 3,
        frame=[*range(9), *range(3)],
        time_s=[*range(0, 90, 10), 0, 0.1, 0.2],
    )
    picks = run(pool, "influence", 6, Limits(min_gap_s=1))
    of_first = [i for i, row in enumerate(picks.rows) if row < 9]
    assert picks.rows[of_first][:4].tolist() == [5, 6, 1, 4]
    assert picks.reasons[of_first[3]] == "most like the 6 frames of its video that are left"


@pytest.mark.parametrize("n_taken", [0, 25])
def test_its_picks_are_those_of_a_plain_implementation(n_taken: int) -> None:
    pool = walks(n_videos=4, n_frames=60, seed=8)
    taken = np.random.default_rng(0).choice(240, n_taken, replace=False)
    pool = with_taken(pool, taken)
    unit = pool.vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    apart = cdist(unit, unit)
    picks = run(pool, "influence", 20)
    for video in range(4):
        rows = picks.rows[pool.video[picks.rows] == video].tolist()
        mine = [row for row in np.flatnonzero(pool.video == video) if row not in taken]
        n_marked = int((pool.taken_video == video).sum())
        n_parts = n_marked + 5
        n_each = int(np.ceil(len(mine) / n_parts))
        left = mine
        if n_marked:
            by_distance = sorted(mine, key=lambda row: apart[row, taken].min())
            left = by_distance[len(mine) * n_marked // n_parts :]
        expected = []
        while len(expected) < len(rows) and left:
            best = max(left, key=lambda row: sum(unit[row] @ unit[other] for other in left))
            expected.append(best)
            left = sorted(left, key=lambda row: apart[row, best])[n_each:]
        assert rows[: len(expected)] == expected
        assert len(expected) >= 4


def test_every_video_has_its_say_where_the_published_ranking_sees_one_only() -> None:
    pool = walks(n_videos=6, n_frames=50, seed=3)
    counts = np.bincount(pool.video[run(pool, "influence", 30).rows], minlength=6)
    assert counts.tolist() == [5] * 6
