from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alwatch.web.scatter import fit_scale, part

coordinates = arrays(
    np.float64, st.tuples(st.integers(0, 20), st.just(2)), elements=st.floats(-1e6, 1e6)
)


@given(coordinates)
def test_every_point_is_inside_the_border_of_a_plot_of_the_asked_size(points: np.ndarray) -> None:
    scale = fit_scale(points, width=640, heights=(300, 500), border=20)
    places = scale.to_px(points)
    assert scale.width == 640
    assert 300 <= scale.height <= 500
    assert (places >= 20 - 1e-6).all()
    assert (places <= np.array([620, scale.height - 20]) + 1e-6).all()


def test_one_scale_serves_both_axes_where_the_height_allows_it() -> None:
    points = np.array([[0.0, 0.0], [6.0, 3.0]])
    scale = fit_scale(points, width=640, heights=(300, 500), border=20)
    assert scale.height == 340  # 600 px for 6 units, so 300 px for 3, and the borders
    np.testing.assert_allclose(scale.to_px(points), [[20, 320], [620, 20]])


def test_a_flat_cloud_is_stretched_to_the_least_height() -> None:
    points = np.array([[0.0, 0.0], [100.0, 1.0]])
    scale = fit_scale(points, width=640, heights=(300, 500), border=20)
    np.testing.assert_allclose(scale.to_px(points), [[20, 280], [620, 20]])


def test_a_single_point_is_in_the_middle() -> None:
    scale = fit_scale(np.array([[7.0, -3.0]]), width=640, heights=(300, 500), border=20)
    np.testing.assert_allclose(scale.to_px(np.array([[7.0, -3.0]])), [[320, scale.height / 2]])


def test_marks_at_the_same_place_are_parted() -> None:
    shown = part(np.full((12, 2), 200.0), gap_px=25, limits=(640, 400))
    distance = np.linalg.norm(shown[:, None] - shown[None], axis=-1) + 1e3 * np.eye(12)
    assert distance.min() > 20
    assert np.linalg.norm(shown - 200, axis=1).max() < 90


def test_marks_that_are_far_apart_stay_where_they_belong() -> None:
    places = np.array([[50.0, 50.0], [300.0, 200.0]])
    np.testing.assert_allclose(part(places, gap_px=25, limits=(640, 400)), places)


def test_parted_marks_stay_on_the_plot() -> None:
    shown = part(np.zeros((30, 2)), gap_px=25, limits=(640, 400))
    distance = np.linalg.norm(shown[:, None] - shown[None], axis=-1) + 1e3 * np.eye(30)
    assert distance.min() > 15
    assert (shown >= 12.5).all()
    assert (shown <= np.array([640, 400]) - 12.5).all()


def test_marks_too_many_to_part_stay_where_they_are() -> None:
    places = np.random.default_rng(0).uniform(0, 400, (301, 2))
    np.testing.assert_array_equal(part(places, gap_px=25, limits=(640, 400)), places)
