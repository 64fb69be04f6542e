"""A small U-Net for one animal: trained in seconds to a minute, exported as any other model.

For demonstrations and experiments; a lab's own model comes from its own tool.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from alwatch.pose_models.decode_maps import poses_from_maps
from alwatch.pose_models.prediction import Prediction, ScoreMaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import ImageArray

STRIDE = 2
"""Input pixels for each cell of the score maps."""

_LEVELS = 3
_SIGMA_CELLS = 1.5
_PEAK_WEIGHT = 20.0
_BACKGROUND_LOGIT = -4.0
_MOST_ROTATION = math.radians(20)
_MOST_SCALING = 0.12
_MOST_SHIFT = 0.06


class UNet(nn.Module):
    """RGB frames in [0, 1] of shape (n, 3, h, w) to score maps (n, k, h/2, w/2) and features.

    Height and width must be multiples of 16. The second output is the coarsest feature map.

    Parameters
    ----------
    n_bodyparts : int
    width : int
        Channels at the finest level; each coarser one has twice as many.
    """

    def __init__(self, n_bodyparts: int, *, width: int = 16) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(_LEVELS + 1)]
        self.stem = _convolutions(3, width, stride=2)
        self.down = nn.ModuleList(
            _convolutions(widths[i], widths[i + 1], stride=2) for i in range(_LEVELS)
        )
        self.up = nn.ModuleList(
            _convolutions(widths[i + 1] + widths[i], widths[i]) for i in reversed(range(_LEVELS))
        )
        self.head = nn.Conv2d(width, n_bodyparts, 1)
        # Nearly all of a map is background: to begin there saves the time of learning it.
        self.head.bias = nn.Parameter(torch.full((n_bodyparts,), _BACKGROUND_LOGIT))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Score maps, as logits, and features."""
        levels = [self.stem(images)]
        for down in self.down:
            levels.append(down(levels[-1]))
        features = x = levels.pop()
        for up in self.up:
            skipped = levels.pop()
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = up(torch.cat([x, skipped], dim=1))
        return self.head(x), features


def train_unet(
    frames: ImageArray,
    keypoints_px: NDArray[np.floating],
    *,
    input_size_px: tuple[int, int],
    steps: int = 300,
    batch_size: int = 16,
    learning_rate: float = 3e-3,
    width: int = 16,
    seed: int = 0,
    start: UNet | None = None,
) -> UNet:
    """Train a U-Net on labelled frames; the same seed gives the same.

    Frames are turned, scaled, shifted and their brightness changed at random. What is not
    labelled is not learnt from.

    Parameters
    ----------
    frames : uint8 array of shape (n, h, w, 3), RGB
    keypoints_px : float array of shape (n, bodyparts, 2)
        x and y in pixels of the frames; NaN where not labelled.
    input_size_px : (height, width)
        To which frames are brought; multiples of 16.
    steps, batch_size : int
    learning_rate : float
        Of AdamW, rising and falling over the steps (Smith & Topin 2018).
    width : int
        Channels at the finest level.
    seed : int
    start : UNet, optional
        To go on from a copy of this one; without it, from random weights.

    Returns
    -------
    UNet
        Ready to predict, on the processor.

    Raises
    ------
    ValueError
        Shapes that do not fit, or a size that is no multiple of 16.
    """
    if keypoints_px.ndim != 3 or len(keypoints_px) != len(frames) or len(frames) == 0:
        raise ValueError(
            f"keypoints_px must have shape (n, bodyparts, 2) for {len(frames)} frames (at least "
            f"one), got {keypoints_px.shape}"
        )
    if any(side % 16 for side in input_size_px):
        raise ValueError(f"input_size_px must be multiples of 16, got {input_size_px}")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = deepcopy(start) or UNet(keypoints_px.shape[1], width=width)
    images, points = _fitted(frames, keypoints_px, input_size_px)
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=learning_rate, total_steps=steps
    )
    network.train().to(memory_format=torch.channels_last)  # a third faster on a processor
    for _ in range(steps):
        rows = torch.randint(len(images), (batch_size,), generator=generator)
        turned, moved = _varied(images[rows].float() / 255, points[rows], generator)
        maps, _ = network(turned.contiguous(memory_format=torch.channels_last))
        loss = _loss(maps, moved)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return network.eval().to(memory_format=torch.contiguous_format)


class UNetModel:
    """A trained U-Net as a pose model; frames must have the size that it was trained on.

    Parameters
    ----------
    network : UNet
    bodyparts : sequence of str
    """

    def __init__(self, network: UNet, bodyparts: Sequence[str]) -> None:
        self.network = network
        self._bodyparts = tuple(bodyparts)

    @property
    def bodyparts(self) -> tuple[str, ...]:
        """Names, in the order of the poses."""
        return self._bodyparts

    def predict(self, frames: ImageArray, batch_size: int) -> Prediction:
        """RGB uint8 frames of shape (n, h, w, 3) to maps, poses and features."""
        maps, features = [], []
        with torch.inference_mode():
            for low in range(0, len(frames), batch_size):
                batch = torch.from_numpy(frames[low : low + batch_size])
                logits, coarse = self.network(batch.permute(0, 3, 1, 2).float() / 255)
                maps.append(logits.sigmoid())
                features.append(coarse)
        found, rows = torch.cat(maps), np.arange(len(frames))
        poses = poses_from_maps(found, stride=STRIDE, offset_px=(STRIDE - 1) / 2)
        return Prediction(
            maps=(
                ScoreMaps(
                    found,
                    rows,
                    np.arange(len(self._bodyparts)),
                    min_distance=round(2 * _SIGMA_CELLS),
                ),
            ),
            poses=poses[:, None].numpy(),
            features=torch.cat(features),
            features_frame=rows,
        )


def export_unet(
    network: UNet, path: Path, *, bodyparts: Sequence[str], input_size_px: tuple[int, int]
) -> Path:
    """Write a U-Net as a torch.export file and the YAML file that describes it.

    Parameters
    ----------
    network : UNet
    path : Path
        Of the YAML file; the network lies beside it, ending in `.pt2`.
    bodyparts : sequence of str
    input_size_px : (height, width)

    Returns
    -------
    Path
        The YAML file.
    """
    example = torch.zeros(2, 3, *input_size_px)
    # Tested without gradients, so that no hook for them gets into the file.
    with torch.no_grad():
        program = torch.export.export(
            network, (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
        )
    file = path.with_suffix(".pt2")
    torch.export.save(program, str(file))
    description = {
        "file": file.name,
        "bodyparts": list(bodyparts),
        "input": {"height_px": input_size_px[0], "width_px": input_size_px[1]},
        "outputs": {"maps": 0, "features": 1},
        "activation": "sigmoid",
        "stride": STRIDE,
        "min_distance": round(2 * _SIGMA_CELLS),
    }
    path.write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    return path


def _convolutions(n_in: int, n_out: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
        nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


def _fitted(
    frames: ImageArray, keypoints_px: NDArray[np.floating], size_px: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Frames fitted into the input as an exported model does it, and the points in it."""
    height, width = frames.shape[1:3]
    scale = min(size_px[0] / height, size_px[1] / width)
    inner = (round(width * scale), round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.zeros((len(frames), *size_px, 3), np.uint8)
    for into, frame in zip(canvas, frames, strict=True):
        into[: inner[1], : inner[0]] = cv2.resize(frame, inner, interpolation=how)
    points = (np.asarray(keypoints_px, np.float32) + 0.5) * scale - 0.5
    return torch.from_numpy(canvas).permute(0, 3, 1, 2), torch.from_numpy(points)


def _varied(images: Tensor, points: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each image turned, scaled, shifted and brightened at random, its points with it."""
    n, _, height, width = images.shape

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    angle = between(-_MOST_ROTATION, _MOST_ROTATION)
    scale = between(1 - _MOST_SCALING, 1 + _MOST_SCALING)
    shift = torch.stack([between(-1, 1) * width, between(-1, 1) * height], 1) * _MOST_SHIFT
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    turn = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2])
    moved = (points - middle) @ turn.transpose(1, 2) + middle + shift[:, None]
    # Where in the old image each new pixel comes from, in units of half the image.
    half = torch.tensor([width / 2, height / 2])
    back = torch.linalg.inv(turn) * half[None, None] / half[None, :, None]
    offset = -(torch.linalg.inv(turn) @ shift[:, :, None]) / half[None, :, None]
    grid = F.affine_grid(torch.cat([back, offset], 2), list(images.shape), align_corners=False)
    turned = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    brightness, contrast = between(-0.1, 0.1), between(0.8, 1.2)
    turned = (turned - 0.5) * contrast[:, None, None, None] + 0.5
    return (turned + brightness[:, None, None, None]).clamp(0, 1), moved


def _loss(maps: Tensor, points: Tensor) -> Tensor:
    """Cross entropy with Gaussian blobs, their middles weighing more than the background."""
    rows, columns = maps.shape[2:]
    cells = (points + 0.5) / STRIDE - 0.5
    x, y = cells.unbind(2)
    across = (torch.arange(columns) - x[..., None]) ** 2
    down = (torch.arange(rows) - y[..., None]) ** 2
    squares = down[..., :, None] + across[..., None, :]
    target = torch.exp(-squares / (2 * _SIGMA_CELLS**2))
    known = torch.isfinite(x) & torch.isfinite(y)
    target = torch.where(known[..., None, None], target, 0.0)
    weight = (1 + _PEAK_WEIGHT * target) * known[..., None, None]
    loss = F.binary_cross_entropy_with_logits(maps, target, weight=weight, reduction="sum")
    return loss / weight.sum().clamp(min=1)
