"""By what frames of an experiment are compared: the base model's backbone, an embedder, truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from alwatch.embedders.hog import HogEmbedder
from alwatch.errors import SettingsError, shown

if TYPE_CHECKING:
    from alwatch.protocols import Embedder
    from alwatch.records import FloatArray, ImageArray

POSE = "pose"
"""The backbone of the model that was trained on the start, at the whole frame and the bodyparts."""

TRUTH = "truth"
"""Where people put the bodyparts, which only an experiment knows: what features could win."""

_WITHOUT_WEIGHTS = (POSE, TRUTH, "hog")


def embedder_for(features: str, weights: str | None, device: str) -> Embedder | None:
    """Make the embedder that the frames are compared by; None for `POSE` and `TRUTH`.

    Raises
    ------
    SettingsError
        No such features, or weights for some that have none.
    WeightsError
        The weights are not there, or not this network's.
    """
    if features in _WITHOUT_WEIGHTS:
        if weights is not None:
            raise SettingsError(
                f"--features-weights is {shown(weights)}, but {features} takes no weights; leave "
                "it out, or name a network with --features."
            )
        return HogEmbedder() if features == "hog" else None
    # Only here, as each of an experiment's processes would wait for the import.
    from alwatch.embedders.networks import DINO_MODELS, AlexNetEmbedder, DinoEmbedder

    names = (*_WITHOUT_WEIGHTS, "alexnet", *DINO_MODELS)
    if features not in names:
        raise SettingsError(f"--features is {shown(features)}; it must be {', '.join(names)}.")
    file = None if weights is None else Path(weights)
    if features == "alexnet":
        return AlexNetEmbedder(weights=file, device=device)
    return DinoEmbedder(model=features, weights=file, device=device)


def true_poses(points_px: FloatArray, size_px: tuple[int, int]) -> FloatArray:
    """Vectors (n, 2 k) of the bodyparts' places (n, k, 2) from the middle of frames (h, w).

    What is not labelled counts as lying there.
    """
    middle = np.array([size_px[1] - 1, size_px[0] - 1], np.float32) / 2
    return np.nan_to_num(points_px - middle).reshape(len(points_px), -1).astype(np.float32)


def embed(embedder: Embedder, images: ImageArray) -> FloatArray:
    """Vectors (n, dim) of RGB uint8 images (n, h, w, 3), brought to the size that is wanted."""
    height, width = embedder.frame_size_px(*images.shape[1:3])
    fitted = [
        cv2.resize(image, (width, height), interpolation=_how(image, height)) for image in images
    ]
    return embedder.embed(np.stack(fitted).astype(np.uint8))


def _how(image: ImageArray, height: int) -> int:
    return cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
