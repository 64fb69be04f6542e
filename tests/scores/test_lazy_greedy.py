"""Lazy greedy against measuring every row each time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alwatch.scores.lazy_greedy import LazyGreedy


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 1000))
def test_its_choice_is_that_of_measuring_every_row_ties_included(
    n: int, block: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 8, n)
    measured: list[int] = []

    def measure(rows: np.ndarray) -> np.ndarray:
        measured.extend(rows.tolist())
        return values[rows]

    greedy, is_open = LazyGreedy(values, measure, block=block), np.ones(n, bool)
    while is_open.any():
        best = int(np.where(is_open, values, -1).argmax())
        assert greedy.best(is_open) == (best, values[best])
        is_open[best] = False
        is_open[rng.integers(n)] = False
        values = values - rng.integers(0, 3, n)
        values = values.clip(min=0)
        greedy.outdate()
    assert greedy.best(is_open) is None


def test_rows_far_below_the_best_are_not_measured_again() -> None:
    values, measured = np.arange(1000.0), []

    def measure(rows: np.ndarray) -> np.ndarray:
        measured.extend(rows.tolist())
        return values[rows]

    greedy = LazyGreedy(values, measure, block=10)
    greedy.outdate()
    assert greedy.best(np.ones(1000, bool)) == (999, 999)
    assert sorted(measured) == list(range(990, 1000))


def test_a_closed_row_is_not_measured() -> None:
    values, is_open = np.arange(5.0), np.array([1, 1, 0, 1, 0], bool)

    def measure(rows: np.ndarray) -> np.ndarray:
        assert is_open[rows].all()
        return values[rows]

    greedy = LazyGreedy(values, measure)
    greedy.outdate()
    assert greedy.best(is_open) == (3, 3)


def test_no_rows_have_no_best() -> None:
    assert LazyGreedy(np.empty(0), lambda rows: rows).best(np.empty(0, bool)) is None
