"""Distances between rows of vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alwatch.scores.distances import (
    nearest_distance,
    relative_squares,
    squared_lengths,
    unit_rows,
)

coordinates = st.floats(-8, 8, width=32)


def test_unit_rows_have_length_one_and_keep_their_direction() -> None:
    rows = unit_rows(np.array([[3.0, 4.0], [-2.0, 0.0]]))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0.6, 0.8], [-1.0, 0.0]], rtol=1e-6)


def test_unit_rows_leaves_rows_of_zeros_alone() -> None:
    assert unit_rows(np.zeros((2, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_unit_rows_measures_float16_lengths_that_float16_cannot_hold() -> None:
    rows = unit_rows(np.full((1, 4), 60_000, dtype=np.float16))
    np.testing.assert_allclose(rows, [[0.5, 0.5, 0.5, 0.5]])


def test_unit_rows_does_not_change_its_input() -> None:
    vectors = np.array([[3.0, 4.0]], dtype=np.float32)
    unit_rows(vectors)
    assert vectors.tolist() == [[3.0, 4.0]]


def test_unit_rows_takes_no_rows() -> None:
    assert unit_rows(np.empty((0, 5))).shape == (0, 5)


def test_unit_rows_asks_for_a_matrix() -> None:
    with pytest.raises(ValueError, match=r"vectors must be 2-D.*\(3,\)"):
        unit_rows(np.zeros(3))


def test_nearest_distance_of_points_on_a_line() -> None:
    points = np.array([[0.0], [4.0], [11.0]])
    reference = np.array([[1.0], [10.0]])
    assert nearest_distance(points, reference).tolist() == [1.0, 3.0, 1.0]


def test_nearest_distance_is_infinite_where_there_is_no_reference() -> None:
    assert nearest_distance(np.zeros((2, 3)), np.empty((0, 3))).tolist() == [np.inf, np.inf]
    assert nearest_distance(np.empty((0, 3)), np.zeros((2, 3))).tolist() == []


def test_equal_rows_are_exactly_zero_apart_far_from_the_origin() -> None:
    rng = np.random.default_rng(0)
    vectors = (1000 + rng.standard_normal((50, 64))).astype(np.float32)
    assert nearest_distance(vectors, vectors[::-1]).max() == 0


@given(
    arrays(np.float32, st.tuples(st.integers(1, 12), st.just(3)), elements=coordinates),
    arrays(np.float32, st.tuples(st.integers(1, 12), st.just(3)), elements=coordinates),
    st.integers(1, 5),
)
def test_nearest_distance_agrees_with_all_pairs_in_float64(
    vectors: np.ndarray, reference: np.ndarray, chunk: int
) -> None:
    differences = vectors[:, None].astype(np.float64) - reference[None]
    expected = np.sqrt((differences**2).sum(axis=2)).min(axis=1)
    found = nearest_distance(vectors, reference, chunk=chunk)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=0.02)
    assert (
        found >= expected * (1 - 1e-5) - 1e-15
    ).all()  # always the distance to some reference row


def test_nearest_distance_refuses_vectors_of_two_widths() -> None:
    with pytest.raises(ValueError, match=r"equally wide.*\(2, 3\).*\(1, 4\)"):
        nearest_distance(np.zeros((2, 3)), np.zeros((1, 4)))


def test_nearest_distance_refuses_an_empty_chunk() -> None:
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        nearest_distance(np.zeros((2, 3)), np.zeros((1, 3)), chunk=0)


def test_relative_squares_and_lengths_add_up_to_squared_distances() -> None:
    rows = np.array([[0, 0], [3, 4]], dtype=np.float32)
    others = np.array([[3, 0], [3, 4], [0, -1]], dtype=np.float32)
    squares = relative_squares(rows, others) + squared_lengths(rows)[:, None]
    assert squares.tolist() == [[9, 25, 1], [16, 0, 34]]
