"""Small exported pose models that tests make: two bodyparts, found by their colour."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

SIDECAR = """\
file: {name}
bodyparts: [red, green]
input: {{multiple_of: 8, channels: rgb, layout: nchw}}
outputs: {{maps: 0, features: 1}}
activation: none
stride: 8
"""


class ColourSpots(nn.Module):
    """Score maps at an eighth of the size: how red, and how green, it is there."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        small = nn.functional.avg_pool2d(images, 8)
        red, green, blue = small.split(1, dim=1)
        maps = torch.cat([red - green - blue, green - red - blue], dim=1).clamp(min=0)
        return maps, small


def export_colour_spots(folder: Path) -> Path:
    """Write the model as TorchScript with its YAML file; returns that file."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.jit.script(ColourSpots()).save(str(folder / "spots.pt"))
    sidecar = folder / "spots.yaml"
    sidecar.write_text(SIDECAR.format(name="spots.pt"))
    return sidecar
