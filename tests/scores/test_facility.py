"""Greedy facility location: lazy against plain, and its guarantee."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alwatch.scores.distances import unit_rows
from alwatch.scores.facility import (
    FacilityGreedy,
    distances_between,
    spacing,
    weighted_sample,
)


def similarity(rows: np.ndarray, others: np.ndarray, delta: float) -> np.ndarray:
    """All pairs in float64."""
    apart = np.linalg.norm(rows[:, None].astype(float) - others[None].astype(float), axis=2)
    return np.exp(-((apart / delta) ** 2))


def value(chosen: np.ndarray, weights: np.ndarray) -> float:
    """F of the chosen columns of a similarity matrix."""
    return float(weights @ chosen.max(axis=1, initial=0)) / weights.sum()


def plain_greedy(
    similar: np.ndarray, weights: np.ndarray, cover: np.ndarray, closings: list[set[int]]
) -> list[int]:
    """Measure every candidate at every pick; the lowest of those within 1e-5 of the best wins."""
    is_open, picks = np.ones(similar.shape[1], bool), []
    for closing in closings:
        if not is_open.any():
            break
        gains = weights @ np.maximum(similar - cover[:, None], 0) / weights.sum()
        gains = np.where(is_open, np.where(gains < 1e-7, 0, gains), -1)
        pick = int((gains >= gains.max() * (1 - 1e-5)).argmax())
        picks.append(pick)
        cover = np.maximum(cover, similar[:, pick])
        is_open[[pick, *closing]] = False
    return picks


def lazy_greedy(greedy: FacilityGreedy, n: int, closings: list[set[int]]) -> list[int]:
    is_open, picks = np.ones(n, bool), []
    for closing in closings:
        found = greedy.best(is_open)
        if found is None:
            break
        picks.append(found[0])
        greedy.add(found[0])
        is_open[[found[0], *closing]] = False
    return picks


def points(n: int, width: int, seed: int) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).standard_normal((n, width)))


def test_gains_by_hand() -> None:
    # Rows east, north, west with weights 1, 2, 1; |east - north|^2 = 2, |east - west|^2 = 4. With
    # delta = 2: k = exp(-1/2) = .6065 to a neighbour, exp(-1) = .3679 across.
    # East: 1 + 2 * .6065 + .3679 = 2.5810; north: .6065 + 2 + .6065 = 3.2131, of 4 in all: .8033.
    # Then east and west each add 1 - .6065 = .3935 (.0984); a tie, so east, then west.
    rows = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    greedy = FacilityGreedy(rows, rows, np.array([1.0, 2, 1]), rows[:0], delta=2)
    is_open = np.ones(3, bool)
    for candidate, gain in [(1, 0.80327), (0, 0.09837), (2, 0.09837)]:
        assert greedy.best(is_open) == (candidate, pytest.approx(gain, abs=1e-5))
        greedy.add(candidate)
        is_open[candidate] = False
    assert greedy.best(is_open) is None
    assert greedy.value() == pytest.approx(1)


def test_what_is_known_is_covered_from_the_start() -> None:
    # North is known, which leaves east and west as above; west weighs more.
    rows = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    greedy = FacilityGreedy(rows, rows, np.array([1.0, 1, 2]), rows[1:2], delta=2)
    assert greedy.best(np.ones(3, bool)) == (2, pytest.approx(2 * 0.39347 / 4, abs=1e-5))


@settings(deadline=None)
@given(st.data())
def test_its_picks_are_those_of_the_plain_greedy_algorithm(data: st.DataObject) -> None:
    n, r = data.draw(st.integers(1, 40), "candidates"), data.draw(st.integers(1, 40), "reference")
    rng = np.random.default_rng(data.draw(st.integers(0, 1000), "seed"))
    # Directions on a coarse grid: full of equal rows and of ties, which go to the lowest.
    decimals = data.draw(st.integers(0, 2), "decimals")
    rows, reference, known = (
        unit_rows(rng.standard_normal((size, 3)).round(decimals))
        for size in (n, r, data.draw(st.integers(0, 3), "known"))
    )
    weights = rng.integers(0, 4, r) + np.eye(r)[0]
    closing = st.sets(st.integers(0, n - 1), max_size=data.draw(st.integers(0, 5)))
    closings = data.draw(st.lists(closing, min_size=1, max_size=n + 2), "closings")
    delta, block = data.draw(st.sampled_from([0.5, 1.0, 2.0])), data.draw(st.integers(1, 50))
    greedy = FacilityGreedy(rows, reference, weights, known, delta=delta, block=block)
    cover = similarity(reference, known, delta).max(axis=1, initial=0)
    expected = plain_greedy(similarity(reference, rows, delta), weights, cover, closings)
    assert lazy_greedy(greedy, n, closings) == expected


@pytest.mark.parametrize(("kind", "delta"), [("gaussian", 1), ("walk", 0.3), ("clustered", 0.05)])
def test_larger_pools_are_picked_from_as_plainly(kind: str, delta: float) -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((1500, 8))
    if kind == "clustered":
        rows = 0.05 * rows + rng.standard_normal((20, 8))[rng.integers(0, 20, 1500)]
    elif kind == "walk":
        rows = 0.1 * rows.reshape(5, 300, 8).cumsum(axis=1).reshape(1500, 8) + 1
    rows, weights = unit_rows(rows), rng.uniform(0.3, 1, 1500)
    greedy = FacilityGreedy(rows, rows, weights, rows[:2], delta=delta)
    similar = similarity(rows, rows, delta)
    expected = plain_greedy(similar, weights, similar[:, :2].max(axis=1), [set()] * 60)
    assert lazy_greedy(greedy, 1500, [set()] * 60) == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 9), st.integers(1, 4), st.sampled_from([0.3, 1.0]), st.integers(0, 10_000))
def test_it_gets_within_1_minus_1_over_e_of_the_best_possible(
    n: int, k: int, delta: float, seed: int
) -> None:
    rows, weights = points(n, 2, seed), np.random.default_rng(seed).uniform(0, 1, n)
    similar = similarity(rows, rows, delta)
    best = max(value(similar[:, list(some)], weights) for some in combinations(range(n), min(k, n)))
    greedy = FacilityGreedy(rows, rows, weights, rows[:0], delta=delta)
    picks = lazy_greedy(greedy, n, [set()] * k)
    assert value(similar[:, picks], weights) >= (1 - 1 / np.e) * best - 1e-4
    assert greedy.value() == pytest.approx(value(similar[:, picks], weights), abs=1e-4)


def test_where_everything_is_covered_the_lowest_open_row_comes_next() -> None:
    rows = np.repeat(points(1, 3, 0), 5, axis=0)
    greedy = FacilityGreedy(rows, rows, np.ones(5), rows[:1], delta=0.01)
    assert lazy_greedy(greedy, 5, [{2}] * 5) == [0, 1, 3, 4]


def test_a_lower_row_that_ties_but_for_rounding_is_preferred() -> None:
    rows = np.eye(3, dtype=np.float32)
    weights = np.array([1 - 5e-6, 1, 3])
    greedy = FacilityGreedy(rows, rows, weights, rows[:0], delta=0.1, block=1)
    assert lazy_greedy(greedy, 3, [set()] * 3) == [2, 0, 1]


def test_equal_gains_are_not_all_measured_again() -> None:
    # At right angles and a small delta every row stands for itself only: all gains are 1/n.
    rows = np.eye(400, dtype=np.float32)
    greedy = FacilityGreedy(rows, rows, np.ones(400), rows[:0], delta=0.1, block=20)
    measured = 0
    gains = greedy._gains

    def counted(candidates: np.ndarray) -> np.ndarray:
        nonlocal measured
        measured += len(candidates)
        return gains(candidates)

    greedy._gains = counted  # type: ignore[method-assign]
    assert lazy_greedy(greedy, 400, [set()] * 100) == list(range(100))
    assert measured < 400 + 100 * 100


def test_it_names_what_is_wrong() -> None:
    rows = points(3, 2, 0)
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(2,\); delta must be .* got 0"):
        FacilityGreedy(rows, rows, np.ones(2), rows, delta=0)
    with pytest.raises(ValueError, match=r"got \(0, 2\)"):
        FacilityGreedy(rows, rows[:0], np.ones(0), rows, delta=1)
    for weights in (np.zeros(3), np.array([1, -0.5, 2]), np.array([1, np.nan, 2])):
        with pytest.raises(ValueError, match="weights must be at least 0 and not all 0"):
            FacilityGreedy(rows, rows, weights, rows, delta=1)


def test_a_sample_holds_every_row_by_its_weight_to_within_two_draws() -> None:
    weights = np.repeat([0.0, 5, 1, 0, 2], 40)  # 320 in all, 200, 40 and 80 of it, of 64 draws
    for seed in range(20):
        drawn = weighted_sample(weights, 64, np.random.default_rng(seed))
        assert (np.diff(drawn) >= 0).all()
        share = np.bincount(drawn // 40, minlength=5)
        assert share[[0, 3]].tolist() == [0, 0]
        assert (np.abs(share - [0, 40, 8, 0, 16]) <= 2).all()


def test_a_sample_takes_every_row_of_a_stratum_equally_often() -> None:
    rng = np.random.default_rng(0)
    drawn = np.concatenate([weighted_sample(np.array([1.0, 1, 1, 3]), 2, rng) for _ in range(4000)])
    # Expected draws of two: 2/6 each for the light rows and 1 for the heavy one.
    np.testing.assert_allclose(np.bincount(drawn) / 4000, [1 / 3, 1 / 3, 1 / 3, 1], atol=0.03)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 200))
def test_a_sample_estimates_a_mean_within_its_bound(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    weights, f = rng.uniform(0, 1, 500), rng.uniform(0, 1, 500) < 0.5
    drawn = weighted_sample(weights, size, rng)
    # 2 exp(-2 size eps^2) = 1e-6: this never fails in practice.
    assert abs(f[drawn].mean() - f @ weights / weights.sum()) <= np.sqrt(np.log(2e6) / 2 / size)


def test_spacing_is_the_median_distance_to_the_nearest_other_row() -> None:
    # Nearest others: 1, 1, 3 and 6 away.
    rows = np.array([[0.0], [1], [4], [10]], dtype=np.float32)
    assert spacing(rows) == pytest.approx(2.0)
    assert spacing(np.ones((2, 3), np.float32)) == 0


def test_spacing_of_many_rows_is_measured_against_all_of_them() -> None:
    # Pairs 0.02 apart, the pairs some 0.3: of rows at even steps none has its partner among them.
    one = points(2500, 8, 0)
    rows = np.stack([one, one + np.float32(0.02) * np.eye(8)[0]], axis=1).reshape(5000, 8)
    assert spacing(rows.astype(np.float32)) == pytest.approx(0.02, rel=0.05)


def test_distances_between_groups_leave_out_those_within() -> None:
    rows = np.array([[0.0], [1], [10]], dtype=np.float32)
    assert sorted(distances_between(rows, np.array([5, 5, 2])).tolist()) == [9, 10]
    assert sorted(distances_between(rows, np.array([5, 5, 5])).tolist()) == [1, 9, 10]
    assert distances_between(rows[:1], np.array([5])).tolist() == []
