from __future__ import annotations

import numpy as np
import pytest

from alwatch.scores.aggregation import aggregate

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
