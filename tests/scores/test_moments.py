"""A video as a few of its frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.scores.moments import evenly_spaced, moments_of


def test_moments_are_the_middles_of_equal_stretches() -> None:
    assert evenly_spaced(8, 4).tolist() == [1, 3, 5, 7]
    assert evenly_spaced(2, 4).tolist() == [0, 0, 1, 1]
    assert evenly_spaced(0, 4).tolist() == []


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 7))
def test_repeating_every_frame_changes_no_moment(n: int, count: int, times: int) -> None:
    slow = np.repeat(np.arange(n), times)
    np.testing.assert_array_equal(slow[evenly_spaced(len(slow), count)], evenly_spaced(n, count))


def test_rows_that_are_not_finite_are_left_out_and_videos_of_nothing_else_too() -> None:
    videos = [
        np.array([[np.nan, 0.0], [1.0, 1.0], [np.inf, 2.0], [3.0, 3.0]]),
        np.full((3, 2), np.nan),
        np.empty((0, 2)),
        np.array([[5.0, 5.0]]),
    ]
    present, moments = moments_of(videos, 2)
    assert present.tolist() == [0, 3]
    assert moments.tolist() == [[[1, 1], [3, 3]], [[5, 5], [5, 5]]]
    assert moments.dtype == np.float32


def test_videos_must_be_matrices_of_one_width() -> None:
    with pytest.raises(ValueError, match=r"video 1 must be 2-D.*\(3,\)"):
        moments_of([np.zeros((3, 1)), np.zeros(3)])
    with pytest.raises(ValueError, match=r"equally wide, got widths \[1, 2\]"):
        moments_of([np.zeros((3, 1)), np.zeros((3, 2))])
