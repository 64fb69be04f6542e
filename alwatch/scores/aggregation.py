"""From one value per bodypart to one per frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

Aggregation = Literal["top_quarter", "max", "mean"]

SIGNALS = ("mpe", "mpe_softmax", "confidence", "flip", "change", "ensemble", "learned_loss")
"""Signals of a pose model by which frames can be ranked."""

_TRUST_AFTER = 20
_MOST_TRUST = 0.7


def aggregate(
    per_bodypart: NDArray[np.floating[Any]], how: Aggregation = "top_quarter"
) -> NDArray[np.float32]:
    """Make one value per frame of one per bodypart, those that are NaN left out.

    Parameters
    ----------
    per_bodypart : float array of shape (n, k)
    how : {"top_quarter", "max", "mean"}
        The mean of the highest quarter of the bodyparts that are not NaN (rounded up), which a
        single odd bodypart moves less than the maximum, and which many good ones do not hide as
        they do in the mean.

    Returns
    -------
    float32 array of shape (n,)
        NaN where all bodyparts are.

    Raises
    ------
    ValueError
        The array is not two-dimensional, or there is no such aggregation.
    """
    if per_bodypart.ndim != 2:
        raise ValueError(f"per_bodypart must have shape (n, k), got {per_bodypart.shape}")
    known = (~np.isnan(per_bodypart)).sum(axis=1)
    if how == "top_quarter":
        counted = -(-known // 4)
    elif how == "max":
        counted = np.minimum(known, 1)
    elif how == "mean":
        counted = known
    else:
        raise ValueError(f"how must be top_quarter, max or mean, got {how!r}")
    falling = -np.sort(-per_bodypart.astype(np.float64), axis=1)  # NaN last
    is_counted = np.arange(per_bodypart.shape[1]) < counted[:, None]
    sums = np.where(is_counted, falling, 0).sum(axis=1)
    means = np.where(counted > 0, sums / np.maximum(counted, 1), np.nan)
    return np.asarray(means, np.float32)


def doubts_per_bodypart(signals: Mapping[str, NDArray[np.float32]], by: str) -> NDArray[np.float32]:
    """One of the pose model's signals, turned so that more is more doubtful.

    Of `confidence`, what is missing to 1; the entropy of a bodypart that is absent is not known.

    Parameters
    ----------
    signals : mapping of str to float32 array of shape (n, ...)
        `by`, and `absent` where it is there.
    by : str
        One of `SIGNALS`.

    Returns
    -------
    float32 array of shape (n, k), or (n,) where a signal is of whole frames
    """
    values = signals[by]
    if by == "confidence":
        return np.asarray(1 - values, np.float32)
    if by == "mpe" and "absent" in signals:
        return np.where(signals["absent"] > 0, np.float32(np.nan), values)
    return values


def frame_scores(
    signals: Mapping[str, NDArray[np.float32]],
) -> dict[str, NDArray[np.float32]]:
    """One score per frame (n,) of each signal that is there, for choosing by it; and `presence`.

    More is more worth a look; NaN where it is not known.
    """
    scores = {}
    for by in SIGNALS:
        if by in signals:
            values = doubts_per_bodypart(signals, by)
            scores[by] = values if values.ndim == 1 else aggregate(values)
    if "presence" in signals:
        scores["presence"] = signals["presence"]
    return scores


def trust(doubt: NDArray[np.floating[Any]], error_px: NDArray[np.floating[Any]]) -> float:
    """How far a doubt has proved to know the true error, from 0 to 0.7.

    Spearman's rank correlation over n frames, times n / (n + 20): few frames prove little, and
    no doubt is ever trusted alone.

    Parameters
    ----------
    doubt, error_px : float arrays of shape (n,)
        NaN where not known.
    """
    correlation = rank_correlation(doubt, error_px)
    if correlation is None:
        return 0.0
    n = int((np.isfinite(doubt) & np.isfinite(error_px)).sum())
    return float(np.clip(correlation * n / (n + _TRUST_AFTER), 0, _MOST_TRUST))


def rank_correlation(
    doubt: NDArray[np.floating[Any]], error_px: NDArray[np.floating[Any]]
) -> float | None:
    """Spearman's rank correlation of arrays (n,), frames left out where one of them is NaN.

    None where it is not defined: for fewer than three frames, or where either does not vary.
    """
    known = np.isfinite(doubt) & np.isfinite(error_px)
    n = int(known.sum())
    if n < 3 or np.ptp(doubt[known]) == 0 or np.ptp(error_px[known]) == 0:
        return None
    return float(spearmanr(doubt[known], error_px[known]).statistic)
