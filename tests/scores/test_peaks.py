from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter
from skimage.feature import peak_local_max

from alwatch.scores.peaks import Peaks, find_peaks
from tests.scores.peaks_reference import plain_peaks

ABOVE_ZERO = {"threshold_abs": 0.0, "threshold_rel": 0.0, "max_peaks": 5}


def peaks_of(values: object, **more: object) -> list[tuple[float, int, int]]:
    """(height, row, column) of one map's peaks."""
    rules = {"min_distance_px": 2, **ABOVE_ZERO} | more
    found = find_peaks(torch.tensor(values, dtype=torch.float32), **rules)  # type: ignore[arg-type]
    return listed(found)


def listed(found: Peaks) -> list[tuple[float, int, int]]:
    rows = zip(found.values.tolist(), found.rows.tolist(), found.columns.tolist(), strict=True)
    peaks = [(v, r, c) for v, r, c in rows if r >= 0]
    assert len(peaks) == int(found.count)
    return peaks


def spots(*cells: tuple[int, int, float], size: int = 12) -> np.ndarray:
    values = np.zeros((size, size), np.float32)
    for row, column, height in cells:
        values[row, column] = height
    return values


def test_the_peaks_come_by_height() -> None:
    found = peaks_of(spots((2, 2, 0.5), (8, 3, 1.0), (5, 9, 0.75)))
    assert found == [(1.0, 8, 3), (0.75, 5, 9), (0.5, 2, 2)]


def test_a_map_of_zeros_has_no_peak_and_nor_has_one_that_is_the_same_everywhere() -> None:
    assert peaks_of(np.zeros((6, 6))) == []
    assert peaks_of(np.full((6, 6), 0.8)) == []


def test_a_negative_map_has_no_peak_above_zero() -> None:
    assert peaks_of(spots((3, 3, 2.0)) - 5) == []


@pytest.mark.parametrize("corner", [(0, 0), (0, 11), (11, 0), (11, 11), (0, 5), (5, 11)])
def test_a_peak_on_the_border_is_found(corner: tuple[int, int]) -> None:
    assert peaks_of(spots((*corner, 1.0))) == [(1.0, *corner)]


def test_a_border_can_be_left_out() -> None:
    values = spots((1, 5, 1.0), (2, 8, 0.5))
    assert peaks_of(values, exclude_border_px=2) == [(0.5, 2, 8)]


def test_a_plateau_is_one_peak_its_first_cell() -> None:
    values = np.zeros((12, 12))
    values[4:10, 3:9] = 0.5
    assert peaks_of(values) == [(0.5, 4, 3)]


def test_a_winding_plateau_is_one_peak() -> None:
    values = np.zeros((12, 12))
    values[2, 1:10] = values[2:10, 10] = values[10, 1:10] = 1.0
    values[9, 11] = 1.0
    assert peaks_of(values) == [(1.0, 2, 1)]


def test_two_plateaus_in_neighbouring_maps_stay_two() -> None:
    """The end of one map lies beside the start of the next in memory."""
    values = torch.zeros(2, 4, 4)
    values[0, 3, 3] = values[1, 0, 0] = 1.0
    found = find_peaks(values, min_distance_px=1, **ABOVE_ZERO)  # type: ignore[arg-type]
    assert found.count.tolist() == [1, 1]


def test_a_plateau_does_not_go_round_the_edge() -> None:
    values = spots((4, 11, 1.0), (5, 0, 1.0))
    assert peaks_of(values) == [(1.0, 4, 11), (1.0, 5, 0)]


def test_equal_peaks_come_in_reading_order_and_keep_their_distance() -> None:
    values = spots((2, 2, 1.0), (2, 4, 1.0), (2, 6, 1.0), (9, 1, 1.0))
    assert [cell[1:] for cell in peaks_of(values, min_distance_px=2)] == [
        (2, 2), (2, 4), (2, 6), (9, 1),
    ]  # fmt: skip
    assert [cell[1:] for cell in peaks_of(values, min_distance_px=3)] == [(2, 2), (2, 6), (9, 1)]


def test_a_shoulder_within_the_distance_is_no_peak() -> None:
    values = spots((5, 5, 1.0), (5, 7, 0.9))
    assert peaks_of(values, min_distance_px=2) == [(1.0, 5, 5)]
    assert len(peaks_of(values, min_distance_px=1)) == 2


def test_a_peak_must_be_above_both_thresholds() -> None:
    values = spots((2, 2, 1.0), (8, 8, 0.1), (2, 9, 0.05))
    assert len(peaks_of(values, threshold_abs=0.05)) == 2
    assert len(peaks_of(values, threshold_abs=0.1)) == 1
    assert len(peaks_of(values, threshold_rel=0.06)) == 2


def test_each_map_has_a_threshold_of_its_own() -> None:
    """Above a tenth of 1.0 only one; above a tenth of 0.2, though in the same row, both."""
    maps = torch.from_numpy(
        np.stack([spots((2, 2, high), (2, 9, 0.06)) for high in (1.0, 0.2, 1.0)])
    )
    rules = {"min_distance_px": 2, "threshold_abs": 0.0, "threshold_rel": 0.1, "max_peaks": 5}
    assert find_peaks(maps, **rules).count.tolist() == [1, 2, 1]  # type: ignore[arg-type]
    assert find_peaks(maps[1:], **rules).count.tolist() == [2, 1]  # type: ignore[arg-type]


def test_no_more_peaks_than_asked_for() -> None:
    values = spots(*((r, c, r + c + 1.0) for r in (1, 5, 9) for c in (1, 5, 9)))
    assert len(peaks_of(values, max_peaks=4)) == 4
    assert len(peaks_of(values, max_peaks=50)) == 9


def test_equal_peaks_fill_the_places_before_lower_ones_do() -> None:
    """Of three equal peaks two cells apart, the middle one is too near; the fourth moves up."""
    values = spots((2, 2, 1.0), (2, 4, 1.0), (2, 6, 1.0), (9, 1, 0.5), (9, 9, 0.3))
    assert peaks_of(values, min_distance_px=3, max_peaks=3) == [
        (1.0, 2, 2), (1.0, 2, 6), (0.5, 9, 1),
    ]  # fmt: skip


def test_maps_on_their_way_through_training_have_peaks_too() -> None:
    values = torch.from_numpy(spots((2, 2, 1.0))).requires_grad_()
    found = find_peaks(values, min_distance_px=2, **ABOVE_ZERO)  # type: ignore[arg-type]
    assert listed(found) == [(1.0, 2, 2)]


def test_many_maps_are_as_each_alone() -> None:
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(rng.random((3, 4, 9, 7), np.float32))
    together = find_peaks(maps, min_distance_px=2, **ABOVE_ZERO)  # type: ignore[arg-type]
    assert together.values.shape == (3, 4, 5)
    assert together.count.shape == (3, 4)
    for i in range(3):
        for j in range(4):
            alone = find_peaks(maps[i, j], min_distance_px=2, **ABOVE_ZERO)  # type: ignore[arg-type]
            torch.testing.assert_close(together.values[i, j], alone.values)
            assert torch.equal(together.rows[i, j], alone.rows)


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 0, 8, 8)])
def test_no_maps_have_no_peaks(shape: tuple[int, ...]) -> None:
    found = find_peaks(torch.zeros(shape), min_distance_px=2, **ABOVE_ZERO)  # type: ignore[arg-type]
    assert found.values.shape == (*shape[:2], 5)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_map_with_a_hole_of_nan_or_infinity_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="must not hold NaN or infinity"):
        peaks_of(spots((3, 3, float(value)), (8, 8, 1.0)))


def test_logarithms_of_nothing_are_lower_than_all() -> None:
    assert peaks_of(
        np.log(spots((3, 3, 2.0)), where=spots((3, 3, 2.0)) > 0, out=np.full((12, 12), -np.inf))
    ) == [(pytest.approx(np.log(2)), 3, 3)]


def test_so_many_maps_that_they_are_taken_in_pieces_are_as_each_alone() -> None:
    """Two thousand maps of 20 x 20 cells, most rows of which rise above the threshold."""
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(rng.random((2000, 20, 20), np.float32))
    together = find_peaks(maps, min_distance_px=2, **ABOVE_ZERO)  # type: ignore[arg-type]
    for i in range(0, 2000, 37):
        alone = find_peaks(maps[i], min_distance_px=2, **ABOVE_ZERO)  # type: ignore[arg-type]
        assert listed(alone) == [
            (v, r, c)
            for v, r, c in zip(
                together.values[i].tolist(), together.rows[i].tolist(),
                together.columns[i].tolist(), strict=True,
            )
        ]  # fmt: skip


def test_maps_without_cells_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(3, 0, 4\)"):
        peaks_of(np.zeros((3, 0, 4)))


def test_a_distance_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        peaks_of(np.zeros((4, 4)), min_distance_px=0)


@settings(max_examples=150, deadline=None)
@given(
    values=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
        elements=st.sampled_from([-1.0, 0.0, 0.04, 0.05, 0.3, 0.5, 1.0]),
    ),
    distance=st.integers(1, 4),
    most=st.integers(1, 6),
)
def test_peaks_are_those_of_plain_loops(values: np.ndarray, distance: int, most: int) -> None:
    found = find_peaks(
        torch.from_numpy(values), min_distance_px=distance, threshold_abs=0.05,
        threshold_rel=0.1, max_peaks=most,
    )  # fmt: skip
    plain = plain_peaks(values, distance=distance, lowest=0.05, share=0.1, most=most)
    assert listed(found) == [pytest.approx(peak) for peak in plain]


@settings(max_examples=150, deadline=None)
@given(
    cells=st.lists(
        st.tuples(
            st.sampled_from([0, 1, 2, 38, 39]),
            st.sampled_from([0, 1, 2, 58, 59]),
            st.sampled_from([0.04, 0.05, 0.3, 0.5, 1.0]),
        ),
        min_size=4,
        max_size=12,
    ),
    distance=st.integers(1, 4),
    most=st.integers(1, 6),
)  # fmt: skip
@example(cells=[(0, 2, 1.0), (1, 0, 0.5)], distance=2, most=5)
@example(cells=[(39, 57, 1.0), (38, 59, 0.5)], distance=2, most=5)
def test_peaks_of_maps_that_are_mostly_background_are_those_of_plain_loops(
    cells: list[tuple[int, int, float]], distance: int, most: int
) -> None:
    values = np.zeros((40, 60), np.float32)
    for row, column, height in cells:
        values[row, column] = height
    found = find_peaks(
        torch.from_numpy(values), min_distance_px=distance, threshold_abs=0.05,
        threshold_rel=0.1, max_peaks=most,
    )  # fmt: skip
    plain = plain_peaks(values, distance=distance, lowest=0.05, share=0.1, most=most)
    assert listed(found) == [pytest.approx(peak) for peak in plain]


@pytest.mark.parametrize("seed", range(60))
def test_with_scikit_images_rules_the_peaks_are_scikit_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(rng.integers(5, 40, 2)).astype(np.float32)
    if seed % 3:
        values = 4 * gaussian_filter(values, 1 + seed % 4 / 2)
    if seed % 4 == 0:
        values = np.round(values * 2) / 2  # plateaus
    distance = 1 + seed % 4
    theirs = peak_local_max(values, min_distance=distance, threshold_abs=0, num_peaks=5)
    ours = peaks_of(
        values, min_distance_px=distance, exclude_border_px=distance, merge_plateaus=False
    )
    assert [cell[1:] for cell in ours] == [tuple(cell) for cell in theirs.tolist()]
