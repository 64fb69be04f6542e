"""How wrong a model is, how good a learning curve, and whether a difference is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon
from sklearn.isotonic import IsotonicRegression

from alwatch.scores.bootstrap import resampled_means

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ModelError:
    """How wrong a model is on some frames; all but `pck` are lower for a better one.

    Parameters
    ----------
    mean_px, rmse_px : float
        Of the distances of all labelled points.
    normalised : float
        The mean distance in lengths of the animal (the reference pair of bodyparts); NaN where
        there is but one bodypart.
    pck : float
        Share of the points that lie within a share of that length; NaN as well.
    individuals_px : float
        The mean over the individuals of their mean, each counting alike.
    worst_individual_px : float
        The mean of the individual that has the highest.
    """

    mean_px: float
    rmse_px: float
    normalised: float
    pck: float
    individuals_px: float
    worst_individual_px: float


def point_errors_px(
    found_px: NDArray[np.floating], truth_px: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Distances (n, k) between points (n, k, 2); NaN where nobody has labelled one.

    A point that a model does not give counts as lying at the frame's first pixel.
    """
    given = np.nan_to_num(np.asarray(found_px, np.float64), nan=0.0)
    distance: FloatArray = np.linalg.norm(given - truth_px, axis=2)
    return distance


def reference_lengths_px(
    truth_px: NDArray[np.floating], video: NDArray[np.int64], pair: tuple[int, int]
) -> FloatArray:
    """Length of the animal in each frame: its video's median distance between two bodyparts.

    As in the DeepLabCut study of active learning, where the two are eye and nose. Videos in which
    the two are never labelled together, or mostly in one place, have the median of the others.
    NaN where the pair is one bodypart.

    Raises
    ------
    ValueError
        The two are never labelled together and apart.
    """
    if pair[0] == pair[1]:
        return np.full(len(truth_px), np.nan)
    distance = np.linalg.norm(truth_px[:, pair[0]] - truth_px[:, pair[1]], axis=1)
    lengths = np.full(len(truth_px), np.nan)
    for number in np.unique(video):
        own = distance[(video == number) & np.isfinite(distance)]
        if len(own) and np.median(own) > 0:
            lengths[video == number] = np.median(own)
    if not np.isfinite(lengths).any():
        raise ValueError("the two bodyparts are never labelled together, in two places")
    return np.where(np.isfinite(lengths), lengths, np.nanmedian(lengths))


def model_error(
    errors_px: FloatArray,
    individual: NDArray[np.int64],
    lengths_px: FloatArray,
    *,
    pck_share: float,
) -> ModelError:
    """Sum up distances (n, k) of n frames.

    Parameters
    ----------
    errors_px : float array of shape (n, k)
    individual : int64 array of shape (n,)
    lengths_px : float array of shape (n,)
        Length of the animal.
    pck_share : float
        Of that length.
    """
    known = np.isfinite(errors_px)
    distances = errors_px[known]
    in_lengths = (errors_px / lengths_px[:, None])[known]
    of_individuals = [
        float(np.nanmean(errors_px[individual == number]))
        for number in np.unique(individual[known.any(axis=1)])
    ]
    return ModelError(
        mean_px=float(distances.mean()),
        rmse_px=float(np.sqrt((distances**2).mean())),
        normalised=float(in_lengths.mean()),
        pck=float(np.where(np.isnan(in_lengths), np.nan, in_lengths <= pck_share).mean()),
        individuals_px=float(np.mean(of_individuals)),
        worst_individual_px=max(of_individuals),
    )


def area_under_curve(n_labels: Sequence[float], error: Sequence[float]) -> float:
    """Mean height of a learning curve over the logarithm of its labels (trapezoids).

    Where all points have the same number of labels, as budgets beyond the pool do, their mean.
    """
    x, y = np.log(np.asarray(n_labels, float)), np.asarray(error, float)
    if x[-1] == x[0]:
        return float(y.mean())
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / (x[-1] - x[0]))


def labels_needed(n_labels: Sequence[float], error: Sequence[float], target: float) -> float:
    """How many labels bring a curve to an error, read off its falling fit over log(labels).

    The fit is the falling (isotonic) curve nearest to the points. Infinity where it does not get
    there; the least number of labels where it starts below.
    """
    x = np.log(np.asarray(n_labels, float))
    fit = IsotonicRegression(increasing=False).fit_transform(x, np.asarray(error, float))
    below = np.flatnonzero(fit <= target + 1e-12)
    if len(below) == 0:
        return float("inf")
    first = int(below[0])
    if first == 0:
        return float(np.exp(x[0]))
    share = (fit[first - 1] - target) / (fit[first - 1] - fit[first])
    return float(np.exp(x[first - 1] + share * (x[first] - x[first - 1])))


@dataclass(frozen=True, slots=True)
class Difference:
    """How a strategy differs from the baseline, over paired experiments.

    `low` and `high` bound the mean difference (95 %, bootstrap over the experiments); `p` is of
    the two-sided Wilcoxon test, and `p_holm` corrected for the number of strategies.
    """

    mean: float
    low: float
    high: float
    p: float
    p_holm: float


def differences(
    values: Mapping[str, FloatArray], baseline: str, rng: np.random.Generator
) -> dict[str, Difference]:
    """Compare every strategy's values with the baseline's, experiment by experiment.

    Parameters
    ----------
    values : mapping of str to float array of shape (experiments,)
        The same experiments in the same order for all.
    baseline : str
    rng : numpy.random.Generator
        For the bootstrap.
    """
    names = [name for name in values if name != baseline]
    paired = {name: values[name] - values[baseline] for name in names}
    p_values = {name: _wilcoxon(delta) for name, delta in paired.items()}
    corrected = dict(zip(names, holm([p_values[name] for name in names]), strict=True))
    found = {}
    for name, delta in paired.items():
        low, high = np.quantile(resampled_means(delta, rng), [0.025, 0.975])
        found[name] = Difference(
            float(delta.mean()), float(low), float(high), p_values[name], corrected[name]
        )
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979), in the order given."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    highest = 0.0
    for rank, index in enumerate(order.tolist()):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected.tolist()


def _wilcoxon(delta: FloatArray) -> float:
    if not np.any(delta):
        return 1.0
    return float(wilcoxon(delta).pvalue)
