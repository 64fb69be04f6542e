"""The networks that can be trained in an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from alwatch.pose_models.unet import UNetModel, train_unet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alwatch.pose_models.prediction import Prediction
    from alwatch.records import ImageArray
    from alwatch.simulate.conditions import Conditions


class TrainedModel(Protocol):
    """A pose model of one animal."""

    def predict(self, frames: ImageArray, batch_size: int) -> Prediction:
        """RGB uint8 frames of shape (n, h, w, 3) to maps, poses and features."""
        ...


Model = TypeVar("Model", bound=TrainedModel)


class Trainer(Protocol[Model]):
    """A way to train a network on labelled frames; the same seed gives the same."""

    def train(
        self,
        frames: ImageArray,
        points_px: NDArray[np.float32],
        *,
        seed: int,
        start: Model | None = None,
    ) -> Model:
        """Train on labelled frames.

        Parameters
        ----------
        frames : uint8 array of shape (n, h, w, 3), RGB
        points_px : float32 array of shape (n, bodyparts, 2)
            x and y in pixels of the frames; NaN where not labelled.
        seed : int
        start : TrainedModel, optional
            One of this trainer's own to go on from; without it, the training begins anew.
        """
        ...


def trainer_for(conditions: Conditions, bodyparts: tuple[str, ...]) -> Trainer[Any]:
    """Make the trainer that the conditions name.

    Raises
    ------
    SettingsError
        It is not installed, or its weights or its device are not there.
    """
    if conditions.trainer == "unet":
        return UNetTrainer(conditions, bodyparts)
    from alwatch.simulate.deeplabcut_trainer import DeepLabCutTrainer

    return DeepLabCutTrainer(conditions, bodyparts)


@dataclass(frozen=True, slots=True)
class UNetTrainer:
    """Trains alwatch's own small network, on the processor."""

    conditions: Conditions
    bodyparts: tuple[str, ...]

    def train(
        self,
        frames: ImageArray,
        points_px: NDArray[np.float32],
        *,
        seed: int,
        start: UNetModel | None = None,
    ) -> UNetModel:
        """Train as `Trainer` says."""
        how = self.conditions
        network = train_unet(
            frames,
            points_px,
            input_size_px=how.size_px,
            steps=how.steps if start is None else how.more_steps,
            batch_size=how.batch_size,
            width=how.width,
            seed=seed,
            start=None if start is None else start.network,
        )
        return UNetModel(network, self.bodyparts)
