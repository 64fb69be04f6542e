"""Which frames are unlike all others of their video, and which of them a person looks at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.strategies.outliers import REVIEW_MAX, Outlier, outliers_of, to_review
from tests.strategies.pools import on_circle


def found(distances: list[float], first_row: int) -> list[Outlier]:
    rows = range(first_row, first_row + len(distances))
    return [Outlier(row, distance, 0.1) for row, distance in zip(rows, distances, strict=True)]


def test_the_farthest_from_its_nearest_neighbour_comes_first() -> None:
    # At 0, 1, 2, 62, 152 degrees the nearest other is 1, 1, 1, 60 and 90 degrees away.
    vectors = on_circle([0, 1, 62, 2, 152]).astype(np.float32)
    outliers = outliers_of(vectors, 0.5)
    assert [each.row for each in outliers] == [4, 2]
    assert [each.distance for each in outliers] == pytest.approx([2**0.5, 1.0], abs=1e-3)
    assert outliers[0].median == pytest.approx(2 * np.sin(np.radians(0.5)), abs=1e-3)


def test_a_share_is_rounded_down() -> None:
    assert outliers_of(on_circle(range(9)).astype(np.float32), 0.1) == []


def test_a_lone_frame_is_no_nearer_to_anything() -> None:
    assert outliers_of(on_circle([5]).astype(np.float32), 1.0)[0].distance == np.inf


def test_a_large_video_is_compared_as_a_whole() -> None:
    degrees = np.arange(5000) / 50
    degrees[[7, 4990]] = 200, 250
    outliers = outliers_of(on_circle(degrees).astype(np.float32), 2 / 5000)
    assert sorted(each.row for each in outliers) == [7, 4990]


def test_a_long_list_of_one_video_leaves_room_for_the_others() -> None:
    many, few = found([0.9] * 30, 0), found([0.3, 0.2], 100)
    shown = to_review([many, few, []])
    assert len(shown) == REVIEW_MAX
    assert [each.row for each in shown[-2:]] == [100, 101]
    assert [each.row for each in shown[:-2]] == list(range(REVIEW_MAX - 2))


@given(st.lists(st.lists(st.floats(0, 2), max_size=25), max_size=6))
def test_what_is_shown_is_balanced_and_the_farthest_first(distances: list[list[float]]) -> None:
    videos = [found(sorted(each, reverse=True), 100 * n) for n, each in enumerate(distances)]
    shown = to_review(videos)
    assert [each.distance for each in shown] == sorted(
        (each.distance for each in shown), reverse=True
    )
    assert len(shown) == min(REVIEW_MAX, sum(map(len, videos)))
    shares = [sum(each.row // 100 == n for each in shown) for n in range(len(videos))]
    for share, video in zip(shares, videos, strict=True):
        assert share == len(video) or share >= max(shares) - 1
