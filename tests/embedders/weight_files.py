"""Weights that stand in for pretrained ones: random, but small on disk."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torchvision.models import alexnet

TIMM_NAMES = {
    "dino_vits16": "vit_small_patch16_224.dino",
    "dinov2_vits14": "vit_small_patch14_dinov2.lvd142m",
    "dinov3_vits16": "vit_small_patch16_dinov3.lvd1689m",
}
_ROW_STEP = 13


def bare_network(model: str) -> Any:
    """The network as its own library builds it, untouched by alwatch, with random weights."""
    if model == "alexnet":
        return alexnet(weights=None).eval()
    return timm.create_model(TIMM_NAMES[model], num_classes=0, global_pool="token").eval()


def small_state_dict(network: nn.Module, *, seed: int = 0) -> dict[str, Tensor]:
    """Random weights whose matrices are overlapping windows of short vectors.

    torch.save writes the short vectors only: AlexNet takes 4 MB instead of 244. Layer scales
    are raised from their tiny initial values, so that every layer matters to the output.
    """
    rng = torch.Generator().manual_seed(seed)
    return {name: _small(name, t, rng) for name, t in network.state_dict().items()}


def _small(name: str, tensor: Tensor, rng: torch.Generator) -> Tensor:
    if tensor.ndim < 2:
        scale = name.endswith(("gamma", "gamma_1", "gamma_2"))
        is_one = scale or (name.endswith("weight") and "norm" in name)
        return torch.full_like(tensor, float(is_one)) + 0.02 * torch.randn(
            tensor.shape, generator=rng
        )
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    base = torch.randn(_ROW_STEP * rows + columns, generator=rng) / math.sqrt(columns)
    if "token" in name or "pos_embed" in name:
        base *= 0.02 * math.sqrt(columns)
    inner = torch.empty(tensor.shape[1:], device="meta").stride()
    return base.as_strided(tensor.shape, (_ROW_STEP, *inner))


def save_small_weights(model: str, folder: Path) -> Path:
    """Write a `.pth` file of random weights for one of alwatch's network embedders."""
    path = folder / f"{model}.pth"
    torch.save(small_state_dict(bare_network(model)), path)
    return path
