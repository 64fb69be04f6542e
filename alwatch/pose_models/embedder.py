"""The pose model's own backbone as an embedder: what it looks at is what it was trained for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from alwatch.records import EmbedderIdentity

if TYPE_CHECKING:
    from alwatch.pose_models.process import PoseProcess
    from alwatch.records import FloatArray, ImageArray


class PoseEmbedder:
    """Vectors of the backbone: the whole frame's, joined with those at the bodyparts.

    Another snapshot is another embedder, whose vectors are not compared with these; the
    snapshot is the one that is current when this is made.

    Parameters
    ----------
    open_scorer : callable
        Gives the pose model in its worker, features among its signals.

    Raises
    ------
    SettingsError
        There is no pose model, or it has no features.
    PoseModelError
        Its worker failed.
    """

    def __init__(self, *, open_scorer: Callable[[], PoseProcess]) -> None:
        self._scorer = open_scorer()
        trial = self.embed(np.full((1, 128, 128, 3), 127, np.uint8))
        snapshot = self._scorer.snapshot
        self._identity = EmbedderIdentity("pose", snapshot.sha256, trial.shape[1])

    @property
    def identity(self) -> EmbedderIdentity:
        """Name, the snapshot's sha256, and dimension."""
        return self._identity

    def frame_size_px(self, height_px: int, width_px: int) -> tuple[int, int]:
        """The frame's own size: the model brings it to the one it needs."""
        return height_px, width_px

    def embed(self, frames: ImageArray) -> FloatArray:
        """Embed RGB uint8 frames of shape (n, h, w, 3) as float32 vectors of shape (n, dim)."""
        return self._scorer.score(frames)["features"]
