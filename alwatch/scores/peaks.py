"""Local maxima of score maps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Peaks:
    values: Tensor
    rows: Tensor
    columns: Tensor
    count: Tensor


def find_peaks(
    maps: Tensor,
    *,
    min_distance_px: int,
    threshold_abs: float,
    threshold_rel: float,
    max_peaks: int,
) -> Peaks:
    h, w = maps.shape[-2:]
    flat = maps.reshape(-1, 1, h, w)
    pooled = F.max_pool2d(flat, 2 * min_distance_px + 1, 1, min_distance_px)
    thr = (flat.amax((2, 3), keepdim=True) * threshold_rel).clamp(min=threshold_abs)
    peak = torch.where((flat == pooled) & (flat > thr), flat, torch.zeros_like(flat)).reshape(
        -1, h * w
    )
    values, at = peak.topk(min(max_peaks, h * w), dim=1)
    at = torch.where(values > 0, at, -1)
    shape = (*maps.shape[:-2], -1)
    rows = torch.where(at >= 0, at // w, -1)
    columns = torch.where(at >= 0, at % w, -1)
    return Peaks(
        values.reshape(shape),
        rows.reshape(shape),
        columns.reshape(shape),
        (values > 0).sum(1).reshape(maps.shape[:-2]),
    )
