"""Natural breaks against all divisions there are."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.scores.natural_breaks import natural_breaks


def squares(values: np.ndarray, group: np.ndarray) -> float:
    """Sum of squares about the groups' means."""
    return sum(
        float(((values[group == i] - values[group == i].mean()) ** 2).sum())
        for i in np.unique(group)
    )


def test_three_heaps_are_told_apart() -> None:
    # 1, 2 | 10, 11, 12 | 30: sums of squares 0.5 + 2 + 0. Any other division splits a heap, and
    # the heap then joined to another costs at least (12 - 2)^2 / 2.
    values = np.array([11.0, 30, 1, 10, 2, 12])
    assert natural_breaks(values, 3).tolist() == [1, 2, 0, 1, 0, 1]


def test_equal_values_stay_together_and_are_no_more_groups_than_values() -> None:
    assert natural_breaks(np.array([3.0, 1, 3, 1, 1]), 5).tolist() == [1, 0, 1, 0, 0]
    assert natural_breaks(np.full(4, 0.1), 3).tolist() == [0, 0, 0, 0]
    assert natural_breaks(np.array([]), 3).tolist() == []


@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=9),
    st.integers(1, 4),
    st.sampled_from([0.0, 1e4]),
)
def test_no_other_division_has_a_smaller_sum_of_squares(
    numbers: list[int], n_groups: int, offset: float
) -> None:
    values = np.array(numbers) / 7 + offset
    group = natural_breaks(values, n_groups)
    order = np.argsort(values, kind="stable")
    assert (np.diff(group[order]) >= 0).all()
    assert set(group) == set(range(min(n_groups, len(set(numbers)))))
    best = min(
        squares(values[order], np.searchsorted(breaks, np.arange(len(values)), side="right"))
        for k in range(min(n_groups, len(values)))
        for breaks in combinations(range(1, len(values)), k)
    )
    assert squares(values, group) == pytest.approx(best, abs=1e-6)


def test_many_values_are_divided_to_within_a_step() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.uniform(0, 1, 3000), rng.uniform(5, 6, 50), [40.0]])
    group = natural_breaks(rng.permutation(values), 3)
    assert np.bincount(group).tolist() == [3000, 50, 1]


def test_at_least_one_group_is_needed() -> None:
    with pytest.raises(ValueError, match="n_groups must be at least 1, got 0"):
        natural_breaks(np.ones(3), 0)
