"""k-means++ seeding: the same odds as the plain algorithm."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from alwatch.scores.seeding import Seeding


def seeding(rows: np.ndarray) -> Seeding:
    vectors = rows.astype(np.float32)
    return Seeding(vectors.__getitem__, np.linalg.norm(vectors, axis=1))


def test_the_first_is_the_longest_open_row() -> None:
    rows, rng = np.array([[3.0, 4], [0, 1], [-6, 0]]), np.random.default_rng(0)
    assert seeding(rows).draw(np.ones(3, bool), rng) == (2, 6.0)
    assert seeding(rows).draw(np.array([1, 1, 0], bool), rng) == (0, 5.0)


def test_the_odds_are_the_squared_distances_to_the_nearest_row_drawn() -> None:
    # Drawn: 10, then 0, then 6. Squared distances: 1 -> 1, 2 -> 4, 4 -> 4, 7 -> 1, 9 -> 1.
    rows, n_drawn = np.array([[10.0], [0], [6], [1], [2], [4], [7], [9]]), 4000
    is_open = np.ones(8, bool)
    counts = np.zeros(8)
    for seed in range(n_drawn):
        seeds, rng = seeding(rows), np.random.default_rng(seed)
        for row in (0, 1, 2):
            seeds.add(rows[row].astype(np.float32))
        found = seeds.draw(is_open, rng)
        assert found is not None
        counts[found[0]] += 1
    squares = np.array([0, 0, 0, 1, 4, 4, 1, 1]) / 11
    assert counts[squares == 0].sum() == 0
    assert chisquare(counts[3:], squares[3:] * n_drawn).pvalue > 0.001


def test_the_second_draw_has_the_odds_of_distances_and_not_of_lengths() -> None:
    # From 10 the squared distances of 9 and 0 are 1 and 100.
    rows, rng = np.array([[10.0], [9], [0]]), np.random.default_rng(0)
    seeds = seeding(rows)
    seeds.draw(np.ones(3, bool), rng)
    seeds.add(np.array([10], np.float32))
    drawn = [seeds.draw(np.ones(3, bool), rng) for _ in range(2000)]
    share = np.mean([found is not None and found[0] == 1 for found in drawn])
    assert share == pytest.approx(1 / 101, abs=0.008)


def test_it_tells_the_distance_and_passes_over_what_is_closed_or_not_apart() -> None:
    rows, rng = np.array([[10.0], [10], [4], [1]]), np.random.default_rng(0)
    seeds, is_open = seeding(rows), np.array([1, 1, 0, 1], bool)
    assert seeds.draw(is_open, rng) == (0, 10.0)
    seeds.add(np.array([10], np.float32))
    assert seeds.draw(is_open, rng) == (3, 9.0)
    is_open[3] = False
    assert seeds.draw(is_open, rng) is None


def test_where_there_is_nothing_to_draw_it_says_so() -> None:
    rng = np.random.default_rng(0)
    assert seeding(np.empty((0, 2))).draw(np.empty(0, bool), rng) is None
    assert seeding(np.zeros((3, 2))).draw(np.ones(3, bool), rng) is None
    assert seeding(np.ones((3, 2))).draw(np.zeros(3, bool), rng) is None


def test_rows_are_measured_all_once_and_then_only_where_drawn() -> None:
    rows = np.random.default_rng(0).standard_normal((20_000, 8)).astype(np.float32)
    read = []

    def vectors(part: np.ndarray) -> np.ndarray:
        read.append(len(part))
        return rows[part]

    seeds, rng = Seeding(vectors, np.linalg.norm(rows, axis=1)), np.random.default_rng(0)
    is_open = np.ones(20_000, bool)
    for _ in range(50):
        found = seeds.draw(is_open, rng)
        assert found is not None
        is_open[found[0]] = False
        seeds.add(rows[found[0]])
    assert sum(read) < 2 * 20_000
