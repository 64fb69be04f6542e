"""Coverage of a pool by the labelled set."""

from __future__ import annotations

import numpy as np
import pytest

from alwatch.scores.coverage import coverage, typical_radius


def test_coverage_counts_frames_up_to_and_at_the_radius() -> None:
    pool = np.array([[0.0], [1.0], [2.0], [5.0]])
    assert coverage(pool, np.array([[0.0]]), 2.0) == 0.75


def test_nothing_labelled_covers_nothing() -> None:
    assert coverage(np.zeros((3, 2)), np.empty((0, 2)), 1.0) == 0.0


def test_an_empty_pool_is_covered() -> None:
    assert coverage(np.empty((0, 2)), np.zeros((1, 2)), 1.0) == 1.0


def test_a_labelled_frame_covers_itself_at_radius_zero() -> None:
    pool = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float16)
    assert coverage(pool, pool[:5], 0.0) == 0.25


def test_coverage_refuses_a_radius_that_is_no_distance() -> None:
    for radius in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="radius must be at least 0"):
            coverage(np.zeros((1, 1)), np.zeros((1, 1)), radius)


def test_the_radius_lies_between_videos_not_within_them() -> None:
    vectors = np.array([[0.0], [0.1], [3.0], [3.1]])
    video = np.array([0, 0, 1, 1])
    radius = typical_radius(vectors, np.random.default_rng(0), video=video, quantile=0.0)
    assert radius == pytest.approx(2.9)


def test_the_median_radius_of_three_single_frame_videos_is_the_middle_distance() -> None:
    vectors = np.array([[0.0], [1.0], [10.0]])  # distances 1, 9, 10, each a third of the pairs
    video = np.array([7, 3, 5])
    rng = np.random.default_rng(0)
    assert typical_radius(vectors, rng, video=video, quantile=0.5) == pytest.approx(9.0)


def test_a_long_video_does_not_set_the_scale() -> None:
    vectors = np.concatenate([np.zeros(1000), [1.0], [10.0]])[:, None]
    video = np.concatenate([np.zeros(1000, int), [1], [2]])
    rng = np.random.default_rng(0)
    assert typical_radius(vectors, rng, video=video, quantile=0.5) == pytest.approx(9.0)


def test_within_a_single_video_two_different_frames_are_compared() -> None:
    vectors = np.array([[0.0], [2.0]], dtype=np.float16)
    rng = np.random.default_rng(0)
    assert typical_radius(vectors, rng, video=np.zeros(2, int), quantile=0.0) == 2.0


def test_the_same_generator_state_gives_the_same_radius() -> None:
    vectors = np.random.default_rng(1).standard_normal((200, 5))
    video = np.arange(200) // 20
    first, second = (
        typical_radius(vectors, np.random.default_rng(4), video=video, n_pairs=50) for _ in "ab"
    )
    assert first == second


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_frames_have_radius_zero(n: int) -> None:
    rng = np.random.default_rng(0)
    assert typical_radius(np.ones((n, 3)), rng, video=np.zeros(n, int)) == 0.0


def test_typical_radius_names_what_is_wrong() -> None:
    rng = np.random.default_rng(0)
    vectors, video = np.zeros((3, 2)), np.zeros(3, int)
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(2,\)"):
        typical_radius(vectors, rng, video=video[:2])
    with pytest.raises(ValueError, match=r"quantile must lie between 0 and 1, got 5"):
        typical_radius(vectors, rng, video=video, quantile=5)
    with pytest.raises(ValueError, match=r"n_pairs must be at least 1, got 0"):
        typical_radius(vectors, rng, video=video, n_pairs=0)
