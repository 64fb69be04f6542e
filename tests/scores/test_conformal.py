"""Conformal p-values of a video's novelty."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.scores.conformal import conformal_p, video_novelty


def test_p_is_the_share_of_videos_that_score_as_high() -> None:
    reference = np.array([1.0, 2.0, 2.0, 4.0])
    p = conformal_p(reference, np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, np.nan]))
    np.testing.assert_array_equal(p, [1.0, 1.0, 0.8, 0.4, 0.4, 0.2, np.nan])


def test_without_a_reference_no_video_is_novel() -> None:
    assert conformal_p(np.array([np.nan]), np.array([9.0])).tolist() == [1.0]


@given(st.lists(st.integers(0, 5), min_size=2, max_size=12), st.sampled_from([0.05, 0.2, 0.5]))
def test_of_alike_videos_a_share_of_alpha_at_most_is_called_novel(
    scores: list[int], alpha: float
) -> None:
    """Every video in turn is the new one; exact, ties included."""
    values = np.array(scores, float)
    p = [conformal_p(np.delete(values, i), values[i : i + 1])[0] for i in range(len(values))]
    assert (np.array(p) <= alpha).sum() <= alpha * len(values) + 1e-9


def test_novelty_is_the_mean_distance_to_the_nearest_labels_of_other_videos() -> None:
    labelled = np.array([[0.0], [1.0], [10.0], [12.0], [np.nan]])
    of_video = np.array([0, 0, 1, 1, 2])
    videos = [np.array([[0.0]]), np.array([[4.0], [11.0]])]
    novelty = video_novelty(videos, np.array([0, 5]), labelled, of_video, k=2)
    # Video 0 sees only 10 and 12. Of video 5: 4 lies 3 and 4 away, 11 lies 1 and 1 away.
    np.testing.assert_allclose(novelty, [11.0, 2.25])


def test_fewer_labels_than_neighbours_are_enough_and_none_is_infinitely_far() -> None:
    video = [np.array([[3.0, 4.0]])]
    one = np.zeros((1, 2)), np.array([7])
    assert video_novelty(video, np.array([1]), *one).tolist() == [5.0]
    assert video_novelty(video, np.array([7]), *one).tolist() == [np.inf]


def test_a_video_without_a_finite_row_has_no_novelty() -> None:
    videos = [np.full((2, 1), np.nan), np.ones((2, 1))]
    novelty = video_novelty(videos, np.array([0, 1]), np.zeros((1, 1)), np.array([9]))
    np.testing.assert_array_equal(novelty, [np.nan, 1.0])


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"numbers must have shape \(1,\).*got \(2,\)"):
        video_novelty([np.ones((1, 1))], np.zeros(2, int), np.ones((1, 1)), np.zeros(1, int))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        video_novelty([], np.zeros(0, int), np.ones((1, 1)), np.zeros(1, int), k=0)
