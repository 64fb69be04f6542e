from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.scores.comparison import Comparison, compare, frame_errors

NAN = np.nan


def compared(
    new: list[float], old: list[float], video: list[int], *, season: str = "", min_frames: int = 1
) -> list[Comparison]:
    seasons = np.array(list(season or "a" * len(new)), np.str_)
    return compare(
        np.array(new), np.array(old), np.array(video), seasons, np.random.default_rng(0),
        min_frames=min_frames, worse_ratio=1.05,
    )  # fmt: skip


def test_a_frame_has_the_mean_error_of_its_bodyparts() -> None:
    new, old = frame_errors(np.array([[2.0, 4.0], [6.0, NAN]]), np.array([[1.0, 2.0], [3.0, NAN]]))
    assert new.tolist() == [3.0, 6.0]
    assert old.tolist() == [1.5, 3.0]


def test_a_bodypart_that_only_the_other_finds_counts_as_the_largest_error_of_all() -> None:
    """The largest is the 8 px of the old one; the new one keeps silent in the second frame."""
    new, old = frame_errors(np.array([[2.0, 4.0], [NAN, 1.0]]), np.array([[8.0, 2.0], [3.0, NAN]]))
    assert new.tolist() == [3.0, (8 + 1) / 2]
    assert old.tolist() == [5.0, (3 + 8) / 2]


def test_a_frame_in_which_neither_finds_anything_has_no_error() -> None:
    new, old = frame_errors(np.array([[NAN, NAN], [1.0, NAN]]), np.array([[NAN, NAN], [1.0, NAN]]))
    np.testing.assert_array_equal(new, [NAN, 1.0])
    np.testing.assert_array_equal(old, [NAN, 1.0])
    for empty in frame_errors(np.empty((0, 2)), np.empty((0, 2))):
        assert empty.shape == (0,)


def test_worse_in_every_video_is_worse_in_every_draw() -> None:
    whole, season = compared([4, 4, 6], [2, 2, 3], [1, 1, 2])
    assert (whole.season, whole.frames, whole.videos) == (None, 3, 2)
    assert (whole.new_px, whole.old_px) == (5.0, 2.5)  # every video counts alike
    assert (whole.share_worse, whole.is_worse) == (1.0, True)
    assert season.season == "a"


def test_worse_by_less_than_the_ratio_is_not_worse() -> None:
    """2.08 px against 2 px is 1.04 times as much, in both videos."""
    (whole, _) = compared([2.08, 2.08], [2.0, 2.0], [1, 2])
    assert (whole.share_worse, whole.is_worse) == (0.0, False)


def test_two_videos_that_do_not_agree_are_not_sure_enough() -> None:
    """Of the four equally likely draws, one is of the video in which the new one is better."""
    (whole, _) = compared([9.0, 1.0], [2.0, 2.0], [1, 2])
    assert whole.share_worse == pytest.approx(0.75, abs=0.02)
    assert not whole.is_worse


def test_most_of_many_videos_are_sure_enough() -> None:
    """Worse by 7 px in nine of ten videos and better by 1 px in one."""
    (whole, _) = compared([9.0] * 9 + [1.0], [2.0] * 10, list(range(10)))
    assert whole.is_worse


def test_one_video_never_tells() -> None:
    (whole, _) = compared([90.0] * 5, [2.0] * 5, [7] * 5)
    assert (whole.share_worse, whole.is_worse) == (0.5, False)


def test_a_season_may_be_worse_where_the_whole_is_not() -> None:
    whole, first, second = compared(
        [1, 1, 1, 1, 4, 4], [6, 6, 6, 6, 2, 2], [1, 1, 2, 2, 3, 4], season="aaaabb"
    )
    assert not whole.is_worse
    assert (first.season, first.is_worse) == ("a", False)
    assert (second.season, second.frames, second.is_worse) == ("b", 2, True)


def test_seasons_and_wholes_with_too_few_frames_are_left_out() -> None:
    new, old, video = [4.0] * 6 + [NAN], [2.0] * 7, [1, 1, 2, 2, 3, 4, 4]
    whole, only = compared(new, old, video, season="aaaabbb", min_frames=4)
    assert (whole.frames, only.season) == (6, "a")
    assert compared(new, old, video, season="aaaabbb", min_frames=7) == []
    assert compared([], [], []) == []


@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=20), st.floats(1.06, 50))
def test_a_model_that_is_worse_by_a_factor_everywhere_is_refused_and_its_opposite_not(
    errors: list[float], factor: float
) -> None:
    worse, video = [error * factor for error in errors], list(range(len(errors)))
    assert compared(worse, errors, video)[0].is_worse
    assert not compared(errors, worse, video)[0].is_worse
