from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms
from torchvision.models import AlexNet_Weights

from alwatch.embedders.networks import DINO_MODELS, AlexNetEmbedder, DinoEmbedder
from alwatch.errors import AlwatchError, SettingsError, WeightsError
from tests.embedders.conftest import ReadFrames
from tests.embedders.weight_files import TIMM_NAMES, bare_network, small_state_dict

FLIES = "flies-dlc/labeled-data/clip_b"
MICE = "dlc-openfield/openfield-Pranav-2018-10-30/labeled-data/m4s1"
WeightsOf = Callable[[str], Path]


# --- what is computed --------------------------------------------------------------------------


def test_alexnet_gives_classifier_2_of_torchvision_under_torchvisions_transforms(
    weights_of: WeightsOf, read_frames: ReadFrames
) -> None:
    network = bare_network("alexnet")
    network.load_state_dict(torch.load(weights_of("alexnet"), weights_only=True))
    seen: list[torch.Tensor] = []
    network.classifier[2].register_forward_hook(lambda _m, _i, out: seen.append(out.clone()))
    preset = AlexNet_Weights.IMAGENET1K_V1.transforms()
    resize = transforms.Resize(224)
    prepare = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(preset.mean, preset.std)]
    )
    images = [resize(Image.fromarray(frame)) for frame in read_frames(MICE, 4, (480, 640))]
    with torch.no_grad():
        network(torch.stack([prepare(image) for image in images]))

    embedder = AlexNetEmbedder(weights=weights_of("alexnet"), device="cpu")
    frames = np.stack([np.asarray(image) for image in images])
    assert frames.shape[1:3] == embedder.frame_size_px(480, 640) == (224, 298)
    vectors = embedder.embed(frames)
    assert vectors.shape == (4, 4096)
    assert (vectors >= 0).all()
    assert 0.1 < (vectors == 0).mean() < 0.9
    np.testing.assert_allclose(vectors, seen[0].numpy(), atol=1e-4 * vectors.max())


@given(height_px=st.integers(32, 4320), width_px=st.integers(32, 7680))
def test_alexnets_frame_size_is_that_of_torchvisions_resize(height_px: int, width_px: int) -> None:
    frame = torch.empty(1, height_px, width_px, device="meta")
    resized = transforms.functional.resize(frame, [224], antialias=False)
    size_px = AlexNetEmbedder.frame_size_px(object.__new__(AlexNetEmbedder), height_px, width_px)
    assert size_px == tuple(resized.shape[1:])


@pytest.mark.parametrize("model", sorted(TIMM_NAMES))
def test_dino_gives_the_class_token_of_timms_own_forward(
    weights_of: WeightsOf, read_frames: ReadFrames, model: str
) -> None:
    embedder = DinoEmbedder(model=model, weights=weights_of(model), device="cpu")
    size_px = embedder.frame_size_px(160, 160)
    frames = read_frames(FLIES, 3, size_px)

    network = bare_network(model)
    network.load_state_dict(torch.load(weights_of(model), weights_only=True))
    if model == "dinov2_vits14":
        network.set_input_size(img_size=size_px)
    config = network.pretrained_cfg
    prepare = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(config["mean"], config["std"])]
    )
    with torch.no_grad():
        tokens = network.forward_features(
            torch.stack([prepare(Image.fromarray(frame)) for frame in frames])
        )
    expected = tokens[:, 0].numpy()
    np.testing.assert_allclose(embedder.embed(frames), expected, atol=1e-4 * np.abs(expected).max())


@pytest.fixture(scope="module")
def dino(weights_of: WeightsOf) -> DinoEmbedder:
    return DinoEmbedder(weights=weights_of("dino_vits16"), device="cpu")


@given(height_px=st.integers(16, 4320), width_px=st.integers(16, 7680))
def test_dinos_frames_are_whole_patches_and_never_more_than_the_training_square(
    dino: DinoEmbedder, height_px: int, width_px: int
) -> None:
    (rows, down), (columns, right) = (
        divmod(side_px, 16) for side_px in dino.frame_size_px(height_px, width_px)
    )
    assert (down, right) == (0, 0)
    assert 1 <= rows * columns <= 14**2


@given(height_px=st.integers(240, 4320), width_px=st.integers(240, 4320))
def test_dino_keeps_the_aspect_ratio_to_a_patch_and_uses_most_of_the_square(
    dino: DinoEmbedder, height_px: int, width_px: int
) -> None:
    rows, columns = (side // 16 for side in dino.frame_size_px(height_px, width_px))
    if max(height_px, width_px) <= 4 * min(height_px, width_px):
        assert abs(columns - rows * width_px / height_px) <= 1 + width_px / height_px
        assert rows * columns >= 0.8 * 14**2


@pytest.mark.parametrize(
    ("video_px", "frame_px"),
    [
        ((480, 640), (192, 256)),
        ((640, 480), (256, 192)),
        ((500, 500), (224, 224)),
        ((1080, 1920), (160, 288)),
    ],
)
def test_dinos_frame_sizes_for_common_videos(
    dino: DinoEmbedder, video_px: tuple[int, int], frame_px: tuple[int, int]
) -> None:
    assert dino.frame_size_px(*video_px) == frame_px


def test_a_long_run_goes_through_in_batches_that_the_clock_decides(weights_of: WeightsOf) -> None:
    ticks = iter(range(1000))
    embedder = AlexNetEmbedder(
        weights=weights_of("alexnet"), device="cpu", clock=lambda: float(next(ticks))
    )
    frames = np.random.default_rng(0).integers(0, 256, (20, 224, 224, 3), dtype=np.uint8)
    vectors = embedder.embed(frames)
    assert next(ticks) == 6  # batches of 8, 8 and 4, timed before and after
    np.testing.assert_allclose(vectors[-4:], embedder.embed(frames[-4:]), atol=2e-5 * vectors.max())


def test_a_network_that_gives_no_numbers_is_an_error_and_not_a_vector(tmp_path: Path) -> None:
    state_dict = small_state_dict(bare_network("alexnet"))
    state_dict["classifier.1.bias"][7] = torch.nan
    torch.save(state_dict, tmp_path / "nan.pth")
    embedder = AlexNetEmbedder(weights=tmp_path / "nan.pth", device="cpu")
    with pytest.raises(AlwatchError, match=r"no numbers for 2 of 2 frames on cpu; check the file"):
        embedder.embed(np.zeros((2, 224, 224, 3), np.uint8))


def test_a_vector_that_float16_cannot_hold_is_an_error(tmp_path: Path) -> None:
    state_dict = small_state_dict(bare_network("alexnet"))
    state_dict["classifier.1.bias"][7] = 7e4
    torch.save(state_dict, tmp_path / "large.pth")
    embedder = AlexNetEmbedder(weights=tmp_path / "large.pth", device="cpu")
    with pytest.raises(AlwatchError, match="infinities or no numbers for 1 of 1"):
        embedder.embed(np.zeros((1, 224, 224, 3), np.uint8))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("model", ["alexnet", *sorted(TIMM_NAMES)])
def test_cuda_and_cpu_agree(weights_of: WeightsOf, read_frames: ReadFrames, model: str) -> None:
    path = weights_of(model)
    cpu, cuda = (
        AlexNetEmbedder(weights=path, device=device)
        if model == "alexnet"
        else DinoEmbedder(model=model, weights=path, device=device)
        for device in ("cpu", "auto")
    )
    assert cpu.identity == cuda.identity
    frames = read_frames(MICE, 16, cpu.frame_size_px(480, 640))
    a, b = cpu.embed(frames), cuda.embed(frames)
    cosine = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    assert (cosine > 0.999).all()


# --- which weights they are --------------------------------------------------------------------


def embed_noise(embedder: DinoEmbedder) -> NDArray[np.float32]:
    frames = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    return embedder.embed(frames)


def test_a_safetensors_file_and_a_pth_file_of_the_same_weights_are_the_same_embedder(
    weights_of: WeightsOf, dino: DinoEmbedder, tmp_path: Path
) -> None:
    state_dict = torch.load(weights_of("dino_vits16"), weights_only=True)
    path = tmp_path / "dino.safetensors"
    safetensors.torch.save_file({k: t.contiguous() for k, t in state_dict.items()}, path)
    other = DinoEmbedder(weights=path, device="cpu")
    assert other.identity == dino.identity
    np.testing.assert_array_equal(embed_noise(other), embed_noise(dino))


def test_the_identity_is_the_sum_of_names_types_shapes_and_bytes(
    weights_of: WeightsOf, dino: DinoEmbedder
) -> None:
    state_dict = torch.load(weights_of("dino_vits16"), weights_only=True)
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        array = state_dict[name].contiguous().numpy()
        digest.update(f"{name} torch.float32 {array.shape}\n".encode() + array.tobytes())
    assert dino.identity.weights == digest.hexdigest()
    assert (dino.identity.name, dino.identity.dim) == ("dino_vits16", 384)


def test_another_value_in_one_weight_is_another_identity(
    weights_of: WeightsOf, dino: DinoEmbedder, tmp_path: Path
) -> None:
    state_dict = torch.load(weights_of("dino_vits16"), weights_only=True)
    state_dict["norm.bias"][0] += 1
    torch.save(state_dict, tmp_path / "other.pth")
    other = DinoEmbedder(weights=tmp_path / "other.pth", device="cpu")
    assert other.identity.weights != dino.identity.weights


def test_alexnet_from_torchvisions_hub_is_alexnet_from_a_file(
    weights_of: WeightsOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    cached.parent.mkdir(parents=True)
    shutil.copy(weights_of("alexnet"), cached)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    from_hub = AlexNetEmbedder(device="cpu")
    assert from_hub.identity == AlexNetEmbedder(weights=cached, device="cpu").identity


def run_offline(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run code where both hubs have their cache in `home` and no way out."""
    nowhere = "http://127.0.0.1:9"
    environment = os.environ | {
        "HF_HOME": str(home / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "TORCH_HOME": str(home / "torch"),
        "http_proxy": nowhere,
        "https_proxy": nowhere,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_dino_from_the_hubs_cache_is_dino_from_a_file(
    weights_of: WeightsOf, dino: DinoEmbedder, tmp_path: Path
) -> None:
    repository = tmp_path / "huggingface/hub/models--timm--vit_small_patch16_224.dino"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    state_dict = torch.load(weights_of("dino_vits16"), weights_only=True)
    safetensors.torch.save_file(
        {k: t.contiguous() for k, t in state_dict.items()}, snapshot / "model.safetensors"
    )
    done = run_offline(
        "from alwatch.embedders.networks import DinoEmbedder\n"
        "print(DinoEmbedder(device='cpu').identity.weights)",
        tmp_path,
    )
    assert done.stdout.strip() == dino.identity.weights, done.stderr


def test_without_a_file_and_without_a_hub_the_errors_name_source_and_settings(
    tmp_path: Path,
) -> None:
    done = run_offline(
        "from alwatch.embedders.networks import AlexNetEmbedder, DinoEmbedder\n"
        "from alwatch.errors import WeightsError\n"
        "for create in (AlexNetEmbedder, DinoEmbedder):\n"
        "    try:\n"
        "        create(device='cpu')\n"
        "    except WeightsError as fault:\n"
        "        print(fault)\n",
        tmp_path,
    )
    alexnet, dino = done.stdout.strip().splitlines()
    assert "torchvision's hub (AlexNet_Weights.IMAGENET1K_V1, alexnet-owt-7be5be79.pth)" in alexnet
    assert "the Hugging Face hub (timm/vit_small_patch16_224.dino)" in dino
    for message in (alexnet, dino):
        assert "embedding.weights" in message
        assert "embedding.model: hog" in message


@pytest.mark.parametrize("model", DINO_MODELS)
def test_every_dino_model_has_pretrained_weights_in_timm(tmp_path: Path, model: str) -> None:
    with pytest.raises(WeightsError) as caught:
        DinoEmbedder(model=model, weights=tmp_path / "missing.pth", device="cpu")
    found = re.search(r"\(timm/([\w.]+)\)", str(caught.value))
    assert found is not None
    assert found[1] in timm.list_models("vit*dino*", pretrained=True)


# --- settings that cannot be met ---------------------------------------------------------------


def test_an_unknown_dino_model_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(SettingsError, match=r"'dino_vits32'.*dino_vits16, .*dinov3_vits16"):
        DinoEmbedder(model="dino_vits32")


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:-1", "", "CPU:0"])
def test_a_device_that_is_none_is_refused(weights_of: WeightsOf, device: str) -> None:
    with pytest.raises(SettingsError, match=r"must be auto, cpu, cuda or cuda:N"):
        AlexNetEmbedder(weights=weights_of("alexnet"), device=device)


def test_a_device_that_is_not_there_is_refused_with_what_there_is(weights_of: WeightsOf) -> None:
    n = torch.cuda.device_count()
    with pytest.raises(SettingsError, match=rf"'cuda:{n}', but torch finds {n} CUDA devices"):
        AlexNetEmbedder(weights=weights_of("alexnet"), device=f"cuda:{n}")


def test_a_sum_without_a_file_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"weights_sha256 is set, but embedding\.weights"):
        AlexNetEmbedder(weights_sha256="0" * 64)
