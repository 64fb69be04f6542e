"""Rows of highest score, and farthest-first among some rows."""

from __future__ import annotations

import numpy as np
import pytest

from alwatch.strategies.candidates import farthest, highest, nearest_to_mean, vectors_of
from alwatch.strategies.pool import Limits
from alwatch.strategies.selection import Selection
from alwatch.strategies.turns import take_from
from tests.strategies.pools import make_pool, on_circle, with_taken

NAN = float("nan")


def test_the_highest_are_given_in_order_of_row_and_unknown_ones_only_for_want_of_others() -> None:
    rows, scores = np.array([2, 5, 7, 9]), np.array([0.1, NAN, 0.9, 0.5])
    rng = np.random.default_rng(0)
    assert highest(rows, scores, 2, rng).tolist() == [7, 9]
    assert highest(rows, scores, 3, rng).tolist() == [2, 7, 9]
    assert highest(rows, scores, 9, rng).tolist() == [2, 5, 7, 9]


def test_equals_are_drawn_by_lot() -> None:
    rows, scores = np.arange(5), np.array([1.0, 0, 0, 0, NAN])
    drawn = {tuple(highest(rows, scores, 2, np.random.default_rng(s)).tolist()) for s in range(40)}
    assert drawn == {(0, 1), (0, 2), (0, 3)}


def test_only_the_given_rows_are_considered_and_picks_of_others_count_as_known() -> None:
    selection = Selection(with_taken(make_pool(on_circle([0, 40, 90, 100, 180])), [0]), Limits(), 9)
    among = np.array([1, 2, 3])
    candidates = farthest(selection, among)
    row, distance, reason = next(candidates)
    assert (row, distance) == (3, pytest.approx(2 * np.sin(np.radians(50))))
    assert reason == "1.53 from the nearest labelled or queued frame"
    selection.take(row, distance, reason)
    selection.take(4, 0.0, "by someone else")
    # Row 1 is 40 from the labelled one, row 2 10 from the pick.
    take_from(selection, candidates)
    assert selection.picks().rows.tolist() == [3, 4, 1, 2]


def test_with_nothing_known_it_starts_from_the_middle_of_the_rows() -> None:
    selection = Selection(make_pool(on_circle([0, 10, 20, 180])), Limits(), 2)
    take_from(selection, farthest(selection, np.arange(3)))
    assert selection.picks().rows.tolist() == [1, 0]
    assert "from the mean of its like" in selection.picks().reasons[0]


def test_no_rows_or_no_open_ones_give_no_candidates() -> None:
    pool = make_pool(on_circle([0, 10]))
    selection = Selection(pool, Limits(), 2)
    assert list(farthest(selection, np.empty(0, np.int64))) == []
    assert list(farthest(Selection(with_taken(pool, [0, 1]), Limits(), 2), np.arange(2))) == []


def test_the_row_nearest_to_the_mean_is_found_in_chunks_too() -> None:
    # 6001 directions over 60 degrees: the middle one points as the mean does, whose length is
    # sin(30 degrees) / (30 degrees in radians) = 0.955.
    selection = Selection(make_pool(on_circle(np.linspace(0, 60, 6001))), Limits(), 1)
    row, distance = nearest_to_mean(selection, np.arange(6001))
    assert row == pytest.approx(3000, abs=20)  # float32 does not tell the nearest ones apart
    assert distance == pytest.approx(0.045, abs=0.001)


def test_vectors_are_read_by_places_among_the_rows() -> None:
    selection = Selection(make_pool(2 * on_circle([0, 90, 180])), Limits(), 1)
    vectors = vectors_of(selection, np.array([2, 0]))
    np.testing.assert_allclose(vectors(slice(0, 1)), [[-1, 0]], atol=1e-6)
    np.testing.assert_allclose(vectors(np.array([1, 0])), [[1, 0], [-1, 0]], atol=1e-6)
