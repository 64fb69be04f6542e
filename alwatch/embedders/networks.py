"""Pretrained networks as embedders: AlexNet, and the DINO family of vision transformers.

Every network sees the whole frame: an animal at the wall is as likely as one in the middle, so
nothing is cropped away. Frames arrive at the size that `frame_size_px` asks for.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import timm
import torch
from torch import nn
from torchvision.models import AlexNet_Weights, alexnet

from alwatch.embedders._weights import (
    downloading,
    hash_weights,
    load_state_dict,
    load_weights_file,
)
from alwatch.embedders.batching import BatchSizer, embed_in_batches
from alwatch.errors import AlwatchError, SettingsError
from alwatch.records import EmbedderIdentity

if TYPE_CHECKING:
    from alwatch.records import FloatArray, ImageArray

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

# More does not pay on a processor, and costs memory; a graphics card is to be filled.
_LARGEST_BATCH = {"cpu": 32, "cuda": 1024}


class _NetworkEmbedder(ABC):
    """What the embedders here share: device, normalisation, batches, and checks.

    On CUDA the network runs in float16 mixed precision: vectors are stored as float16 anyway, and
    unlike bfloat16 it is fast on cards older than Ampere. An overflow is found and raised.
    """

    def __init__(
        self,
        network: nn.Module,
        identity: EmbedderIdentity,
        *,
        device: torch.device,
        clock: Callable[[], float],
    ) -> None:
        # Frames come as (h, w, rgb), so channels last is how they already lie in memory.
        network.eval().requires_grad_(False)
        self._network = network.to(device).to(memory_format=torch.channels_last)
        self._identity = identity
        self._device = device
        self._clock = clock
        self._mean = _per_channel(_IMAGENET_MEAN, device)
        self._std = _per_channel(_IMAGENET_STD, device)
        self._sizers: dict[tuple[int, int], BatchSizer] = {}

    @property
    def identity(self) -> EmbedderIdentity:
        """Name, sha256 of the loaded weights, and dimension."""
        return self._identity

    @abstractmethod
    def frame_size_px(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Height and width at which frames of such a video are wanted."""

    @abstractmethod
    def _takes(self, height_px: int, width_px: int) -> bool:
        """Whether `frame_size_px` gives this size for some video."""

    def embed(self, frames: ImageArray) -> FloatArray:
        """Embed frames.

        Parameters
        ----------
        frames : uint8 array of shape (n, h, w, 3), RGB
            (h, w) as given by `frame_size_px`.

        Returns
        -------
        float32 array of shape (n, dim), within the range of float16

        Raises
        ------
        ValueError
            Frames of another size or type.
        AlwatchError
            The network gave something that is no number, or does not fit into memory.
        """
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
            raise ValueError(
                f"frames must be uint8 of shape (n, h, w, 3), got {frames.dtype} of shape "
                f"{frames.shape}"
            )
        size_px = (frames.shape[1], frames.shape[2])
        if not self._takes(*size_px):
            raise ValueError(
                f"{self._identity.name} wants such frames at (height, width) "
                f"{self.frame_size_px(*size_px)}, got shape {frames.shape}; decode at "
                "frame_size_px()"
            )
        largest = _LARGEST_BATCH[self._device.type]
        sizer = self._sizers.setdefault(size_px, BatchSizer(largest=largest))
        vectors = embed_in_batches(
            frames, self._forward, dim=self._identity.dim, sizer=sizer, clock=self._clock
        )
        self._check(vectors)
        return vectors

    def _forward(self, frames: ImageArray) -> FloatArray:
        on_cuda = self._device.type == "cuda"
        pixels = torch.from_numpy(np.array(frames, order="C"))
        if on_cuda:
            pixels = pixels.pin_memory()
        pixels = pixels.to(self._device, non_blocking=True).permute(0, 3, 1, 2)  # (k, 3, h, w)
        half = torch.autocast(self._device.type, dtype=torch.float16, enabled=on_cuda)
        with torch.inference_mode(), half:
            vectors = self._network((pixels - self._mean) / self._std)
        result: FloatArray = vectors.float().cpu().numpy()
        return result

    def _check(self, vectors: FloatArray) -> None:
        """Refuse what could not be stored; NaN is not below any limit."""
        storable = (np.abs(vectors) <= np.finfo(np.float16).max).all(axis=1)
        if not storable.all():
            raise AlwatchError(
                f"{self._identity.name} gave infinities or no numbers for {(~storable).sum()} of "
                f"{len(vectors)} frames on {self._device}; check the file in embedding.weights, "
                "or set embedding.device: cpu."
            )


class AlexNetEmbedder(_NetworkEmbedder):
    """AlexNet's first fully connected layer after its ReLU (torchvision `classifier.2`), 4096-d.

    As in the DeepLabCut AI-residency study of active learning: the shorter side becomes 224
    pixels, nothing is cropped, and the adaptive pooling takes any aspect ratio.

    Parameters
    ----------
    weights : Path, optional
        A file of weights; without it they come from torchvision.
    weights_sha256 : str, optional
        What the file's sha256 must be.
    device : str
        "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N".
    clock : callable
        Seconds on a clock that only goes forward, to find the batch size.

    Raises
    ------
    WeightsError
        The weights cannot be had, or are not AlexNet's.
    SettingsError
        There is no such device.
    """

    _SHORTER_SIDE_PX = 224

    def __init__(
        self,
        *,
        weights: Path | None = None,
        weights_sha256: str | None = None,
        device: str = "auto",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        resolved = _resolve_device(device)
        _check_sha256_has_a_file(weights, weights_sha256)
        enum = AlexNet_Weights.IMAGENET1K_V1
        file_name = enum.url.rsplit("/", 1)[-1]
        origin = f"torchvision's hub ({enum}, {file_name})"
        network = alexnet(weights=None)
        if weights is None:
            with downloading("alexnet", origin):
                state_dict = enum.get_state_dict(progress=False, check_hash=True)
            load_state_dict(network, state_dict, model="alexnet", source=origin, origin=origin)
        else:
            load_weights_file(
                network, weights, model="alexnet", sha256=weights_sha256, origin=origin
            )
        dim = network.classifier[1].out_features
        identity = EmbedderIdentity("alexnet", hash_weights(network), dim)
        network.classifier = network.classifier[:3]  # what follows is a third of the weights
        super().__init__(network, identity, device=resolved, clock=clock)

    def frame_size_px(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Height and width with the shorter side at 224, rounded as torchvision's Resize does."""
        shorter, longer = sorted((height_px, width_px))
        longer = self._SHORTER_SIDE_PX * longer // shorter
        if height_px <= width_px:
            return self._SHORTER_SIDE_PX, longer
        return longer, self._SHORTER_SIDE_PX

    def _takes(self, height_px: int, width_px: int) -> bool:
        return min(height_px, width_px) == self._SHORTER_SIDE_PX


class _Vit(NamedTuple):
    """A vision transformer: its name in timm, and its patches along the side of a square frame."""

    timm_name: str
    grid: int


_VITS = {
    "dino_vits16": _Vit("vit_small_patch16_224.dino", 14),
    "dino_vits8": _Vit("vit_small_patch8_224.dino", 28),
    "dino_vitb16": _Vit("vit_base_patch16_224.dino", 14),
    "dino_vitb8": _Vit("vit_base_patch8_224.dino", 28),
    "dinov2_vits14": _Vit("vit_small_patch14_dinov2.lvd142m", 16),
    "dinov2_vitb14": _Vit("vit_base_patch14_dinov2.lvd142m", 16),
    "dinov3_vits16": _Vit("vit_small_patch16_dinov3.lvd1689m", 16),
    "dinov3_vitb16": _Vit("vit_base_patch16_dinov3.lvd1689m", 16),
}

DINO_MODELS = tuple(_VITS)
"""Names that `DinoEmbedder` knows."""


class DinoEmbedder(_NetworkEmbedder):
    """The class token of a DINO, DINOv2 or DINOv3 vision transformer, after its final norm.

    The class token is what the self-distillation of all three trains to describe an image.
    Frames keep their aspect ratio to within half a patch and have at most as many patches as the
    square of training, so that a frame of any shape costs the same. Position embeddings are
    interpolated to that grid by timm and kept at their released size in the weights: DINOv2 files
    hold those of 518 pixels (1370), although frames are 224 pixels or so.

    Parameters
    ----------
    model : str
        One of `DINO_MODELS`.
    weights : Path, optional
        A file of weights, from timm or, for DINO and DINOv2, the original release; without it
        they come from timm's Hugging Face hub.
    weights_sha256 : str, optional
        What the file's sha256 must be.
    device : str
        "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N".
    clock : callable
        Seconds on a clock that only goes forward, to find the batch size.

    Raises
    ------
    WeightsError
        The weights cannot be had, or are not this model's.
    SettingsError
        There is no such model or device.
    """

    def __init__(
        self,
        *,
        model: str = "dino_vits16",
        weights: Path | None = None,
        weights_sha256: str | None = None,
        device: str = "auto",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if model not in _VITS:
            raise SettingsError(
                f"embedding.model is {model!r}; the DINO models are {', '.join(DINO_MODELS)}."
            )
        resolved = _resolve_device(device)
        _check_sha256_has_a_file(weights, weights_sha256)
        vit = _VITS[model]
        origin = f"the Hugging Face hub (timm/{vit.timm_name})"
        if weights is None:
            with downloading(model, origin):
                network = _create_vit(vit, pretrained=True)
        else:
            network = _create_vit(vit, pretrained=False)
            load_weights_file(network, weights, model=model, sha256=weights_sha256, origin=origin)
        identity = EmbedderIdentity(model, hash_weights(network), network.num_features)
        super().__init__(network, identity, device=resolved, clock=clock)
        self._grid = vit.grid
        self._patch_px: int = network.patch_embed.patch_size[0]

    def frame_size_px(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Height and width in whole patches, in the frame's aspect ratio, bounded in number."""
        most = self._grid**2
        rows = round(self._grid * (height_px / width_px) ** 0.5)
        rows = min(max(rows, 1), most)
        columns = min(max(round(rows * width_px / height_px), 1), most // rows)
        return rows * self._patch_px, columns * self._patch_px

    def _takes(self, height_px: int, width_px: int) -> bool:
        rows, rest_down = divmod(height_px, self._patch_px)
        columns, rest_right = divmod(width_px, self._patch_px)
        return not (rest_down or rest_right) and 1 <= rows * columns <= self._grid**2


def _create_vit(vit: _Vit, *, pretrained: bool) -> Any:  # timm's classes share no type
    return timm.create_model(
        vit.timm_name,
        pretrained=pretrained,
        num_classes=0,
        global_pool="token",
        dynamic_img_size=True,
    )


def _per_channel(values: Sequence[float], device: torch.device) -> torch.Tensor:
    """Values in units of [0, 1] as a tensor of shape (1, 3, 1, 1) in units of a uint8 pixel."""
    return 255 * torch.tensor(values, device=device).reshape(1, 3, 1, 1)


def _resolve_device(device: str) -> torch.device:
    """Turn a setting into a device that is there."""
    n_cuda = torch.cuda.device_count()
    if device == "auto":
        return torch.device("cuda" if n_cuda else "cpu")
    name, _, number = device.partition(":")
    if device == "cpu" or (name == "cuda" and (number or "0").isdecimal()):
        if name == "cpu" or int(number or 0) < n_cuda:
            return torch.device(device)
        raise SettingsError(
            f"embedding.device is {device!r}, but torch finds {n_cuda} CUDA devices here; set it "
            "to auto or cpu, or install a driver and a torch build that match the card."
        )
    raise SettingsError(f"embedding.device is {device!r}; it must be auto, cpu, cuda or cuda:N.")


def _check_sha256_has_a_file(weights: Path | None, sha256: str | None) -> None:
    if sha256 is not None and weights is None:
        raise SettingsError(
            "embedding.weights_sha256 is set, but embedding.weights is not; the sum is that of a "
            "file, so name the file or leave the sum out."
        )
