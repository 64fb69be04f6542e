"""k-means of a pool read in chunks."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from alwatch.scores import clusters
from alwatch.scores.clusters import cluster


def blobs(n: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows about corners 10 apart, and their corners."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, k, n)
    return (10 * np.eye(k)[corner] + 0.1 * rng.standard_normal((n, k))).astype(np.float32), corner


def assert_same_partition(one: np.ndarray, other: np.ndarray) -> None:
    assert len(np.unique(np.stack([one, other]), axis=1).T) == len(np.unique(one))
    assert len(np.unique(one)) == len(np.unique(other))


@pytest.mark.parametrize("work", [2_500_000, 0], ids=["lloyd", "mini-batch"])
@pytest.mark.parametrize("fitted", [50_000, 1000], ids=["all", "sample"])
def test_blobs_far_apart_are_found_and_distances_are_to_their_means(
    work: int, fitted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "_FULL_WORK", work)
    monkeypatch.setattr(clusters, "_FITTED", fitted)
    rows, corner = blobs(5000, 4)
    number, distance = cluster(rows.__getitem__, 5000, 4, np.random.default_rng(0))
    assert_same_partition(number, corner)
    means = np.stack([rows[corner == i].mean(axis=0) for i in range(4)])
    expected = np.linalg.norm(rows - means[corner], axis=1)
    np.testing.assert_allclose(distance, expected, atol=0.05)


def test_every_row_is_with_its_nearest_mean_once_lloyd_has_settled() -> None:
    rows = np.random.default_rng(0).standard_normal((400, 2)).astype(np.float32)
    number, distance = cluster(rows.__getitem__, 400, 7, np.random.default_rng(0))
    means = np.stack([rows[number == i].mean(axis=0) for i in range(7)])
    apart = np.linalg.norm(rows[:, None] - means, axis=2)
    assert (apart.argmin(axis=1) == number).mean() > 0.98
    np.testing.assert_allclose(distance, apart[np.arange(400), number], atol=0.02)


def test_fewer_distinct_rows_than_clusters_are_fine() -> None:
    rows = np.array([[0.0], [0], [1]], np.float32)
    number, distance = cluster(rows.__getitem__, 3, 3, np.random.default_rng(0))
    assert number[0] == number[1] != number[2]
    np.testing.assert_allclose(distance, 0, atol=1e-6)


def test_the_number_of_threads_is_left_as_it_was() -> None:
    before = [pool["num_threads"] for pool in threadpool_info()]
    rows, _ = blobs(100, 3)
    cluster(rows.__getitem__, 100, 3, np.random.default_rng(0))
    assert [pool["num_threads"] for pool in threadpool_info()] == before
