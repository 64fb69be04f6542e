"""Where the peak of a score map lies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alwatch.pose_models.decode_maps import poses_from_maps


def blob(x: float, y: float, sigma: float = 1.5, shape: tuple[int, int] = (20, 24)) -> Tensor:
    rows, columns = torch.arange(shape[0])[:, None], torch.arange(shape[1])[None]
    return torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))


@settings(max_examples=60, deadline=None)
@given(x=st.floats(1, 22), y=st.floats(1, 18), sigma=st.floats(0.8, 3), height=st.floats(0.05, 1))
def test_a_gaussian_blob_is_found_within_a_tenth_of_a_cell(
    x: float, y: float, sigma: float, height: float
) -> None:
    maps = height * blob(x, y, sigma)[None, None]
    ((found,),) = poses_from_maps(maps, stride=1, offset_px=0)
    assert abs(found[0] - x) < 0.1
    assert abs(found[1] - y) < 0.1
    assert height * 0.6 < found[2] <= height + 1e-6


def test_noise_under_a_blob_moves_it_by_less_than_a_tenth_of_a_cell() -> None:
    rng = torch.Generator().manual_seed(0)
    maps = blob(10.3, 7.8)[None, None] + 0.01 * torch.rand(200, 1, 20, 24, generator=rng)
    found = poses_from_maps(maps, stride=1, offset_px=0)[:, 0]
    assert float((found[:, 0] - 10.3).abs().max()) < 0.1
    assert float((found[:, 1] - 7.8).abs().max()) < 0.1


def test_cells_become_pixels_by_stride_and_offset() -> None:
    maps = torch.zeros(1, 1, 5, 6)
    maps[0, 0, 2, 4] = 1.0  # column 4 -> 4 * 8 + 3.5, row 2 -> 2 * 8 + 3.5
    poses = poses_from_maps(maps, stride=8, offset_px=3.5)
    np.testing.assert_allclose(poses, [[[35.5, 19.5, 1.0]]])


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 5), (4, 0), (4, 5), (0, 3), (2, 5)])
def test_a_peak_on_the_border_stays_on_its_cell_across_it(row: int, column: int) -> None:
    maps = blob(column, row, shape=(5, 6))[None, None]
    ((found,),) = poses_from_maps(maps, stride=1, offset_px=0)
    np.testing.assert_allclose(found, [column, row, 1.0], atol=1e-5)


def test_of_two_equal_neighbours_the_place_between_them_is_taken() -> None:
    maps = torch.zeros(1, 1, 5, 6)
    maps[0, 0, 2, 2:4] = 0.7
    ((found,),) = poses_from_maps(maps, stride=1, offset_px=0)
    np.testing.assert_allclose(found, [2.5, 2, 0.7], atol=1e-6)


def test_an_empty_map_has_no_peak() -> None:
    maps = torch.stack([torch.zeros(5, 6), blob(2, 3, shape=(5, 6))])[None]
    poses = poses_from_maps(maps, stride=2, offset_px=0.5)
    assert torch.isnan(poses[0, 0]).all()
    np.testing.assert_allclose(poses[0, 1], [4.5, 6.5, 1.0], atol=1e-5)


def test_a_peak_above_one_counts_as_one() -> None:
    poses = poses_from_maps(3 * blob(5, 5)[None, None], stride=1, offset_px=0)
    assert float(poses[0, 0, 2]) == 1.0


def test_each_map_of_a_batch_is_read_by_itself() -> None:
    places = [[(3.2, 4.0), (10.0, 8.4)], [(20.1, 15.5), (6.6, 2.2)], [(1.3, 17.7), (12.5, 9.5)]]
    maps = torch.stack([torch.stack([blob(x, y) for x, y in frame]) for frame in places])
    poses = poses_from_maps(maps, stride=1, offset_px=0)
    assert poses.shape == (3, 2, 3)
    assert poses.dtype == torch.float32
    np.testing.assert_allclose(poses[..., :2], places, atol=0.01)


def test_a_map_of_one_cell_is_read() -> None:
    poses = poses_from_maps(torch.full((1, 1, 1, 1), 0.5), stride=4, offset_px=1.5)
    np.testing.assert_allclose(poses, [[[1.5, 1.5, 0.5]]])
