from __future__ import annotations

import numpy as np
import pytest

from alwatch.scores.aggregation import (
    aggregate,
    doubts_per_bodypart,
    frame_scores,
    rank_correlation,
    trust,
)

VALUES = np.array([[0.1, 0.9, 0.5, 0.3, 0.7], [0.2, np.nan, np.nan, np.nan, np.nan]])


@pytest.mark.parametrize(
    ("how", "expected"),
    [("top_quarter", [0.8, 0.2]), ("max", [0.9, 0.2]), ("mean", [0.5, 0.2])],
)
def test_each_way_by_hand(how: str, expected: list[float]) -> None:
    """A quarter of five bodyparts, rounded up, is two."""
    np.testing.assert_allclose(aggregate(VALUES, how), expected, rtol=1e-6)  # type: ignore[arg-type]


def test_a_frame_of_which_nothing_is_known_stays_unknown() -> None:
    assert np.isnan(aggregate(np.full((1, 3), np.nan))).all()


def test_the_quarter_is_of_the_bodyparts_that_are_known() -> None:
    values = np.array([[1.0, 0.0, 0.0, 0.0, np.nan, np.nan, np.nan, np.nan]])
    np.testing.assert_allclose(aggregate(values), [1.0])


def test_no_frames_give_no_values() -> None:
    assert aggregate(np.empty((0, 4))).shape == (0,)


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ValueError, match="top_quarter, max or mean"):
        aggregate(VALUES, "median")  # type: ignore[arg-type]


def test_doubt_is_what_is_missing_to_certainty_and_an_absent_bodypart_has_no_entropy() -> None:
    signals = {
        "confidence": np.array([[0.75, 1.0]], np.float32),
        "mpe": np.array([[0.0, 0.5]], np.float32),
        "absent": np.array([[1.0, 0.0]], np.float32),
        "learned_loss": np.array([2.0], np.float32),
        "presence": np.array([0.5], np.float32),
    }
    np.testing.assert_array_equal(doubts_per_bodypart(signals, "confidence"), [[0.25, 0.0]])
    np.testing.assert_array_equal(doubts_per_bodypart(signals, "mpe"), [[np.nan, 0.5]])
    scores = {name: values.tolist() for name, values in frame_scores(signals).items()}
    assert scores == {"mpe": [0.5], "confidence": [0.25], "learned_loss": [2.0], "presence": [0.5]}


def test_trust_is_the_rank_correlation_shrunk_by_how_few_frames_prove_it() -> None:
    error_px = np.arange(20.0)
    assert trust(error_px**2, error_px) == pytest.approx(0.5)  # 1 * 20 / 40
    assert trust(-error_px, error_px) == 0
    assert trust(np.arange(1000.0), np.arange(1000.0)) == 0.7
    assert trust(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 0
    assert trust(np.ones(9), np.arange(9.0)) == 0
    known = np.array([0.0, 1, np.nan, 2])
    # Three known pairs in the same order: 1 * 3 / 23.
    assert trust(known, np.array([5.0, 6, 7, 8])) == pytest.approx(3 / 23)


def test_a_rank_correlation_by_hand_and_where_there_is_none() -> None:
    doubt = np.array([0.1, 0.2, 0.3, np.nan, 0.4])
    assert rank_correlation(doubt, np.array([1, 2, 4, 9, 3])) == pytest.approx(0.8)
    assert rank_correlation(doubt[:2], np.array([1.0, 2.0])) is None
    assert rank_correlation(doubt, np.ones(5)) is None
