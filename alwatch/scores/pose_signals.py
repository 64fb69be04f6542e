"""What predicted poses tell: confidence, presence, disagreement between poses, the true error.

A bodypart counts as found where x, y and likelihood are all finite. Where a frame shows several
animals, one number per frame and bodypart is kept: that of the worst animal, except for the
error, which is a mean. Bodyparts of the scene alone, which belong to no animal, are given in a
call of their own, with one individual: see `with_scene_apart`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

_FAINT = 0.1
"""Two bodyparts both less likely than this are noise: their places mean nothing."""

_SCALE = 0.1
_THINNEST = 0.25
_SHARPEST_PX = 1.0
_CHUNK = 1024
"""Frames compared at a time."""

_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l"}
_WORD = re.compile("left|right", re.IGNORECASE)
_LETTER = re.compile("[LR]|(?<![A-Za-z])[lr]|[lr](?![A-Za-z])")
"""A single letter that may stand for a side: a capital, or at the edge of a run of letters."""


def confidence(poses: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Tell how sure a model is of each bodypart; with several animals, of the worst of them.

    Parameters
    ----------
    poses : float array of shape (n, individuals, bodyparts, 3)
        x and y in pixels, and the likelihood, which is clipped to 0..1; NaN where not found.

    Returns
    -------
    float32 array of shape (n, bodyparts)
        The lowest likelihood among the individuals of which any bodypart was found; one that is
        not found counts 0, and a frame without an animal is all 0.
    """
    _check_poses(poses, "poses")
    found = np.isfinite(poses).all(axis=3)  # (n, i, k)
    likelihood = np.where(found, np.clip(poses[..., 2], 0, 1), 0)
    present = found.any(axis=2)
    lowest = np.where(present[..., None], likelihood, np.inf).min(axis=1, initial=np.inf)
    return np.where(np.isfinite(lowest), lowest, 0).astype(np.float32)


def presence(confidence: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Tell how sure a model is that there is an animal at all.

    An animal of which one half is hidden is still there, and where there is none, all bodyparts
    are unsure: so it is the mean over the surer half of the bodyparts (rounded up).

    Parameters
    ----------
    confidence : float array of shape (n, bodyparts), between 0 and 1

    Returns
    -------
    float32 array of shape (n,)
        Between 0 and 1.
    """
    if confidence.ndim != 2 or confidence.shape[1] == 0:
        raise ValueError(f"confidence must have shape (n, bodyparts >= 1), got {confidence.shape}")
    half = (confidence.shape[1] + 1) // 2
    surer = np.sort(confidence, axis=1)[:, -half:]
    return np.asarray(surer.mean(axis=1), np.float32)


def pose_disagreement(
    a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """Compare two poses of the same frames, bodypart by bodypart.

    ``d / (d + s)`` for two places of a bodypart d px apart: a half where they are s apart. (The
    Gaussian kernel of COCO's object keypoint similarity is 1 wherever a weak model is off by
    more than that, and then ranks nothing.) The scale s is a tenth of the square root of the
    area of the animal's bounding box, the larger of its two; the box is of the
    bodyparts with a likelihood of at least 0.1, its shorter side counts as at least a quarter
    of the longer (an animal in line with an axis has no area), and s is at least 1 px.

    The likelihood matters only thus: a bodypart whose better likelihood is below 0.1 is in
    neither pose. A sure and an unsure place far apart disagree; the same place never does.

    Several animals are matched, whatever their order, so that they disagree the least.

    Parameters
    ----------
    a, b : float arrays of shape (n, individuals, bodyparts, 3)
        x and y in pixels, and the likelihood; NaN where not found.

    Returns
    -------
    float32 array of shape (n, bodyparts)
        Between 0 and 1, of the animal that disagrees most; 1 where one pose only has the
        bodypart, NaN where neither has.
    """
    _check_poses(a, "a")
    if a.shape != b.shape:
        raise ValueError(f"a and b must have the same shape, got {a.shape} and {b.shape}")
    result = np.full((len(a), a.shape[2]), np.nan, np.float32)
    if 0 in a.shape[1:3]:  # no animal, or none of its bodyparts: only the scene's
        return result
    for low in range(0, len(a), _CHUNK):
        part = slice(low, low + _CHUNK)
        pairs = _of_every_pair(a[part], b[part])  # (n, i, i, k)
        partner = _matched(np.nansum(pairs, axis=3))
        matched = np.take_along_axis(pairs, partner[:, :, None, None], axis=2)[:, :, 0]
        result[part] = np.fmax.reduce(matched, axis=1)
    return result


def with_scene_apart(
    signal: Callable[..., NDArray[np.float32]],
    *poses: NDArray[np.floating[Any]],
    n_unique: int,
) -> NDArray[np.float32]:
    """Apply a signal to the animals' bodyparts and, in a call of its own, to the scene's.

    Parameters
    ----------
    signal : callable
        One of this module's, of poses to an array of shape (n, bodyparts).
    *poses : float arrays of shape (..., individuals, bodyparts, 2 or 3)
        The last `n_unique` bodyparts are the scene's, kept with the first individual.
    n_unique : int

    Returns
    -------
    float32 array of shape (n, bodyparts)
    """
    if n_unique == 0:
        return signal(*poses)
    animals = signal(*(array[..., :-n_unique, :] for array in poses))
    scene = signal(*(array[..., :1, -n_unique:, :] for array in poses))
    return np.concatenate([animals, scene], axis=1)


def ensemble_variance(poses: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Tell how much several models disagree: their mean pairwise `pose_disagreement`.

    Parameters
    ----------
    poses : float array of shape (models >= 2, n, individuals, bodyparts, 3)

    Returns
    -------
    float32 array of shape (n, bodyparts)
        Between 0 and 1. Two models that both miss what a third one sees agree; NaN where none
        sees it.
    """
    if poses.ndim != 5 or len(poses) < 2:
        raise ValueError(
            f"poses must have shape (models >= 2, n, individuals, bodyparts, 3), got {poses.shape}"
        )
    total = np.zeros((poses.shape[1], poses.shape[3]))
    seen = np.zeros(total.shape, bool)
    pairs = list(itertools.combinations(poses, 2))
    for one, other in pairs:
        disagreement = pose_disagreement(one, other)
        seen |= np.isfinite(disagreement)
        total += np.nan_to_num(disagreement)
    return np.where(seen, total / len(pairs), np.nan).astype(np.float32)


def swap_pairs(bodyparts: Sequence[str]) -> NDArray[np.int64]:
    """Find the left and right bodyparts that trade places in a mirror, by their names.

    Understood are the words left and right (`leftear`, `Right_Ear`) and the letters L and R as
    capitals or at an edge of a word (`wingL`, `forelegR1`, `l_ear`, `ear_r`, `lear`, `FL_paw`).
    Two names are partners only if each is the other's mirror image, so `tail` stays alone.

    Parameters
    ----------
    bodyparts : sequence of str

    Returns
    -------
    int64 array of shape (bodyparts,)
        The number of each one's partner, or its own.
    """
    number = {name.lower(): index for index, name in enumerate(bodyparts)}
    partners = np.array([_partner(name, number) for name in bodyparts], dtype=np.int64)
    own = np.arange(len(bodyparts))
    mutual = partners[partners] == own if len(own) else np.empty(0, bool)
    return np.where(mutual, partners, own)


def flipped_poses(
    poses: NDArray[np.floating[Any]], width_px: int, swaps: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    """Turn the poses seen in mirrored frames into poses in the frames themselves, or back.

    Parameters
    ----------
    poses : float array of shape (..., bodyparts, 3)
        x, y and whatever else; x = 0 is the middle of the first pixel.
    width_px : int
        Width of the frames.
    swaps : int array of shape (bodyparts,)
        What `swap_pairs` gives.

    Returns
    -------
    float32 array of the same shape
        A new array; twice gives the poses themselves.
    """
    n_bodyparts = poses.shape[-2] if poses.ndim >= 2 else -1
    if swaps.shape != (n_bodyparts,) or not np.array_equal(swaps[swaps], np.arange(n_bodyparts)):
        raise ValueError(
            "swaps must hold one partner for each bodypart, mutually, got "
            f"{swaps.tolist()} for poses of shape {poses.shape}"
        )
    flipped = np.array(poses[..., swaps, :], dtype=np.float32)
    flipped[..., 0] = width_px - 1 - flipped[..., 0]
    return flipped


def pose_error(
    poses: NDArray[np.floating[Any]], truth: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """Measure how far predicted bodyparts lie from where people put them.

    Each labelled animal is matched with another predicted one, so that the total distance is
    least. A labelled bodypart that a prediction lacks counts there as more than the size of the
    animal and any distance in the frame, so that a stray point does not win over a whole animal.

    Parameters
    ----------
    poses : float array of shape (n, individuals, bodyparts, 3) or (..., 2)
        x and y in pixels, in front; NaN where not found.
    truth : float array of shape (n, labelled individuals, bodyparts, 2)
        x and y in pixels, NaN where not labelled.

    Returns
    -------
    float32 array of shape (n, bodyparts)
        Euclidean distance in pixels, the mean over the frame's animals; NaN where none is both
        labelled and found.
    """
    if poses.ndim != 4 or truth.ndim != 4 or truth.shape[3] != 2 or poses.shape[3] < 2:
        raise ValueError(
            "poses must have shape (n, individuals, bodyparts, 3) and truth (n, individuals, "
            f"bodyparts, 2), got {poses.shape} and {truth.shape}"
        )
    if (len(poses), poses.shape[2]) != (len(truth), truth.shape[2]):
        raise ValueError(
            "poses and truth must be of the same frames and bodyparts, got shapes "
            f"{poses.shape} and {truth.shape}"
        )
    offset = truth[:, :, None].astype(np.float64) - poses[:, None, :, :, :2]
    distance = np.sqrt((offset**2).sum(axis=4))  # (n, labelled, predicted, k)
    distance[~np.isfinite(distance)] = np.nan
    result = np.full((len(poses), poses.shape[2]), np.nan, np.float32)
    if distance.size:
        for row, (animals, found) in enumerate(map(linear_sum_assignment, _costs(distance, truth))):
            result[row] = _mean_of_known(distance[row, animals, found])
    return result


def _costs(distance: NDArray[np.float64], truth: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Cost (n, labelled, predicted) of every match, by distances (n, labelled, predicted, k)."""
    sides = np.fmax.reduce(truth, axis=2) - np.fmin.reduce(truth, axis=2)
    size = np.nan_to_num(np.hypot(sides[..., 0], sides[..., 1]))  # (n, labelled)
    largest = np.nan_to_num(np.fmax.reduce(distance, axis=(1, 2, 3)))
    labelled = np.isfinite(truth).all(axis=3)[:, :, None]
    n_missed = (labelled & np.isnan(distance)).sum(axis=3)
    penalty = 1 + size + largest[:, None]
    costs: NDArray[np.float64] = np.nansum(distance, axis=3) + n_missed * penalty[:, :, None]
    return costs


def _of_every_pair(
    a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Disagreement (n, i, i, k) of every individual of one pose with every one of the other."""
    one, other = a.astype(np.float64), b.astype(np.float64)
    scale = np.maximum(_scale_px(one)[:, :, None], _scale_px(other)[:, None])  # (n, i, i)
    one, other = one[:, :, None], other[:, None]  # (n, i, 1, k, 3), (n, 1, i, k, 3)
    in_one, in_other = np.isfinite(one).all(axis=4), np.isfinite(other).all(axis=4)
    distance = np.sqrt(((one[..., :2] - other[..., :2]) ** 2).sum(axis=4))
    apart = distance / (distance + scale[..., None])
    sure = (in_one & (one[..., 2] >= _FAINT)) | (in_other & (other[..., 2] >= _FAINT))
    return np.where(sure, np.where(in_one & in_other, apart, 1.0), np.nan)


def _scale_px(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distance (n, i) in pixels that counts as a half, by the size of each animal."""
    firm = np.isfinite(poses).all(axis=3) & (poses[..., 2] >= _FAINT)
    places = np.where(firm[..., None], poses[..., :2], np.nan)
    sides = np.fmax.reduce(places, axis=2) - np.fmin.reduce(places, axis=2)  # (n, i, 2)
    longer, shorter = sides.max(axis=2), sides.min(axis=2)
    area = longer * np.maximum(shorter, _THINNEST * longer)
    scale: NDArray[np.float64] = np.fmax(_SCALE * np.sqrt(area), _SHARPEST_PX)
    return scale


def _matched(cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each row of (n, i, i) costs its column, such that the total of each frame is least."""
    n, size, _ = cost.shape
    if size == 1:
        return np.zeros((n, 1), np.int64)
    columns = [linear_sum_assignment(of_frame)[1] for of_frame in cost]
    return np.array(columns, dtype=np.int64).reshape(n, size)


def _mean_of_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the rows of (m, k) that are not NaN; NaN where all are."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _partner(name: str, number: dict[str, int]) -> int:
    own = number[name.lower()]
    return next((number[image] for image in _mirror_images(name) if image in number), own)


def _mirror_images(name: str) -> Iterator[str]:
    """Lower-case names that a bodypart's partner may have, the likeliest first."""
    if _WORD.search(name):
        yield _WORD.sub(_other_side, name).lower()
    yield _LETTER.sub(_other_side, name).lower()
    for match in _LETTER.finditer(name):
        yield (name[: match.start()] + _other_side(match) + name[match.end() :]).lower()


def _other_side(match: re.Match[str]) -> str:
    return _SIDES[match.group().lower()]


def _check_poses(poses: NDArray[np.floating[Any]], name: str) -> None:
    if poses.ndim != 4 or poses.shape[3] != 3:
        raise ValueError(
            f"{name} must have shape (n, individuals, bodyparts, 3), got {poses.shape}"
        )
