"""Mean distance to the nearest neighbours, and stratified samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.scores.neighbours import mean_neighbour_distance, stratified_rows


def mean_distance(
    vectors: np.ndarray, k: int, rng: np.random.Generator | None = None, **sizes: int
) -> np.ndarray:
    rows = vectors.astype(np.float32)
    some = rng or np.random.default_rng(0)
    return mean_neighbour_distance(rows.__getitem__, len(rows), k, some, **sizes)


def test_the_row_itself_is_no_neighbour_but_its_twin_is() -> None:
    # 0 and its twin are 0 and 3 from their two nearest; 3 is 2 from 5 and 3 from one twin; 5 is
    # 2 from 3 and 5 from one twin.
    vectors = np.array([[0.0], [3], [0], [5]])
    np.testing.assert_allclose(mean_distance(vectors, 2), [1.5, 2.5, 1.5, 3.5], atol=1e-6)


@given(st.integers(1, 40), st.integers(0, 45), st.integers(1, 5), st.integers(0, 1000))
def test_it_agrees_with_all_distances_sorted(n: int, k: int, width: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)
    apart = np.linalg.norm(vectors[:, None].astype(float) - vectors[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = np.sort(apart, axis=1)[:, : min(k, n - 1)]
    expected = nearest.mean(axis=1) if nearest.shape[1] else np.zeros(n)
    np.testing.assert_allclose(mean_distance(vectors, k), expected, atol=2e-3)


def test_more_rows_than_fit_into_one_product_make_no_difference() -> None:
    vectors = np.random.default_rng(0).standard_normal((9000, 4))  # a product holds 1024 x 8192
    found = mean_distance(vectors, 5)
    for row in (0, 1023, 1024, 8191, 8192, 8999):
        apart = np.sort(np.linalg.norm(vectors - vectors[row], axis=1))
        assert found[row] == pytest.approx(apart[1:6].mean(), abs=1e-3)


def test_beyond_the_limit_distances_are_those_to_a_stratified_sample() -> None:
    vectors = np.random.default_rng(0).standard_normal((300, 3)).astype(np.float32)
    found = mean_distance(vectors, 4, np.random.default_rng(5), exact_up_to=299, sample=50)
    sample = stratified_rows(300, 50, np.random.default_rng(5))
    apart = np.linalg.norm(vectors[:, None].astype(float) - vectors[None, sample], axis=2)
    apart[sample, np.arange(50)] = np.inf
    np.testing.assert_allclose(found, np.sort(apart, axis=1)[:, :4].mean(axis=1), atol=1e-3)


def test_a_sample_ranks_sparse_and_dense_as_all_rows_do() -> None:
    rng = np.random.default_rng(1)
    spread = np.repeat([0.1, 1.0], 1000)[:, None]
    vectors = spread * rng.standard_normal((2000, 3)) + 5 * (spread == 1)
    found = mean_distance(vectors, 20, exact_up_to=500, sample=400)
    assert found[:1000].max() < np.median(found[1000:])


@given(st.integers(0, 200), st.integers(1, 60), st.integers(0, 100))
def test_a_sample_has_one_row_of_each_stretch(n: int, most: int, seed: int) -> None:
    rows = stratified_rows(n, most, np.random.default_rng(seed))
    if n <= most:
        assert rows.tolist() == list(range(n))
    else:
        stretch = np.concatenate(
            [np.full((i + 1) * n // most - i * n // most, i) for i in range(most)]
        )
        assert stretch[rows].tolist() == list(range(most))


def test_every_row_may_be_in_the_sample() -> None:
    rng = np.random.default_rng(0)
    seen = {row for _ in range(60) for row in stratified_rows(10, 4, rng).tolist()}
    assert seen == set(range(10))
