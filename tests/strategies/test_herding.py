"""`herding`: MaxHerding on a selection."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from alwatch.strategies.selection import Selection
from tests.strategies.pools import Referee, make_pool, on_circle, walks, with_taken


def herding(pool: Pool, budget: int, limits: Limits | None = None) -> Picks:
    return select(
        pool,
        strategy="herding",
        budget=budget,
        limits=limits or Limits(),
        rng=np.random.default_rng(0),
    )


def alike(degrees: float) -> float:
    """k of two unit vectors at this angle: exp(-chord^2), chord = 2 sin(angle / 2)."""
    return float(np.exp(-4 * np.sin(np.radians(degrees) / 2) ** 2))


def test_the_middle_of_the_crowd_comes_first_then_what_it_covers_least() -> None:
    # k at 10, 15, 20, 25 and 35 degrees: .9701, .9341, .8864, .8291, .6965. Sums over the frames
    # at 0, 10, 20 and 35: 0: 1 + .9701 + .8864 + .6965 = 3.5530; 10: .9701 + 1 + .9701 + .8291 =
    # 3.7693; 20: .8864 + .9701 + 1 + .9341 = 3.7906; 35: .6965 + .8291 + .9341 + 1 = 3.4597. The
    # two on the opposite side add some .02 each, so 20 is first. Then 180 and 190 add the same, to
    # each other's frame and their own: 1 + .9701 - k(160) - k(170) = 1.9305, a tie.
    pool = make_pool(on_circle([0, 10, 20, 35, 180, 190]))
    picks = herding(pool, 2)
    assert picks.rows.tolist() == [2, 4]
    first = sum(alike(d) for d in (20, 10, 0, 15, 160, 170)) / 6
    second = (1 - alike(160) + alike(10) - alike(170)) / 6
    np.testing.assert_allclose(picks.scores, [first, second], rtol=1e-4)
    assert picks.reasons[1] == "labels stand for all frames 32.2% better with it"


def test_it_starts_from_the_labelled_frames() -> None:
    # Frame 20 degrees is labelled: the opposite side is what is left.
    pool = with_taken(make_pool(on_circle([0, 10, 20, 35, 180, 190])), [2])
    assert herding(pool, 1).rows.tolist() == [4]


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
    pool = with_taken(walks(n_videos=6, n_frames=200, seed=7), [17, 700])
    referee, n = Referee(pool, limits), 1200
    is_open = np.ones(n, bool)

    def close(by: int) -> None:
        for row in np.flatnonzero(is_open & (pool.video == referee.video[by])):
            is_open[row] = not referee.excludes(int(row), by, slack=0.0)

    def similarity(to: int) -> np.ndarray:
        return np.exp(-(np.linalg.norm(referee.unit[:n] - referee.unit[to], axis=1) ** 2))

    similar = np.stack([similarity(row) for row in range(n)], axis=1)
    cover = np.zeros(n)
    stood_for = Selection(pool, limits, 30).open_mask.copy()
    for taken in referee.taken:
        cover = np.maximum(cover, similarity(taken))
        close(taken)
    expected: list[int] = []
    while len(expected) < 30 and is_open.any():
        gains = np.maximum(similar - cover[:, None], 0)[stood_for].sum(axis=0)
        row = int(np.where(is_open, gains, -1).argmax())
        expected.append(row)
        close(row)
        if (pool.video[expected] == pool.video[row]).sum() == limits.per_video_max:
            is_open[pool.video == pool.video[row]] = False
        cover = np.maximum(cover, similar[:, row])
    assert herding(pool, 30, limits).rows.tolist() == expected


def test_float16_vectors_are_taken_as_they_are() -> None:
    pool = walks(n_videos=5, n_frames=100, seed=3)
    halves = make_pool(pool.vectors, pool.video, pool.frame, pool.time_s, dtype=np.float16)
    singles = make_pool(halves.vectors, pool.video, pool.frame, pool.time_s)
    assert herding(halves, 30).rows.tolist() == herding(singles, 30).rows.tolist()


PROGRAM = """
import numpy as np
from tests.strategies.pools import walks
from alwatch.strategies.pool import Limits
from alwatch.strategies.registry import select
pool = walks(n_videos=10, n_frames=300, seed=0, width=32)
rng = np.random.default_rng(0)
picks = select(pool, strategy="herding", budget=60, limits=Limits(), rng=rng)
print(picks.rows.tolist(), picks.scores.tolist())
"""


def test_the_number_of_threads_does_not_change_the_queue() -> None:
    queues = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for n in ("1", "2")
    }
    assert len(queues) == 1
