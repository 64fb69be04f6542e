"""How unlike the labelled poses a pose is, whatever its place, direction and size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA

_SEEN = 0.6
"""A bodypart counts where its likelihood is above this."""

_PAIRS_SHARE = 0.5
_FEWEST = 30
"""Labelled animals that a pose must be comparable with."""

_FEWEST_IN_FIT = 5
_MOST_REFERENCES = 1000
_MOST_FOLDS = 10
_CLOSEST = 0.02
"""Shortest distance that is told apart, as a share of the animal's longest."""

_LEAST_VARIANCE = 1e-6
_ALTERNATIONS = 10
_CHUNK = 4096
"""Poses judged at a time."""

_VISIBLE_SHARE = 0.9
_KEPT_VARIANCE = 0.95
_THRESHOLD_PERCENT = 95
_ROUNDING = 1e-9
"""A distance between bodyparts that varies by a smaller share does not vary."""


class Novelty(NamedTuple):
    """How novel each animal of each frame is; all NaN where that cannot be told.

    Parameters
    ----------
    p_value : float64 array of shape (n, individuals)
        Share of labelled animals in held-out videos that are at least as unusual:
        (1 + #{reference >= own}) / (references + 1). Small is novel; a frame is as novel as the
        animal with the smallest.
    surprise : float64 array of shape (n, individuals)
        The squared Mahalanobis distance, 1 being the median of the same references. It goes on
        growing where the p-value has come to its least.
    log_scale : float64 array of shape (n, individuals)
        Natural logarithm of the animal's size to that of labelled ones, which the other two
        leave out: 0.69 is twice as large.
    """

    p_value: NDArray[np.float64]
    surprise: NDArray[np.float64]
    log_scale: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Shapes:
    """Mean (p,) and covariance (p, p) of the log distances, once an animal's size is taken out."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PoseNovelty:
    """The shapes of the labelled animals, to compare others with; made by `fit`.

    A shape is the logarithms of the distances between all pairs of bodyparts, less a constant
    for the animal's size: the size is fitted together with the distance, so that it drops out
    whichever pairs are observed. Its distance to the labelled ones is Mahalanobis', with the
    covariance shrunk as by Ledoit & Wolf (2004), of the observed pairs alone (a Gaussian
    marginalised over the others).

    How large a distance is usual is read off labelled videos that were held out: the videos are
    dealt out to at most 10 groups (up to 10 videos: each its own), and the animals of each
    group are measured by the shapes of the others. A new pose is measured by the same shapes and
    compared with the same group, over the same pairs of bodyparts, so that distances over few
    and over many pairs need no common unit (cross-conformal prediction, Vovk 2015).
    """

    _distances: NDArray[np.float64]  # (r, p) log distances of the labelled animals
    _seen: NDArray[np.bool_]  # (r, k)
    _group: NDArray[np.int64]  # (r,)
    _shapes: tuple[_Shapes, ...]  # of all groups but that one
    _usable: NDArray[np.bool_]  # (p,)

    @classmethod
    def fit(
        cls, labelled: NDArray[np.floating[Any]], video: NDArray[np.integer[Any]]
    ) -> PoseNovelty:
        """Learn the shapes of labelled animals.

        Pairs of bodyparts seen together in fewer than 30 animals are left out, and so are animals
        with less than half of the other pairs. Each missing pair is filled in with its mean,
        and the pair's deviations are enlarged to make up for it.

        Parameters
        ----------
        labelled : float array of shape (n, individuals, bodyparts >= 3, 3)
            x and y in pixels, and a likelihood, 1 for people's labels; NaN where not labelled.
        video : int array of shape (n,)
            Which video each frame is from.

        Raises
        ------
        ValueError
            If fewer than 30 animals of two videos are left.
        """
        _check(labelled, "labelled")
        if video.shape != labelled.shape[:1]:
            raise ValueError(
                f"video must have shape {labelled.shape[:1]}, one per frame, got {video.shape}"
            )
        animals = labelled.reshape(-1, *labelled.shape[2:])
        seen = _is_seen(animals)
        distances = _log_distances(animals, seen)
        n_known = np.isfinite(distances).sum(axis=0)
        common = n_known >= min(_FEWEST, max(n_known.max(), 1))
        enough = np.isfinite(distances[:, common]).sum(axis=1) >= _PAIRS_SHARE * common.sum()
        rows = np.flatnonzero(enough & common.any())
        names, number = np.unique(np.repeat(video, labelled.shape[1])[rows], return_inverse=True)
        if len(rows) < _FEWEST or len(names) < 2:
            raise ValueError(
                f"Pose novelty needs {_FEWEST} or more labelled animals with at least half of "
                f"their pairs of bodyparts, from 2 or more videos; there are {len(rows)}, from "
                f"{len(names)}. Label more frames first."
            )
        distances, group = distances[rows], number % min(len(names), _MOST_FOLDS)
        parts = [distances[group != held_out] for held_out in range(group.max() + 1)]
        counts = np.stack([np.isfinite(part).sum(axis=0) for part in parts])
        usable = common & (counts.min(axis=0) >= _FEWEST_IN_FIT)
        if not usable.any():
            raise ValueError(
                "Pose novelty needs labels of the same bodyparts in 2 or more videos; no pair of "
                f"bodyparts has {_FEWEST_IN_FIT} labels in each of them. Label more frames first."
            )
        shapes = tuple(_fit_shapes(part, usable) for part in parts)
        return cls(distances, seen[rows], group, shapes, usable)

    def score(self, poses: NDArray[np.floating[Any]]) -> Novelty:
        """Compare animals with the labelled ones.

        Bodyparts with a likelihood of at most 0.6 are left out, and as many of the others as it
        takes for 30 labelled animals to show them all. Where less than half of the pairs of
        bodyparts are left, nothing is told.

        Poses are dealt with in groups of the same missing bodyparts; each group takes about ten
        Cholesky decompositions of as many rows as there are pairs.

        Parameters
        ----------
        poses : float array of shape (n, individuals, bodyparts, 3)
            x and y in pixels, and the likelihood; NaN where not found.
        """
        _check(poses, "poses")
        if poses.shape[2] != self._seen.shape[1]:
            raise ValueError(
                f"poses must have the {self._seen.shape[1]} bodyparts of the labelled ones, got "
                f"{poses.shape[2]}"
            )
        animals = poses.reshape(-1, *poses.shape[2:])
        result = np.full((3, len(animals)), np.nan)
        for kept, rows in self._grouped(_is_seen(animals)):
            pairs = np.flatnonzero(_both(kept) & self._usable)
            judge = _Judge.of(self, kept, pairs)
            for low in range(0, len(rows), _CHUNK):
                part = rows[low : low + _CHUNK]
                seen = np.broadcast_to(kept, (len(part), len(kept)))
                result[:, part] = judge(_log_distances(animals[part], seen)[:, pairs])
        p_value, surprise, log_scale = result.reshape(3, *poses.shape[:2])
        return Novelty(p_value, surprise, log_scale)

    def _grouped(
        self, seen: NDArray[np.bool_]
    ) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.int64]]]:
        """Bodyparts (k,) to compare by, each with the rows of `seen` that it is for."""
        patterns, pattern = _unique_rows(seen)
        comparable = np.array([self._comparable(one) for one in patterns], bool)
        kept, group = _unique_rows(comparable.reshape(patterns.shape))
        for number, bodyparts in enumerate(kept):
            n_pairs = (_both(bodyparts) & self._usable).sum()
            if n_pairs >= max(2, _PAIRS_SHARE * self._usable.sum()):
                yield bodyparts, np.flatnonzero(group[pattern] == number)

    def _comparable(self, seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Those of the bodyparts (k,) that 30 labelled animals have all of."""
        kept = seen.copy()
        lacking = kept & ~self._seen
        while (~lacking.any(axis=1)).sum() < _FEWEST:
            most_lacking = lacking.sum(axis=0).argmax()
            kept[most_lacking] = lacking[:, most_lacking] = False
        return kept


@dataclass(frozen=True, slots=True)
class _Judge:
    """Shapes over some pairs (m of them), each with the distances of those held out."""

    _means: tuple[NDArray[np.float64], ...]  # (m,) each
    _factors: tuple[NDArray[np.float64], ...]  # (m, m), lower triangular
    _references: tuple[NDArray[np.float64], ...]  # squared distances, increasing

    @classmethod
    def of(cls, fitted: PoseNovelty, kept: NDArray[np.bool_], pairs: NDArray[np.int64]) -> _Judge:
        alike = np.flatnonzero((fitted._seen | ~kept).all(axis=1))
        alike = alike[:: -(-len(alike) // _MOST_REFERENCES)]
        means, factors, references = [], [], []
        for number, shapes in enumerate(fitted._shapes):
            rows = alike[fitted._group[alike] == number]
            if len(rows):
                mean = shapes.mean[pairs]
                covariance = shapes.covariance[np.ix_(pairs, pairs)]
                factor = np.asarray(np.linalg.cholesky(covariance), np.float64)
                held_out = fitted._distances[np.ix_(rows, pairs)]
                means.append(mean)
                factors.append(factor)
                references.append(np.sort(_squares(held_out, mean, factor)))
        return cls(tuple(means), tuple(factors), tuple(references))

    def __call__(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """P-value, surprise and log scale, as rows (3, n), of log distances (n, m)."""
        n_references = sum(map(len, self._references))
        n_above, mean_square = np.zeros(len(distances)), np.zeros(len(distances))
        log_scale = np.zeros(len(distances))
        for mean, factor, reference in zip(
            self._means, self._factors, self._references, strict=True
        ):
            squares = _squares(distances, mean, factor)
            n_above += len(reference) - np.searchsorted(reference, squares)
            share = len(reference) / n_references
            mean_square += share * squares
            log_scale += share * (distances - mean).mean(axis=1)
        p_value = np.where(np.isfinite(mean_square), (1 + n_above) / (1 + n_references), np.nan)
        median = np.median(np.concatenate(self._references))
        return np.stack([p_value, mean_square / max(median, 1e-12), log_scale])


def published_pose_novelty(
    labelled: NDArray[np.floating[Any]], poses: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], float]:
    """Measure novelty as the DeepLabCut study of active learning on Horse-10 did.

    Distances between all pairs of bodyparts in pixels; of animals with at least 90 % of the
    bodyparts visible; missing distances replaced by the labelled mean; standardised; the
    principal components that hold 95 % of the variance; Mahalanobis distance to the labelled.
    Where no distance varies (all labelled animals are the same) the length of the differences
    in pixels counts instead, and the threshold is 0.

    Parameters
    ----------
    labelled : float array of shape (m, individuals, bodyparts, 3)
    poses : float array of shape (n, individuals, bodyparts, 3)
        x and y in pixels, and the likelihood (visible above 0.6); NaN where not found.

    Returns
    -------
    distance : float64 array of shape (n, individuals)
        NaN where too few bodyparts are visible.
    threshold : float
        The 95th percentile of the labelled animals' own distances; novel is above it.

    Raises
    ------
    ValueError
        If fewer than two labelled animals are visible enough.
    """
    _check(labelled, "labelled")
    _check(poses, "poses")
    known = labelled.reshape(-1, *labelled.shape[2:])
    known = known[_is_seen(known).mean(axis=1) >= _VISIBLE_SHARE]
    if len(known) < 2:
        raise ValueError(
            "Pose novelty needs 2 or more labelled animals with 90 % of their bodyparts, there "
            f"are {len(known)}. Label more frames first."
        )
    distances = _distances(known, _is_seen(known))
    mean = _mean_of_known(distances)
    filled = np.where(np.isfinite(distances), distances, mean)
    spread = filled.std(axis=0)
    varies = spread > _ROUNDING * mean
    spread[~varies], mean[~varies] = 1, filled[0, ~varies]
    components = PCA(n_components=_KEPT_VARIANCE, svd_solver="full") if varies.any() else None
    if components is not None:
        components.fit((filled - mean) / spread)

    def to_labelled(animals: NDArray[np.float64]) -> NDArray[np.float64]:
        values = (np.where(np.isfinite(animals), animals, mean) - mean) / spread
        squares = values**2
        if components is not None:
            squares = components.transform(values) ** 2 / components.explained_variance_
        length: NDArray[np.float64] = np.sqrt(squares.sum(1))
        return length

    threshold = float(np.percentile(to_labelled(filled), _THRESHOLD_PERCENT))
    animals = poses.reshape(-1, *poses.shape[2:])
    seen = _is_seen(animals)
    visible = seen.mean(axis=1) >= _VISIBLE_SHARE
    result = np.full(len(animals), np.nan)
    if visible.any():
        result[visible] = to_labelled(_distances(animals[visible], seen[visible]))
    return result.reshape(poses.shape[:2]), threshold


def _is_seen(animals: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    seen: NDArray[np.bool_] = np.isfinite(animals).all(axis=2) & (animals[..., 2] > _SEEN)
    return seen


def _both(seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of bodyparts (..., k), the pairs (..., p) of which both are there."""
    one, other = np.triu_indices(seen.shape[-1], 1)
    return seen[..., one] & seen[..., other]


def _distances(animals: NDArray[np.floating[Any]], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distances (m, p) between the bodyparts of each pair, NaN where one is not seen."""
    one, other = np.triu_indices(animals.shape[1], 1)
    xy = np.where(seen[..., None], animals[..., :2], np.nan).astype(np.float64)
    offset = xy[:, one] - xy[:, other]
    distances: NDArray[np.float64] = np.hypot(offset[..., 0], offset[..., 1])
    return distances


def _log_distances(
    animals: NDArray[np.floating[Any]], seen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Logarithms of the distances; all NaN where all bodyparts lie in one place."""
    distances = _distances(animals, seen)
    longest = np.fmax.reduce(distances, axis=1)
    longest[longest == 0] = np.nan
    logs: NDArray[np.float64] = np.log(np.maximum(distances, _CLOSEST * longest[:, None]))
    return logs


def _fit_shapes(distances: NDArray[np.float64], usable: NDArray[np.bool_]) -> _Shapes:
    """Take each animal's size out of its log distances, then their mean and covariance.

    Size and mean are fitted in turn, as an animal's mean depends on which pairs are missing.
    """
    columns = distances[:, usable]
    known = np.isfinite(columns)
    size = np.zeros(len(columns))
    for _ in range(_ALTERNATIONS):
        mean = _mean_of_known(columns - size[:, None])
        size = np.nan_to_num(_mean_of_known((columns - mean).T))
    mean = _mean_of_known(columns - size[:, None])
    # A mean in place of what is missing takes away from the variance.
    enlarged = 1 / np.sqrt(known.mean(axis=0))
    deviations = np.where(known, columns - mean - size[:, None], 0) * enlarged
    covariance = LedoitWolf(assume_centered=True).fit(deviations).covariance_
    covariance[np.diag_indices_from(covariance)] += _LEAST_VARIANCE
    whole_mean = np.full(len(usable), np.nan)
    whole_mean[usable] = mean
    whole = np.full((len(usable), len(usable)), np.nan)
    whole[np.ix_(usable, usable)] = covariance
    return _Shapes(whole_mean, whole)


def _squares(
    distances: NDArray[np.float64], mean: NDArray[np.float64], factor: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared Mahalanobis distances (n,) of (n, m), at the size at which they are least."""
    finite = np.isfinite(distances).all(axis=1)
    result = np.full(len(distances), np.nan)
    whitened = solve_triangular(factor, (distances[finite] - mean).T, lower=True)  # (m, n)
    larger = solve_triangular(factor, np.ones(len(mean)), lower=True)
    along = larger @ whitened / np.sqrt(larger @ larger)
    result[finite] = np.maximum((whitened**2).sum(axis=0) - along**2, 0)
    return result


def _mean_of_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the rows that are not NaN; NaN where all are."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _unique_rows(
    rows: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Tell the different rows apart, and which of them each row is."""
    unique, number = np.unique(rows, axis=0, return_inverse=True)
    return unique, number.reshape(-1)


def _check(poses: NDArray[np.floating[Any]], name: str) -> None:
    if poses.ndim != 4 or poses.shape[2] < 3 or poses.shape[3] != 3:
        raise ValueError(
            f"{name} must have shape (n, individuals, bodyparts >= 3, 3), got {poses.shape}"
        )
