from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from alwatch.embedders._weights import hash_weights, load_weights_file
from alwatch.errors import WeightsError

ORIGIN = "the shop around the corner"


def small_network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))


def load(path: Path, sha256: str | None = None) -> nn.Module:
    network = small_network()
    load_weights_file(network, path, model="tiny", sha256=sha256, origin=ORIGIN)
    return network


def refusal(path: Path, sha256: str | None = None) -> str:
    with pytest.raises(WeightsError) as caught:
        load(path, sha256)
    return str(caught.value)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.pth"
    torch.save(small_network(seed=1).state_dict(), path)
    return path


def test_a_file_that_fits_is_loaded(good: Path) -> None:
    assert hash_weights(load(good)) == hash_weights(small_network(seed=1))
    assert hash_weights(load(good)) != hash_weights(small_network())


def test_the_right_sum_is_accepted_in_either_case(good: Path) -> None:
    sha256 = hashlib.sha256(good.read_bytes()).hexdigest()
    load(good, sha256)
    load(good, sha256.upper())


def test_a_wrong_sum_is_refused_with_both_sums(good: Path) -> None:
    message = refusal(good, "0" * 64)
    assert "0" * 64 in message
    assert hashlib.sha256(good.read_bytes()).hexdigest() in message
    assert str(good) in message
    assert "embedding.weights_sha256" in message


def test_half_precision_weights_are_loaded_as_single_precision(tmp_path: Path) -> None:
    halves = {name: t.half() for name, t in small_network(seed=1).state_dict().items()}
    torch.save(halves, tmp_path / "half.pth")
    loaded = load(tmp_path / "half.pth").state_dict()
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32}


def test_a_missing_file_is_named_with_its_source_and_the_settings(tmp_path: Path) -> None:
    message = refusal(tmp_path / "gone.pth")
    for part in (str(tmp_path / "gone.pth"), ORIGIN, "embedding.weights", "embedding.model: hog"):
        assert part in message


def test_a_folder_is_not_a_weight_file(tmp_path: Path) -> None:
    assert "cannot be read (Is a directory)" in refusal(tmp_path)


def test_an_unknown_kind_of_file_is_refused(good: Path) -> None:
    message = refusal(good.rename(good.with_suffix(".bin")))
    assert "must end in .safetensors, .pth or .pt" in message


class Payload:
    """Makes a folder when unpickled, as an attacker's file might do worse."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, suffix: str) -> None:
    path, made = tmp_path / f"evil{suffix}", tmp_path / "made"
    torch.save(small_network().state_dict() | {"extra": Payload(made)}, path)
    assert "it was not loaded, because that could run code" in refusal(path)
    assert not made.exists()


def test_a_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(small_network(), tmp_path / "network.pth")
    assert "more than tensors" in refusal(tmp_path / "network.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"cut{suffix}"
    if suffix == ".pth":
        torch.save(small_network().state_dict(), path)
    else:
        safetensors.torch.save_file(small_network().state_dict(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    message = refusal(path)
    assert str(path) in message
    assert ORIGIN in message


def test_missing_unknown_and_reshaped_tensors_are_all_named(tmp_path: Path) -> None:
    state_dict = small_network().state_dict()
    del state_dict["1.bias"]
    state_dict["0.weight"] = torch.zeros(4, 5)
    state_dict |= {f"extra.{i}": torch.zeros(1) for i in range(5)}
    torch.save(state_dict, tmp_path / "other.pth")
    message = refusal(tmp_path / "other.pth")
    assert f"the weights in {tmp_path / 'other.pth'} do not fit tiny" in message
    assert "found 8 tensors, expected 4" in message
    assert "missing: 1.bias;" in message
    assert "unknown: extra.0, extra.1, extra.2 and 2 more;" in message
    assert "of another shape: 0.weight is (4, 5), not (4, 3)." in message


@pytest.mark.parametrize("nesting", ["teacher", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_the_wrappings_of_releases_and_checkpoints_are_taken_off(
    tmp_path: Path, nesting: str, prefix: str
) -> None:
    wrapped = {prefix + name: t for name, t in small_network(seed=1).state_dict().items()}
    wrapped[prefix + "mask_token"] = torch.zeros(1, 4)
    if "backbone" in prefix:
        wrapped[prefix.replace("backbone", "dino_head") + "mlp.0.weight"] = torch.zeros(5, 4)
    torch.save({nesting: wrapped, "epoch": 100}, tmp_path / "checkpoint.pth")
    assert hash_weights(load(tmp_path / "checkpoint.pth")) == hash_weights(small_network(seed=1))


def test_a_head_beside_a_bare_network_does_not_fit(tmp_path: Path) -> None:
    state_dict = small_network().state_dict() | {"head.weight": torch.zeros(1000, 4)}
    torch.save(state_dict, tmp_path / "classifier.pth")
    assert "unknown: head.weight." in refusal(tmp_path / "classifier.pth")


@pytest.mark.parametrize("content", [[torch.zeros(2)], torch.zeros(3), 7])
def test_a_file_without_named_tensors_does_not_fit(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "list.pth")
    assert "found 0 tensors, expected 4" in refusal(tmp_path / "list.pth")


def test_a_number_in_the_place_of_a_tensor_does_not_fit(tmp_path: Path) -> None:
    torch.save(small_network().state_dict() | {"0.bias": 5}, tmp_path / "number.pth")
    assert "0.bias is int, not (4,)" in refusal(tmp_path / "number.pth")
