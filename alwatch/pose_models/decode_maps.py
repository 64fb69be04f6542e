"""Where the peak of a score map lies, to a fraction of a cell."""

from __future__ import annotations

import torch
from torch import Tensor


def poses_from_maps(maps: Tensor, *, stride: float, offset_px: float) -> Tensor:
    """Find the highest cell of each map, refined between its neighbours.

    Along each axis a parabola is laid through the logarithms of the highest cell and its two
    neighbours: for a Gaussian blob its vertex is the blob's middle (Guo 2011). At the border,
    and where the three do not make a peak, the cell itself stands.

    Parameters
    ----------
    maps : float tensor of shape (m, k, h, w), >= 0
    stride, offset_px : float
        Column c lies at ``c * stride + offset_px`` pixels of the network's input.

    Returns
    -------
    float32 tensor of shape (m, k, 3)
        x and y in pixels of the network's input, and the height of the peak, 1 at most; NaN
        where a map is zero everywhere.
    """
    m, k, h, w = maps.shape
    flat = maps.reshape(m, k, h * w)
    height, cell = flat.max(dim=2)
    row, column = cell // w, cell % w
    logs = (flat + 1e-9).log()
    x = column + _vertex(logs, cell, 1, (column > 0) & (column < w - 1))
    y = row + _vertex(logs, cell, w, (row > 0) & (row < h - 1))
    place = torch.stack([x, y], dim=2) * stride + offset_px
    poses = torch.cat([place, height.clamp(0, 1)[..., None]], dim=2).float()
    return poses.where((height > 0)[..., None], torch.nan)


def _vertex(logs: Tensor, cell: Tensor, step: int, is_inside: Tensor) -> Tensor:
    """Offset (m, k) of the parabola's vertex from the cell, half a cell at most."""
    last = logs.shape[2] - 1
    at = [(cell + d).clamp(0, last)[..., None] for d in (-step, 0, step)]
    before, own, after = (logs.gather(2, index)[..., 0] for index in at)
    bend = 2 * own - before - after
    shift = (after - before) / (2 * bend.where(bend > 0, bend.new_ones(())))
    return shift.clamp(-0.5, 0.5).where(is_inside & (bend > 0), shift.new_zeros(()))
