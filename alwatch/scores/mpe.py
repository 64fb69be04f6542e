"""temporary"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alwatch.scores.peaks import find_peaks


@dataclass(frozen=True, slots=True)
class Mpe:
    entropy: Tensor
    absent: Tensor


def mpe(maps: Tensor, *, min_distance_px: int = 2, max_peaks: int = 5, n_expected: int = 1) -> Mpe:
    most = max_peaks + n_expected - 1
    peaks = find_peaks(
        maps, min_distance_px=min_distance_px, threshold_abs=0.05, threshold_rel=0.1, max_peaks=most
    )
    share = peaks.values / peaks.values.sum(-1, keepdim=True).clamp(min=1e-12)
    h = torch.special.entr(share).sum(-1)
    found = peaks.count.clamp(1, n_expected).float().log()
    return Mpe(((h - found) / (math.log(most) - found)).clamp(0, 1), peaks.count == 0)


def mpe_softmax(maps: Tensor, *, min_distance_px: int = 2, max_peaks: int = 5) -> Tensor:
    peaks = find_peaks(
        maps,
        min_distance_px=min_distance_px,
        threshold_abs=0.0,
        threshold_rel=0.0,
        max_peaks=max_peaks,
    )
    there = peaks.values > 0
    share = peaks.values.masked_fill(~there, -torch.inf).softmax(-1).nan_to_num(0)
    return torch.special.entr(share).sum(-1)


def aggregate(per_bodypart: Any, how: str = "top_quarter") -> Any:
    values = np.sort(np.nan_to_num(per_bodypart, nan=-1.0), axis=1)[:, ::-1]
    k = -(-values.shape[1] // 4)
    top = values[:, :k]
    return np.where(
        (top >= 0).any(1),
        np.where(top >= 0, top, 0).sum(1) / np.maximum((top >= 0).sum(1), 1),
        np.nan,
    ).astype(np.float32)
