"""What a pose model gives for some frames in one forward pass, whichever package it is from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import ImageArray


@dataclass(frozen=True, slots=True)
class ScoreMaps:
    """Score maps of some bodyparts, after the activation that their head needs.

    A model that looks at whole frames gives one map per frame and bodypart; a top-down model
    one per animal found, of a crop around it. Distributions over one axis are maps of height 1.

    Parameters
    ----------
    values : float tensor of shape (m, k, h, w), >= 0, about 1 where the model is certain
    frame : int64 array of shape (m,)
        Which of the n frames each map is of.
    bodyparts : int64 array of shape (k,)
        Which of the model's bodyparts each channel is of.
    n_expected : int
        How many animals one map may show.
    min_distance : int
        Cells between two peaks at least, about two sigmas of the blobs that it was trained on.
    """

    values: Tensor
    frame: NDArray[np.int64]
    bodyparts: NDArray[np.int64]
    n_expected: int = 1
    min_distance: int = 2

    def __post_init__(self) -> None:
        if self.values.ndim != 4:
            raise ValueError(f"values must have shape (m, k, h, w), got {tuple(self.values.shape)}")
        wanted = (len(self.frame), len(self.bodyparts))
        if tuple(self.values.shape[:2]) != wanted:
            raise ValueError(
                f"values must begin with the shape {wanted} of frame and bodyparts, got "
                f"{tuple(self.values.shape)}"
            )


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one forward pass over n frames gave.

    Parameters
    ----------
    maps : tuple of ScoreMaps
        More than one where heads differ in size; a bodypart may occur in several.
    poses : float32 array of shape (n, individuals, bodyparts, 3)
        x and y in pixels of the frame (0 is the middle of the first pixel, as in the package
        that the model is from), and the likelihood; NaN where nothing was found.
    n_unique : int
        How many of the bodyparts, the last ones, are the scene's; they lie with the first
        individual.
    features : float tensor of shape (m, c, h, w), optional
        The backbone's last feature map.
    features_frame : int64 array of shape (m,), optional
        Which frame each feature map is of.
    features_span_px : (float, float), optional
        Height and width, in pixels of the frame, that feature maps of whole frames reach over
        from the frame's top left; without it, the frame's own.
    of_crops : bool
        Whether maps and features are of crops around the animals, not of whole frames.
    learned_loss : float32 array of shape (n,), optional
        The error that the model itself predicts, where it has such an output.
    """

    maps: tuple[ScoreMaps, ...]
    poses: NDArray[np.float32]
    n_unique: int = 0
    features: Tensor | None = None
    features_frame: NDArray[np.int64] | None = None
    features_span_px: tuple[float, float] | None = None
    of_crops: bool = False
    learned_loss: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.poses.ndim != 4 or self.poses.shape[3] != 3:
            raise ValueError(f"poses must have shape (n, i, k, 3), got {self.poses.shape}")


class PoseModel(Protocol):
    """A loaded pose model, as the worker process sees it."""

    @property
    def bodyparts(self) -> tuple[str, ...]:
        """Names, in the order of the poses; bodyparts that only the scene has come last."""
        ...

    def predict(self, frames: ImageArray, batch_size: int) -> Prediction:
        """RGB uint8 frames of shape (n, h, w, 3) to maps, poses and features, in one pass."""
        ...
