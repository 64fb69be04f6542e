from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.simulate.measures import (
    area_under_curve,
    differences,
    holm,
    labels_needed,
    model_error,
    point_errors_px,
    reference_lengths_px,
)

NAN = float("nan")


def test_distances_are_those_to_labelled_points() -> None:
    found = np.array([[[3.0, 4.0], [1.0, 1.0]], [[NAN, NAN], [0.0, 0.0]]])
    truth = np.array([[[0.0, 0.0], [NAN, NAN]], [[6.0, 8.0], [0.0, 2.0]]])
    errors = point_errors_px(found, truth)
    # A point that the model does not give lies at the frame's first pixel, 10 from (6, 8).
    np.testing.assert_allclose(errors, [[5.0, NAN], [10.0, 2.0]])


def test_the_length_of_an_animal_is_its_videos_median_distance() -> None:
    truth = np.zeros((5, 2, 2))
    truth[:, 1, 0] = [1, 2, 9, 4, NAN]
    lengths = reference_lengths_px(truth, np.array([0, 0, 0, 1, 2]), (0, 1))
    # Video 2 has none of its own: the median of 2, 2, 2 and 4.
    assert lengths.tolist() == [2, 2, 2, 4, 2]


def test_bodyparts_that_are_never_labelled_together_are_no_reference() -> None:
    with pytest.raises(ValueError, match="never labelled together"):
        reference_lengths_px(np.full((2, 2, 2), NAN), np.zeros(2, np.int64), (0, 1))


def test_bodyparts_in_one_place_give_no_length() -> None:
    truth = np.zeros((4, 2, 2))
    truth[2:, 1, 0] = 5
    video = np.array([0, 0, 1, 1])
    assert reference_lengths_px(truth, video, (0, 1)).tolist() == [5, 5, 5, 5]
    with pytest.raises(ValueError, match="in two places"):
        reference_lengths_px(truth[:2], video[:2], (0, 1))


def test_with_one_bodypart_the_error_is_in_pixels_only() -> None:
    lengths = reference_lengths_px(np.ones((2, 1, 2)), np.zeros(2, np.int64), (0, 0))
    error = model_error(np.array([[1.0], [3.0]]), np.arange(2), lengths, pck_share=0.1)
    assert error.mean_px == 2.0
    assert math.isnan(error.normalised)
    assert math.isnan(error.pck)


def test_an_error_sums_up_points_and_names_the_worst_animal() -> None:
    errors = np.array([[1.0, 3.0], [NAN, 2.0], [6.0, NAN]])
    error = model_error(errors, np.array([0, 0, 1]), np.array([10.0, 10.0, 20.0]), pck_share=0.2)
    assert error.mean_px == pytest.approx(3.0)  # (1 + 3 + 2 + 6) / 4
    assert error.rmse_px == pytest.approx(math.sqrt(50 / 4))  # 1 + 9 + 4 + 36
    assert error.normalised == pytest.approx(0.225)  # (.1 + .3 + .2 + .3) / 4
    assert error.pck == pytest.approx(0.5)  # .1 and .2 of the four
    assert error.worst_individual_px == pytest.approx(6.0)  # animal 0 has 2
    assert error.individuals_px == pytest.approx(4.0)


def test_the_area_is_the_mean_height_over_the_logarithm() -> None:
    # From 1 to 10 it falls from 4 to 2, from 10 to 100 from 2 to 0: means 3 and 1.
    assert area_under_curve([1, 10, 100], [4, 2, 0]) == pytest.approx(2.0)
    assert area_under_curve([5], [7.0]) == 7.0
    assert area_under_curve([5, 5], [7.0, 9.0]) == 8.0  # budgets beyond the pool


def test_labels_needed_are_read_off_between_two_budgets() -> None:
    # Half way down from 10 to 1000 labels lies 100, on the logarithm.
    assert labels_needed([10, 1000], [4.0, 2.0], 3.0) == pytest.approx(100)
    assert labels_needed([10, 1000], [4.0, 2.0], 4.5) == pytest.approx(10)
    assert labels_needed([10, 1000], [4.0, 2.0], 1.0) == math.inf


def test_a_curve_that_rises_by_chance_is_taken_for_flat() -> None:
    # 3 and 4 are pooled to 3.5, so 3.5 is reached at 10 and 2 at 1000.
    assert labels_needed([10, 100, 1000], [3.0, 4.0, 2.0], 3.5) == pytest.approx(10)


def test_holms_correction_is_that_of_a_worked_example() -> None:
    # Sorted .01 * 4, .02 * 3, .03 * 2 (not below .06), .04 (not below .06).
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_corrected_p_values_are_no_smaller_and_keep_their_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(c >= p and c <= 1 for c, p in zip(corrected, p_values, strict=True))
    assert np.argsort(corrected, kind="stable")[0] in np.flatnonzero(
        np.isclose(corrected, min(corrected))
    )


def test_a_strategy_that_is_always_better_is_told_from_one_that_is_not() -> None:
    rng = np.random.default_rng(0)
    stride = rng.normal(10, 2, 12)
    found = differences(
        {
            "stride": stride,
            "better": stride - 1 - 0.1 * rng.random(12),
            "same": stride + rng.normal(0, 1, 12),
        },
        "stride",
        np.random.default_rng(1),
    )
    assert found.keys() == {"better", "same"}
    assert found["better"].high < 0
    assert found["better"].p == pytest.approx(2 / 2**12)  # all twelve pairs of one sign
    assert found["better"].p_holm == pytest.approx(2 * found["better"].p)
    assert found["same"].low < 0 < found["same"].high
    assert found["same"].p_holm >= found["same"].p


def test_a_strategy_that_equals_the_baseline_does_not_differ() -> None:
    values = np.array([1.0, 2.0, 3.0])
    same = differences({"a": values, "b": values.copy()}, "a", np.random.default_rng(0))["b"]
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
