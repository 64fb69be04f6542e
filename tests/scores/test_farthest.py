"""The lazy farthest-first traversal against the plain one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.scores.farthest import FarthestFirst


def plain_greedy(rows: np.ndarray, known: np.ndarray, closings: list[set[int]]) -> list[int]:
    """Compare every row with every pick; ties go to the lowest row."""
    squares = ((rows[:, None].astype(float) - known[None]) ** 2).sum(axis=2).min(axis=1)
    is_open, picks = np.ones(len(rows), bool), []
    for closing in closings:
        if not is_open.any():
            break
        row = int(np.where(is_open, squares, -1).argmax())
        picks.append(row)
        squares = np.minimum(squares, ((rows.astype(float) - rows[row]) ** 2).sum(axis=1))
        is_open[[row, *closing]] = False
    return picks


def lazy_greedy(
    rows: np.ndarray, known: np.ndarray, closings: list[set[int]], **sizes: int
) -> list[int]:
    traversal = FarthestFirst(rows.__getitem__, len(rows), known, **sizes)
    is_open, picks = np.ones(len(rows), bool), []
    for closing in closings:
        found = traversal.farthest(is_open)
        if found is None:
            break
        picks.append(found[0])
        traversal.add(rows[found[0]])
        is_open[[found[0], *closing]] = False
    return picks


@given(st.data())
def test_its_picks_are_those_of_the_plain_greedy_algorithm_ties_included(
    data: st.DataObject,
) -> None:
    n = data.draw(st.integers(1, 60), "rows")
    width = data.draw(st.integers(1, 3), "width")
    rng = np.random.default_rng(data.draw(st.integers(0, 1000), "seed"))
    # Small whole numbers: exact in float32, and full of ties.
    rows = rng.integers(-6, 7, (n, width)).astype(np.float32)
    known = rng.integers(-6, 7, (data.draw(st.integers(1, 9)), width)).astype(np.float32)
    closing = st.sets(st.integers(0, n - 1), max_size=data.draw(st.integers(0, 6)))
    closings = data.draw(st.lists(closing, min_size=1, max_size=n + 2), "closings")
    block, known_chunk = data.draw(st.integers(1, 16)), data.draw(st.integers(1, 8))
    found = lazy_greedy(rows, known, closings, block=block, known_chunk=known_chunk)
    assert found == plain_greedy(rows, known, closings)


@pytest.mark.parametrize("kind", ["gaussian", "clustered", "walk", "line"])
def test_every_pick_is_the_farthest_of_all(kind: str) -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((6000, 16))
    if kind == "clustered":
        rows = 0.1 * rows + rng.standard_normal((20, 16))[rng.integers(0, 20, 6000)]
    elif kind == "walk":
        rows = rows.reshape(6, 1000, 16).cumsum(axis=1).reshape(6000, 16) / 30
    elif kind == "line":
        rows = rng.uniform(0, 1, (6000, 1)) * np.ones(16)
    vectors = rows.astype(np.float32)
    picks = lazy_greedy(vectors, vectors[:1], [set()] * 150, block=256)
    nearest = np.linalg.norm(vectors - vectors[0], axis=1)
    for row in picks:
        assert nearest[row] >= nearest.max() - 1e-3
        nearest = np.minimum(nearest, np.linalg.norm(vectors - vectors[row], axis=1))
    assert len(set(picks)) == 150


@pytest.mark.parametrize("nearer", [0, 8])
def test_its_picks_are_the_same_where_every_16th_row_is_unlike_the_others(nearer: int) -> None:
    rows = np.random.default_rng(5).integers(-9, 10, (800, 3)).astype(np.float32)
    rows[nearer::16] //= 4
    expected = plain_greedy(rows, rows[:1], [set()] * 40)
    assert lazy_greedy(rows, rows[:1], [set()] * 40, block=64) == expected


def test_it_tells_the_distance() -> None:
    rows = np.array([[0, 0], [3, 4], [1, 0]], dtype=np.float32)
    traversal = FarthestFirst(rows.__getitem__, 3, rows[:1])
    assert traversal.farthest(np.ones(3, bool)) == (1, 5.0)
    assert traversal.farthest(np.array([True, False, True])) == (2, 1.0)
    assert traversal.farthest(np.zeros(3, bool)) is None


def test_no_rows_have_no_farthest() -> None:
    rows = np.empty((0, 2), dtype=np.float32)
    traversal = FarthestFirst(rows.__getitem__, 0, np.zeros((1, 2), np.float32))
    assert traversal.farthest(np.empty(0, bool)) is None


def test_it_must_start_from_something() -> None:
    rows = np.zeros((3, 2), dtype=np.float32)
    with pytest.raises(ValueError, match="at least one known row"):
        FarthestFirst(rows.__getitem__, 3, rows[:0])
