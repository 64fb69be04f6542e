"""From what a pose model gives to the signals that are kept for every frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from alwatch.pose_models.prediction import Prediction, ScoreMaps
from alwatch.scores.aggregation import aggregate
from alwatch.scores.bodypart_tokens import bodypart_vector
from alwatch.scores.mpe import mpe, mpe_softmax
from alwatch.scores.pose_signals import confidence, presence, with_scene_apart

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    FloatArray = NDArray[np.float32]


def signals_of(prediction: Prediction) -> dict[str, FloatArray]:
    """Compute the signals that one forward pass gives.

    Returns
    -------
    dict of str to float32 array
        `pose` (n, i, k, 3); per bodypart, shape (n, k): `mpe` (0 where absent), `absent`,
        `mpe_softmax`, `confidence`; per frame, shape (n,): `uncertainty` (the mean MPE of the
        most uncertain quarter of the bodyparts), `presence` (of the animal that is surest there;
        bodyparts of the scene count only where the model has no others), and `learned_loss`
        where the model has one.
    """
    n, _, n_bodyparts, _ = prediction.poses.shape
    entropy = np.zeros((n, n_bodyparts), np.float32)
    softmax = np.zeros((n, n_bodyparts), np.float32)
    absent = np.ones((n, n_bodyparts), np.float32)
    for maps in prediction.maps:
        found = mpe(maps.values, min_distance_px=maps.min_distance, n_expected=maps.n_expected)
        _merge(entropy, maps, found.entropy, np.maximum)
        _merge(softmax, maps, mpe_softmax(maps.values), np.maximum)
        _merge(absent, maps, found.absent, np.minimum)
    certain = with_scene_apart(confidence, prediction.poses, n_unique=prediction.n_unique)
    signals = {
        "pose": prediction.poses,
        "mpe": entropy,
        "absent": absent,
        "mpe_softmax": softmax,
        "confidence": certain,
        "uncertainty": aggregate(np.where(absent > 0, np.nan, entropy)),
        "presence": _surest_presence(prediction),
    }
    if prediction.learned_loss is not None:
        signals["learned_loss"] = prediction.learned_loss
    return {name: np.asarray(values, np.float32) for name, values in signals.items()}


def feature_vectors(prediction: Prediction, frame_size_px: tuple[int, int]) -> FloatArray | None:
    """Vectors (n, 2 c) of the model's own backbone: the whole frame, and around the bodyparts.

    Where the backbone saw crops around the animals, the whole frame is the mean of the crops and
    so are the bodyparts: the crops are centred on them already.
    """
    features, owner = prediction.features, prediction.features_frame
    if features is None or owner is None:
        return None
    n = len(prediction.poses)
    if not prediction.of_crops:
        best = _best_animal(prediction.poses)
        span_px = prediction.features_span_px or frame_size_px
        return _to_numpy(
            bodypart_vector(features, best[..., :2], best[..., 2], frame_size_px=span_px)
        )
    crops = _to_numpy(features.mean(dim=(2, 3)))
    sums = np.zeros((n, crops.shape[1]), np.float32)
    np.add.at(sums, owner, crops)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    unit = sums / np.where(lengths > 0, lengths, 1)
    joined: FloatArray = np.concatenate([unit, unit], axis=1) * np.float32(0.5**0.5)
    return joined


def _surest_presence(prediction: Prediction) -> FloatArray:
    """Presence (n,) of each frame's surest animal: a second, faint one takes nothing from it."""
    poses, n_unique = prediction.poses, prediction.n_unique
    if 0 < n_unique < poses.shape[2]:
        poses = poses[:, :, :-n_unique]
    n, n_individuals = poses.shape[:2]
    alone = confidence(poses.reshape(n * n_individuals, 1, *poses.shape[2:]))
    surest: FloatArray = presence(alone).reshape(n, n_individuals).max(axis=1, initial=0)
    return surest


def _best_animal(poses: FloatArray) -> FloatArray:
    """Poses (n, k, 3) of the animal that each frame shows most confidently."""
    sums = np.nansum(poses[..., 2], axis=2)
    best: FloatArray = poses[np.arange(len(poses)), sums.argmax(axis=1)]
    return best


def _merge(into: FloatArray, maps: ScoreMaps, values: Tensor, combine: np.ufunc) -> None:
    """Take per-map values (m, k) into per-frame ones: the most uncertain map of a frame counts."""
    rows, columns = np.broadcast_arrays(maps.frame[:, None], maps.bodyparts[None])
    combine.at(into, (rows, columns), _to_numpy(values))


def _to_numpy(values: Tensor) -> FloatArray:
    return np.asarray(values.float().cpu().numpy(), np.float32)
