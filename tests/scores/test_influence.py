"""Influence in linear time, against all pairs; and its sign."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from alwatch.scores.influence import cosine_distance_sums, influence, similarity_sums

CROWD = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0], [-1.0, 0.0]])
"""Directions of 0, 45, 90 and 180 degrees: the second is in the thick of it, the last alone."""


def test_the_frame_in_the_crowd_has_the_lowest_sum_and_the_highest_influence() -> None:
    h = math.sqrt(0.5)  # the cosine of 45 degrees
    similarity = np.array([1 + h + 0 - 1, h + 1 + h - h, 0 + h + 1 + 0, -1 - h + 0 + 1])
    sums = cosine_distance_sums(CROWD)
    np.testing.assert_allclose(sums, 4 - similarity, rtol=1e-6)
    np.testing.assert_allclose(influence(CROWD), similarity / 4, rtol=1e-6)


def test_ascending_sums_label_the_crowd_first_and_the_outlier_last() -> None:
    rng = np.random.default_rng(0)
    crowd = np.array([1.0, 0, 0]) + 0.1 * rng.standard_normal((20, 3))
    pool = np.concatenate([[[-1.0, 0.2, 0.0]], crowd, crowd.mean(axis=0, keepdims=True)])
    ascending = np.argsort(cosine_distance_sums(pool))
    assert ascending[0] == 21
    assert ascending[-1] == 0
    np.testing.assert_array_equal(np.argsort(-influence(pool)), ascending)


@given(st.integers(0, 1000), st.integers(1, 30), st.integers(1, 8))
def test_sums_are_those_over_all_pairs(seed: int, n: int, width: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((n, width)) + 0.1
    expected = cdist(vectors, vectors, "cosine").sum(axis=1)
    np.testing.assert_allclose(cosine_distance_sums(vectors), expected, atol=1e-4)


def test_lengths_do_not_matter_and_float16_is_enough() -> None:
    vectors = np.random.default_rng(1).standard_normal((9000, 16))  # more than two chunks
    exact = cdist(vectors[:50], vectors, "cosine").sum(axis=1)
    scaled = (vectors * np.linspace(0.1, 100, 9000)[:, None]).astype(np.float16)
    np.testing.assert_allclose(cosine_distance_sums(scaled)[:50], exact, rtol=1e-4)


def test_equal_frames_are_no_distance_apart() -> None:
    assert cosine_distance_sums(np.full((3, 4), 0.3)) == pytest.approx(0, abs=1e-6)
    assert influence(np.full((3, 4), 0.3)) == pytest.approx(1)


def test_a_row_of_zeros_is_at_distance_one_from_all() -> None:
    vectors = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert cosine_distance_sums(vectors) == pytest.approx([3, 1, 1])


def test_an_empty_pool_has_no_influence() -> None:
    assert cosine_distance_sums(np.empty((0, 4))).shape == (0,)
    assert influence(np.empty((0, 4))).shape == (0,)


def test_influence_asks_for_a_matrix() -> None:
    with pytest.raises(ValueError, match=r"vectors must be 2-D.*\(3,\)"):
        influence(np.zeros(3))


def test_similarity_sums_read_the_rows_in_parts() -> None:
    vectors = np.random.default_rng(2).standard_normal((9000, 5)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    sizes: list[int] = []

    def read(part: slice) -> np.ndarray:
        sizes.append(part.stop - part.start)
        return unit[part]

    sums = similarity_sums(read, 9000)
    np.testing.assert_allclose(sums[:40], (unit[:40] @ unit.T).sum(axis=1), atol=1e-2)
    assert max(sizes) < 9000
    assert sum(sizes) == 2 * 9000
