from __future__ import annotations

import numpy as np
import pytest
import torch

from alwatch.pose_models.exported import ExportedModel
from alwatch.pose_models.signals import feature_vectors
from alwatch.pose_models.unet import UNet, UNetModel, _varied, export_unet, train_unet

SIZE = (64, 80)


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A red and a green disc on grey, and where they are."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([12, 12], [68, 52], (n, 2, 2))
    y, x = np.mgrid[:64, :80]
    frames = rng.integers(90, 130, (n, 64, 80, 3), dtype=np.uint8)
    for frame, places in zip(frames, points, strict=True):
        for channel, (px, py) in enumerate(places):
            inside = (x - px) ** 2 + (y - py) ** 2 < 25
            frame[inside] = 30
            frame[inside, channel] = 230
    return frames, points


@pytest.fixture(scope="module")
def network() -> UNet:
    frames, points = drawn(60, seed=0)
    return train_unet(frames, points, input_size_px=SIZE, steps=150, width=8, seed=1)


@pytest.fixture(scope="module")
def exported(network: UNet, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    path = tmp_path_factory.mktemp("unet") / "discs.yaml"
    export_unet(network, path, bodyparts=["red", "green"], input_size_px=SIZE)
    return ExportedModel(str(path), device="cpu")


def test_it_learns_to_find_discs_that_it_has_not_seen(exported: ExportedModel) -> None:
    frames, points = drawn(40, seed=99)
    found = exported.predict(frames, 16).poses[:, 0]
    distance_px = np.linalg.norm(found[..., :2] - points, axis=2)
    assert np.median(distance_px) < 1.5
    assert found[..., 2].mean() > 0.5


def test_the_same_seed_gives_the_same_network_and_another_another() -> None:
    frames, points = drawn(8, seed=0)

    def trained(seed: int) -> torch.Tensor:
        net = train_unet(frames, points, input_size_px=SIZE, steps=3, width=4, seed=seed)
        return torch.cat([p.flatten() for p in net.state_dict().values()])

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


def test_what_was_exported_gives_what_the_network_gives(
    network: UNet, exported: ExportedModel
) -> None:
    frames, _ = drawn(5, seed=3)
    (maps,) = exported.predict(frames, 2).maps
    with torch.no_grad():
        logits, _ = network(torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255)
    torch.testing.assert_close(maps.values, logits.sigmoid(), atol=1e-5, rtol=1e-5)


def test_a_network_at_hand_predicts_as_its_exported_file_does(
    network: UNet, exported: ExportedModel
) -> None:
    frames, _ = drawn(5, seed=3)
    ours = UNetModel(network, ["red", "green"]).predict(frames, 2)
    theirs = exported.predict(frames, 2)
    np.testing.assert_allclose(ours.poses, theirs.poses, atol=1e-3)
    np.testing.assert_allclose(
        feature_vectors(ours, SIZE), feature_vectors(theirs, SIZE), atol=1e-4
    )


def test_training_goes_on_from_a_network_and_leaves_it_alone(network: UNet) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    frames, points = drawn(8, seed=5)
    on = train_unet(
        frames, points, input_size_px=SIZE, steps=2, width=8, learning_rate=1e-5, start=network
    )
    anew = train_unet(frames, points, input_size_px=SIZE, steps=2, width=8, learning_rate=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    probe = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        known, close, far = (net(probe)[0].sigmoid() for net in (network, on, anew))
    assert (close - known).abs().mean() < (far - known).abs().mean() / 2


def test_points_move_with_their_image() -> None:
    """A bright dot, turned, scaled and shifted at random, lies where its point went."""
    images = torch.zeros(40, 3, 64, 80)
    points = torch.tensor([[[30.0, 20.0]]]).repeat(40, 1, 1)
    images[:, :, 19:22, 29:32] = 1.0
    turned, moved = _varied(images, points, torch.Generator().manual_seed(0))
    weight = (turned[:, 0] - turned[:, 0].amin((1, 2), keepdim=True)).clamp(min=0) ** 2
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(80.0), indexing="ij")
    total = weight.sum((1, 2))
    found = torch.stack([(weight * x).sum((1, 2)) / total, (weight * y).sum((1, 2)) / total], 1)
    torch.testing.assert_close(found, moved[:, 0], atol=0.25, rtol=0)


def test_bodyparts_without_a_label_are_not_learnt_from() -> None:
    frames, points = drawn(8, seed=0)
    points[:, 1] = np.nan
    net = train_unet(frames, points, input_size_px=SIZE, steps=3, width=4)
    assert all(torch.isfinite(p).all() for p in net.state_dict().values())


def test_a_size_that_does_not_halve_is_refused() -> None:
    frames, points = drawn(2, seed=0)
    with pytest.raises(ValueError, match="multiples of 16"):
        train_unet(frames, points, input_size_px=(60, 80), steps=1)
