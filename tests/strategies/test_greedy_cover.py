"""What the herding strategies share: samples of large pools, and the scale of the kernel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alwatch.strategies.greedy_cover import bandwidth, equal_say, take_covering
from alwatch.strategies.pool import Limits, Picks, Pool
from alwatch.strategies.selection import Selection
from tests.strategies.pools import Referee, grouped, make_pool, on_circle, walks, with_taken

NO_LIMITS = Limits()


def cover(
    pool: Pool,
    budget: int,
    rows_max: int,
    *,
    limits: Limits = NO_LIMITS,
    weights: object = None,
    seed: int = 0,
) -> Picks:
    selection = Selection(pool, limits, budget)
    take_covering(
        selection,
        np.random.default_rng(seed),
        weights=np.ones(len(pool.video)) if weights is None else np.asarray(weights, float),
        delta=1.0,
        stand_for="all",
        rows_max=rows_max,
    )
    return selection.picks()


def mean_similarity(pool: Pool, rows: np.ndarray) -> float:
    unit = pool.vectors / np.linalg.norm(pool.vectors, axis=1, keepdims=True)
    apart = np.linalg.norm(unit[:, None] - unit[rows][None], axis=2).min(axis=1)
    return float(np.exp(-(apart**2)).mean())


def test_samples_of_a_tenth_of_the_pool_cover_it_nearly_as_well_as_the_whole() -> None:
    pool = walks(n_videos=10, n_frames=300, seed=1)
    exact = mean_similarity(pool, cover(pool, 12, 3000).rows)
    at_random = np.random.default_rng(0).choice(3000, (20, 12))
    typical = float(np.mean([mean_similarity(pool, rows) for rows in at_random]))
    for seed in range(5):
        sampled = mean_similarity(pool, cover(pool, 12, 300, seed=seed).rows)
        assert sampled > exact - 0.15 * (exact - typical)


def test_a_sample_depends_on_the_seed_alone() -> None:
    pool = walks(n_videos=4, n_frames=100, seed=1)
    first, again, other = (cover(pool, 5, 50, seed=seed).rows.tolist() for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("rows_max", [1, 7, 60])
def test_candidates_are_drawn_anew_until_the_limits_leave_nothing_open(rows_max: int) -> None:
    pool = with_taken(walks(n_videos=3, n_frames=60, seed=2), [5, 100])
    limits = Limits(per_video_max=11, min_gap_s=0.4, near_duplicate_quantile=0.3)
    picks = cover(pool, 40, rows_max, limits=limits)
    Referee(pool, limits).check(picks, 40)
    assert len(picks.rows) > 20


def test_frames_without_weight_are_candidates_too_once_the_others_are_taken() -> None:
    pool = walks(n_videos=2, n_frames=10, seed=0)
    picks = cover(pool, 20, 4, weights=np.arange(20) < 5)
    assert sorted(picks.rows.tolist()) == list(range(20))


def test_weights_of_zero_all_over_count_as_equal() -> None:
    pool = walks(n_videos=2, n_frames=30, seed=0)
    nothing = cover(pool, 5, 100, weights=np.zeros(60))
    assert nothing.rows.tolist() == cover(pool, 5, 100).rows.tolist()


def test_frames_that_are_closed_need_not_be_stood_for() -> None:
    # Three frames with an animal near 0 degrees, a lone one at 60, 70 of an empty scene at 90.
    pool = make_pool(on_circle([0, 1, 2, 60] + [90 + i / 10 for i in range(70)]))
    pool = replace(pool, scores={"presence": np.repeat([1.0, 0.0], [4, 70])})
    assert cover(pool, 1, 100, limits=Limits(presence_min=0.5)).rows[0] in (0, 1, 2)
    assert cover(pool, 1, 100).rows[0] > 3


def delta_of(pool: Pool) -> float:
    return bandwidth(Selection(pool, NO_LIMITS, 1), np.random.default_rng(0))


def chord(degrees: float) -> float:
    return float(2 * np.sin(np.radians(degrees) / 2))


# Two videos: 0 and 10 degrees, 40 and 100. Between videos: 40, 100, 30, 90 degrees.
TWO_VIDEOS = make_pool(on_circle([0, 10, 40, 100]), [0, 0, 1, 1], [0, 1, 0, 1])


def test_without_labels_delta_is_the_median_distance_between_videos() -> None:
    assert delta_of(TWO_VIDEOS) == pytest.approx((chord(40) + chord(90)) / 2, rel=1e-3)


def labelled_at(*degrees: float) -> Pool:
    at = on_circle(degrees).astype(np.float32)
    number = np.arange(len(at))
    return replace(
        TWO_VIDEOS,
        taken_vectors=at,
        taken_video=number + 7,
        taken_frame=number,
        taken_time_s=number.astype(float),
    )


def test_delta_is_the_median_distance_of_a_labelled_frame_to_the_nearest_other() -> None:
    # Nearest others at 60, 60 and 50, 50 degrees: the pairs are 170 apart.
    assert delta_of(labelled_at(-90, -150, -280, 30)) == pytest.approx(
        (chord(50) + chord(60)) / 2, rel=1e-3
    )


def test_near_duplicates_among_the_labels_do_not_make_delta_collapse() -> None:
    # Distances between videos 30, 40, 90, 100 degrees; their 5 % quantile lies .15 of the way from
    # the first to the second.
    floor = chord(30) + 0.15 * (chord(40) - chord(30))
    assert delta_of(labelled_at(200, 200.1, 300, 300.1)) == pytest.approx(floor, rel=1e-3)


def test_a_pool_of_equal_frames_has_a_delta_that_can_be_resolved() -> None:
    same = make_pool(np.ones((5, 3)), np.arange(5))
    assert delta_of(same) == 0.01
    assert delta_of(make_pool([[1.0, 0]])) == 1.0


def test_a_long_video_does_not_set_delta() -> None:
    # 5000 frames of one video at 0 degrees, 700 of four others each. Of the ten pairs of videos six
    # are 10 to 30 degrees apart, the four with the long one 100 to 130.
    vectors = on_circle(np.repeat([0, 100, 110, 120, 130], [5000, 700, 700, 700, 700]))
    pool = make_pool(vectors, np.repeat(range(5), [5000, 700, 700, 700, 700]), range(7800))
    assert chord(19) < delta_of(pool) < chord(31)


def test_the_open_frames_of_every_video_have_an_equal_say() -> None:
    pool = with_taken(make_pool(on_circle(range(6)), [0, 0, 0, 0, 1, 2], range(6)), [1, 5])
    say = equal_say(Selection(pool, NO_LIMITS, 1))
    np.testing.assert_allclose(say, [1 / 3, 0, 1 / 3, 1 / 3, 1, 0])


def test_videos_of_one_individual_share_its_say() -> None:
    pool = make_pool(on_circle(range(6)), [0, 0, 1, 1, 1, 2], range(6))
    say = equal_say(Selection(grouped(pool, [8, 8, 4], [0, 0, 0]), NO_LIMITS, 1))
    np.testing.assert_allclose(say, [1 / 4, 1 / 4, 1 / 6, 1 / 6, 1 / 6, 1])
    by_session = replace(NO_LIMITS, share_by="session")
    say = equal_say(Selection(grouped(pool, [8, 8, 4], [0, 0, 0]), by_session, 1))
    np.testing.assert_allclose(say, [1 / 6, 1 / 6, 1 / 9, 1 / 9, 1 / 9, 1 / 3])
