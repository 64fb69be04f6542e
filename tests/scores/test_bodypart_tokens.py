"""Vectors from feature maps, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from alwatch.scores.bodypart_tokens import bodypart_vector


def unit(values: np.ndarray) -> np.ndarray:
    length = math.sqrt(float((values**2).sum()))
    return values / length if length else values


def plain_token(feature_map: np.ndarray, x: float, y: float, size: tuple[int, int]) -> np.ndarray:
    """Interpolate a map (c, h, w) at a pixel of the frame, by hand."""
    _, h, w = feature_map.shape
    column = min(max((x + 0.5) * w / size[1] - 0.5, 0), w - 1)
    row = min(max((y + 0.5) * h / size[0] - 0.5, 0), h - 1)
    left, top = int(column), int(row)
    right, bottom = min(left + 1, w - 1), min(top + 1, h - 1)
    across, down = column - left, row - top
    upper = (1 - across) * feature_map[:, top, left] + across * feature_map[:, top, right]
    lower = (1 - across) * feature_map[:, bottom, left] + across * feature_map[:, bottom, right]
    return (1 - down) * upper + down * lower


def plain_vector(
    feature_map: np.ndarray, xy: np.ndarray, confidence: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    around, total = np.zeros(len(feature_map)), 0.0
    for (x, y), weight in zip(xy, confidence, strict=True):
        if np.isfinite(x) and np.isfinite(y) and weight >= 0.1:
            around += min(weight, 1) * plain_token(feature_map, x, y, size)
            total += min(weight, 1)
    around = around / total if total else around
    return unit(np.concatenate([unit(feature_map.mean(axis=(1, 2))), unit(around)]))


def test_vectors_are_those_of_plain_loops() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((5, 6, 7, 9)).astype(np.float32)
    size = (120, 200)
    xy = rng.uniform(-20, 220, (5, 4, 2)).astype(np.float32)
    confidence = rng.uniform(0, 1.4, (5, 4)).astype(np.float32)
    xy[1, 2] = confidence[1, 2] = np.nan
    xy[2, 1] = np.nan
    confidence[3, 0] = np.nan
    confidence[4] = 0.05
    found = bodypart_vector(torch.from_numpy(features), xy, confidence, size)
    expected = [plain_vector(*row, size) for row in zip(features, xy, confidence, strict=True)]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_a_bodypart_in_a_cell_gets_that_cell() -> None:
    # 2 x 2 cells of 10 x 10 px; the middle of the lower left one is at x 4.5, y 14.5.
    features = torch.tensor([[[[1.0, 2.0], [4.0, 8.0]], [[0.0, 0.0], [3.0, 0.0]]]])
    vector = bodypart_vector(features, np.array([[[4.5, 14.5]]]), np.array([[1.0]]), (20, 20))
    around = vector[0, 2:] / vector[0, 2:].norm()
    np.testing.assert_allclose(around, [0.8, 0.6], rtol=1e-6)
    np.testing.assert_allclose(vector[0].norm(), 1, rtol=1e-6)
    np.testing.assert_allclose(vector[0, 2:].norm(), math.sqrt(0.5), rtol=1e-6)


def test_a_surer_bodypart_counts_more() -> None:
    features = torch.zeros(1, 2, 1, 2)
    features[0, 0, 0, 0] = features[0, 1, 0, 1] = 1.0
    places = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])
    vector = bodypart_vector(features, places, torch.tensor([[0.9, 0.3]]), (1, 2))
    assert float(vector[0, 2] / vector[0, 3]) == pytest.approx(3)


@pytest.mark.parametrize("confidence", [0.09, float("nan")])
def test_without_a_confident_bodypart_the_frame_alone_counts(confidence: float) -> None:
    features = torch.tensor([[[[3.0]], [[4.0]]]])
    vector = bodypart_vector(features, np.zeros((1, 1, 2)), np.array([[confidence]]), (8, 8))
    np.testing.assert_allclose(vector, [[0.6, 0.8, 0, 0]], rtol=1e-6)


def test_half_precision_maps_of_zeros_give_zeros() -> None:
    features = torch.zeros(2, 3, 4, 4, dtype=torch.float16)
    vector = bodypart_vector(features, np.zeros((2, 1, 2)), np.ones((2, 1)), (8, 8))
    assert vector.dtype == torch.float32
    assert not vector.any()


def test_no_frames_give_no_vectors() -> None:
    vector = bodypart_vector(torch.zeros(0, 3, 4, 4), np.zeros((0, 2, 2)), np.zeros((0, 2)), (8, 8))
    assert vector.shape == (0, 6)


def test_wrong_shapes_are_named() -> None:
    features = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"got \(2, 3, 4, 4\), \(2, 5, 2\) and \(2, 4\)"):
        bodypart_vector(features, np.zeros((2, 5, 2)), np.zeros((2, 4)), (8, 8))
    with pytest.raises(ValueError, match="same frames, got 2 and 1"):
        bodypart_vector(features, np.zeros((1, 5, 2)), np.zeros((1, 5)), (8, 8))
