from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from alwatch.embedders.hog import HogEmbedder
from alwatch.errors import SettingsError, WeightsError
from alwatch.simulate.features import embed, embedder_for, true_poses

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), np.uint8)


def test_images_of_any_size_are_brought_to_what_the_embedder_wants() -> None:
    embedder = embedder_for("hog", None, "cpu")
    assert embedder is not None
    large = np.repeat(np.repeat(IMAGES[:, :32, :32], 4, axis=1), 4, axis=2)
    np.testing.assert_array_equal(embed(embedder, large), HogEmbedder().embed(large))
    assert embed(embedder, IMAGES).shape == (3, embedder.identity.dim)


def test_true_poses_are_places_from_the_middle_of_the_frame() -> None:
    points_px = np.array([[[2, 1], [np.nan, np.nan]], [[0, 3], [4, 2]]], np.float32)
    # The middle of 3 x 5 pixels, counted from 0, is (2, 1).
    expected = [[0, 0, 0, 0], [-2, 2, 2, 1]]
    np.testing.assert_array_equal(true_poses(points_px, (3, 5)), expected)


def test_the_backbone_of_the_base_model_is_no_embedder() -> None:
    assert embedder_for("pose", None, "cpu") is None
    assert embedder_for("truth", None, "cpu") is None


def test_a_network_takes_the_weights_that_are_given(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.alexnet(weights=None)
    torch.save(network.state_dict(), tmp_path / "alexnet.pth")
    embedder = embedder_for("alexnet", str(tmp_path / "alexnet.pth"), "cpu")
    assert embedder is not None
    assert embed(embedder, IMAGES).shape == (3, 4096)


@pytest.mark.parametrize(
    ("features", "weights", "message"),
    [("hgo", None, "it must be pose, truth, hog"), ("hog", "x.pth", "hog takes no weights")],
)
def test_wrong_features_are_one_clear_line(
    features: str, weights: str | None, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        embedder_for(features, weights, "cpu")


def test_weights_that_are_not_there_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.pth"):
        embedder_for("alexnet", str(tmp_path / "gone.pth"), "cpu")
