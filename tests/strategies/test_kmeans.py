"""`kmeans`: clusters in turn."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.registry import select
from tests.strategies.pools import make_pool, on_circle, with_taken


def kmeans(pool: Pool, budget: int, limits: Limits | None = None) -> Picks:
    return select(
        pool,
        strategy="kmeans",
        budget=budget,
        limits=limits or Limits(),
        rng=np.random.default_rng(0),
    )


# Three clusters of 3, 5 and 1 frames; their middles are rows 1, 5 and 8.
CLUSTERS = on_circle([0, 1, 2, 117, 119, 120, 121, 123, 240])


def test_the_middle_of_each_cluster_is_picked_the_largest_first() -> None:
    picks = kmeans(make_pool(CLUSTERS), 3)
    assert picks.rows.tolist() == [5, 1, 8]
    np.testing.assert_allclose(picks.scores, [5 / 9, 3 / 9, 1 / 9])
    assert picks.reasons[0] == "typical of a cluster of 5 similar frames"


def test_the_length_of_a_vector_does_not_matter() -> None:
    lengths = np.random.default_rng(0).uniform(0.1, 100, (9, 1))
    assert kmeans(make_pool(lengths * CLUSTERS), 3).rows.tolist() == [5, 1, 8]


def test_labelled_frames_form_no_cluster() -> None:
    pool = with_taken(make_pool(CLUSTERS), [3, 4, 5, 6, 7])
    assert kmeans(pool, 2).rows.tolist() == [1, 8]


def test_where_caps_close_a_cluster_the_others_go_on() -> None:
    pool = make_pool(CLUSTERS, video=[0, 0, 0, 1, 1, 1, 1, 1, 1])
    picks = kmeans(pool, 3, Limits(per_video_max=1))
    assert picks.rows.tolist() == [5, 1]


def test_a_closed_cluster_is_made_up_for_by_the_next_nearest_of_the_others() -> None:
    # The lone frame at 240 degrees falls within the gap of row 5, so rows 0 and 2 compete.
    time_s = [0, 100, 200, 1000, 1001, 1002, 1003, 1004, 1005]
    picks = kmeans(make_pool(CLUSTERS, time_s=time_s), 3, Limits(min_gap_s=50))
    assert picks.rows[:2].tolist() == [5, 1]
    assert picks.rows[2] in (0, 2)


PROGRAM = """
import numpy as np
from tests.strategies.pools import walks
from alwatch.strategies.pool import Limits
from alwatch.strategies.registry import select
pool = walks(n_videos=10, n_frames=400, seed=0, width=32)
rng = np.random.default_rng(0)
print(select(pool, strategy="kmeans", budget=60, limits=Limits(), rng=rng).rows.tolist())
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
