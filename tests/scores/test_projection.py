"""The flat map of an archive's vectors."""

from __future__ import annotations

import numpy as np
import pytest

from alwatch.scores.projection import (
    neighbour_map,
    plane_coordinates,
    principal_coordinates,
)


def spread(n: int, width: int, seed: int) -> np.ndarray:
    """Vectors with clearly different spreads along random directions."""
    rng = np.random.default_rng(seed)
    scales = 10.0 * 0.5 ** np.arange(min(n, width))
    directions = np.linalg.qr(rng.standard_normal((width, len(scales))))[0]
    return (rng.standard_normal((n, len(scales))) * scales) @ directions.T + 3.0


def test_a_plane_is_drawn_as_it_is() -> None:
    corners = np.array([[0, 0, 5], [4, 0, 5], [0, 2, 5], [4, 2, 5]], dtype=np.float32)
    found = plane_coordinates(corners, np.random.default_rng(0))
    np.testing.assert_allclose(found, [[-2, -1], [2, -1], [-2, 1], [2, 1]], atol=1e-5)


@pytest.mark.parametrize(("n", "width"), [(300, 40), (40, 300)])
def test_the_map_is_that_of_an_exact_pca(n: int, width: int) -> None:
    vectors = spread(n, width, seed=1)
    left, lengths, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    exact = left[:, :2] * lengths[:2]
    found = plane_coordinates(vectors, np.random.default_rng(0))
    np.testing.assert_allclose(np.abs(found), np.abs(exact), atol=1e-3 * np.abs(exact).max())


def test_the_picture_does_not_flip_with_the_seed_or_the_order_of_rows() -> None:
    vectors = spread(300, 20, seed=2)
    first = plane_coordinates(vectors, np.random.default_rng(0))
    np.testing.assert_allclose(
        plane_coordinates(vectors, np.random.default_rng(9)), first, atol=0.01
    )
    turned = plane_coordinates(vectors[::-1], np.random.default_rng(0))
    np.testing.assert_allclose(turned[::-1], first, atol=0.01)


def test_the_same_state_gives_the_same_map_of_a_large_archive() -> None:
    vectors = spread(12_000, 8, seed=3).astype(np.float16)
    first, second = (plane_coordinates(vectors, np.random.default_rng(5)) for _ in "ab")
    assert first.shape == (12_000, 2)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("shape", [(0, 4), (0, 0), (3, 0), (1, 4), (5, 4), (1, 1), (5, 1)])
def test_equal_or_missing_frames_all_lie_at_the_origin(shape: tuple[int, int]) -> None:
    found = plane_coordinates(np.full(shape, 0.1, dtype=np.float16), np.random.default_rng(0))
    assert np.array_equal(found, np.zeros((shape[0], 2)))


def test_vectors_along_one_line_use_one_axis_only() -> None:
    found = plane_coordinates(np.array([[0.0], [2.0], [4.0]]), np.random.default_rng(0))
    np.testing.assert_allclose(found, [[-2, 0], [0, 0], [2, 0]], atol=1e-6)


def test_distances_along_the_directions_that_vary_stay_as_they_are() -> None:
    vectors = spread(60, 50, seed=4)[:, :50]
    narrow = principal_coordinates(vectors, 20, np.random.default_rng(0))
    assert narrow.shape == (60, 20)
    apart = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    found = np.linalg.norm(narrow[:, None] - narrow, axis=2)
    np.testing.assert_allclose(found, apart, atol=1e-3)


def test_more_directions_than_there_are_stay_zero() -> None:
    narrow = principal_coordinates(np.array([[0.0, 1], [4, 1]]), 5, np.random.default_rng(0))
    np.testing.assert_allclose(narrow, [[-2, 0, 0, 0, 0], [2, 0, 0, 0, 0]], atol=1e-6)


def test_plane_coordinates_asks_for_a_matrix() -> None:
    with pytest.raises(ValueError, match=r"vectors must be 2-D.*\(3,\)"):
        plane_coordinates(np.zeros(3), np.random.default_rng(0))


def test_a_neighbour_map_keeps_groups_apart_and_repeats() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], 40)
    centres = 20 * rng.standard_normal((3, 16))
    vectors = centres[groups] + rng.standard_normal((120, 16))
    one, two = (neighbour_map(vectors, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    distance = np.linalg.norm(one[:, None] - one[None], axis=2) + 1e9 * np.eye(120)
    assert (groups[distance.argmin(axis=1)] == groups).all()


@pytest.mark.parametrize("n", [0, 1, 19, 40])
def test_a_neighbour_map_of_few_or_equal_vectors_is_flat(n: int) -> None:
    assert neighbour_map(np.ones((n, 5)), np.random.default_rng(0)).shape == (n, 2)
