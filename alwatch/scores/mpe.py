"""Multiple peak entropy: how undecided a score map is between several places.

After Liu & Ferrari (2017), "Active learning for human pose estimation": the entropy of the local
maxima of a bodypart's score map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from alwatch.scores.peaks import find_peaks

LOWEST_PEAK = 0.05
"""What is not above this is background, whatever else the map holds."""

LOWEST_SHARE = 0.1
"""What is not above this share of the highest peak does not rival it."""


@dataclass(frozen=True, slots=True)
class Mpe:
    """Multiple peak entropy of n frames' k bodyparts.

    Parameters
    ----------
    entropy : float32 tensor of shape (n, k)
        0 (one peak, or none) to 1 (as many equal peaks as are counted).
    absent : bool tensor of shape (n, k)
        Whether the map has no peak at all: the bodypart is not seen, which is not the same as
        being seen in many places.
    """

    entropy: Tensor
    absent: Tensor


def mpe(maps: Tensor, *, min_distance_px: int = 2, max_peaks: int = 5, n_expected: int = 1) -> Mpe:
    """Compute the multiple peak entropy of score maps, normalised by their sum.

    ``H = -sum_m P_m ln P_m`` with ``P_m = s_m / sum s`` over the peaks s_m above 0.05 and above a
    tenth of the highest, and ``U = H / ln(max_peaks)``. Unlike the published recipe
    (`mpe_softmax`) it does not saturate: one peak gives 0, however high it is, and an absent
    bodypart is flagged instead of being the most uncertain one.

    Where a map may show `n_expected` animals, so many more peaks are counted, and as many equal
    peaks as there are animals are no doubt: ``U = max(0, H - ln f) / (ln M - ln f)`` with f the
    number of peaks, `n_expected` at most, and ``M = max_peaks + n_expected - 1``.

    Parameters
    ----------
    maps : float tensor of shape (n, k, h, w)
        About 1 where the model is certain.
    min_distance_px : int
        Cells between two peaks, about two sigmas of the blobs that the model was trained on.
    max_peaks : int, >= 2
    n_expected : int, >= 1

    Raises
    ------
    ValueError
        A map holds NaN.
    """
    if max_peaks < 2 or n_expected < 1:
        raise ValueError(
            f"max_peaks must be at least 2 and n_expected 1, got {max_peaks} and {n_expected}"
        )
    most = max_peaks + n_expected - 1
    peaks = find_peaks(
        maps,
        min_distance_px=min_distance_px,
        threshold_abs=LOWEST_PEAK,
        threshold_rel=LOWEST_SHARE,
        max_peaks=most,
    )
    heights = peaks.values.float()  # half precision would show in the entropy
    total = heights.sum(dim=-1, keepdim=True)
    share = heights / total.where(total > 0, total.new_ones(()))
    entropy = torch.special.entr(share).sum(dim=-1)
    usual = peaks.count.clamp(min=1, max=n_expected).to(entropy.dtype).log()
    excess = (entropy - usual).clamp(min=0) / (math.log(most) - usual)
    return Mpe(excess.clamp(max=1), peaks.count == 0)


def mpe_softmax(maps: Tensor, *, min_distance_px: int = 2, max_peaks: int = 5) -> Tensor:
    """Compute the multiple peak entropy as the DeepLabCut study of active learning did.

    `skimage.feature.peak_local_max(map, min_distance=2, threshold_abs=0, num_peaks=5)`, which
    leaves out the border, then scipy's softmax over the raw values of these peaks, then the
    entropy in nats. Kept for comparison: raw values lie between 0 and 1, so that one perfect peak
    among four of noise gives 1.500 and noise alone ln 5 = 1.609, and an absent bodypart is the
    most uncertain of all.

    Parameters
    ----------
    maps : float tensor of shape (n, k, h, w)
    min_distance_px : int
    max_peaks : int

    Returns
    -------
    float32 tensor of shape (n, k)
        0 to ln(max_peaks); 0 without a peak.

    Raises
    ------
    ValueError
        A map holds NaN.
    """
    peaks = find_peaks(
        maps,
        min_distance_px=min_distance_px,
        threshold_abs=0.0,
        threshold_rel=0.0,
        max_peaks=max_peaks,
        exclude_border_px=min_distance_px,
        merge_plateaus=False,
    )
    heights = peaks.values.float().masked_fill(peaks.rows < 0, -torch.inf)
    share = heights.softmax(dim=-1).nan_to_num(nan=0.0)
    entropy: Tensor = torch.special.entr(share).sum(dim=-1)
    return entropy
