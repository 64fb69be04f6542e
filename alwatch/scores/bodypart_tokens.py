"""Vectors of frames from a pose model's own feature map: the frame, and around the bodyparts."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

_FAINT = 0.1
"""A bodypart less likely than this is noise: what lies there says nothing of the animal."""


def bodypart_vector(
    features: Tensor,
    xy_px: Tensor | NDArray[Any],
    confidence: Tensor | NDArray[Any],
    frame_size_px: tuple[float, float],
) -> Tensor:
    """Join what a feature map says of the whole frame and of the places of the bodyparts.

    The first half is the average-pooled map; the second is the mean, weighted by confidence, of
    the map at the bodyparts, interpolated bilinearly. Each is scaled to length 1, and so is
    the whole; both halves thus count the same.

    Parameters
    ----------
    features : float tensor of shape (m, c, h, w)
        Of whole frames, from edge to edge.
    xy_px : tensor or array of shape (m, bodyparts, 2)
        x and y in pixels of the frame, 0 being the middle of the first pixel; places outside
        the frame count as on its edge, NaN as not found.
    confidence : tensor or array of shape (m, bodyparts)
        Clipped to 0..1; below 0.1 or NaN a bodypart is left out.
    frame_size_px : (float, float)
        Height and width of what the maps reach over: the frames, or a little more.

    Returns
    -------
    float32 tensor of shape (m, 2 c)
        On the device of `features`. The second half is zeros where no bodypart is confident.
    """
    device = features.device
    places = torch.as_tensor(xy_px, dtype=torch.float32, device=device)
    weights = torch.as_tensor(confidence, dtype=torch.float32, device=device)
    if features.ndim != 4 or places.shape != (*weights.shape, 2) or weights.ndim != 2:
        raise ValueError(
            "features must have shape (m, c, h, w), xy_px (m, k, 2) and confidence (m, k), got "
            f"{tuple(features.shape)}, {tuple(places.shape)} and {tuple(weights.shape)}"
        )
    if len(features) != len(weights):
        raise ValueError(
            f"features and confidence must be of the same frames, got {len(features)} and "
            f"{len(weights)}"
        )
    maps = features.float()
    known = places.isfinite().all(dim=2) & (weights >= _FAINT)
    weights = torch.where(known, weights.clamp(0, 1), 0)
    places = torch.where(known[..., None], places, 0)
    tokens = _sampled(maps, places, frame_size_px)  # (m, c, k)
    around = torch.einsum("mck,mk->mc", tokens, weights)  # its length is set to 1 below
    halves = [normalize(maps.mean(dim=(2, 3)), dim=1), normalize(around, dim=1)]
    return normalize(torch.cat(halves, dim=1), dim=1)


def _sampled(maps: Tensor, places: Tensor, frame_size_px: tuple[float, float]) -> Tensor:
    """Values (m, c, k) of the maps at places in pixels of the frame."""
    height, width = frame_size_px
    # The frame's edges are at -1 and 1, half a pixel out from its outermost pixels' middles.
    grid = (places + 0.5) / places.new_tensor([width, height]) * 2 - 1
    sampled = grid_sample(
        maps, grid[:, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[:, :, 0]
