"""DeepLabCut 3 models (PyTorch engine), run by DeepLabCut itself. Imported in the worker only.

DeepLabCut's own runner does all of its preprocessing, its one forward pass and its decoding of
poses; hooks read the heads' outputs, which it would drop, as they pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from alwatch.errors import SettingsError
from alwatch.pose_models.prediction import Prediction, ScoreMaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import ImageArray

_BODYPART_HEAD = "bodypart"


class DeepLabCutModel:
    """One snapshot of a DeepLabCut 3 project.

    Heads and what makes score maps of their outputs: heat maps (default, top-down, DEKR) are
    linear, or logits where the head's predictor says so; DLCRNet with part affinity fields
    gives logits; RTMPose gives two distributions, over columns and over rows.

    Parameters
    ----------
    config : str
        Path of its pytorch_config.yaml.
    snapshot : str
        Path of the weights.
    detector : str, optional
        Path of the detector's weights, which a top-down model needs.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    """

    def __init__(
        self, config: str, snapshot: str, *, detector: str | None = None, device: str = "auto"
    ) -> None:
        os.environ.setdefault("DLClight", "True")  # no windows
        from deeplabcut.pose_estimation_pytorch.apis import utils
        from deeplabcut.pose_estimation_pytorch.config import PoseConfig
        from deeplabcut.pose_estimation_pytorch.task import Task

        model_config = PoseConfig.from_yaml(config)
        chosen = None if device == "auto" else device
        method = Task(model_config["method"])
        if method is Task.TOP_DOWN and detector is None:
            raise SettingsError(
                f"{config} is a top-down model, which needs a detector; train the detector too."
            )
        if method not in (Task.BOTTOM_UP, Task.TOP_DOWN):
            raise SettingsError(
                f"{config} has the method {method.name}; bottom-up and top-down models can be "
                "scored."
            )
        self._runner = utils.get_pose_inference_runner(
            model_config, snapshot, device=chosen, inference_cfg=_EAGER
        )
        self._is_top_down = method is Task.TOP_DOWN
        self._detector = None
        if detector is not None:
            self._detector = utils.get_detector_inference_runner(
                model_config, detector, device=chosen, inference_cfg=_EAGER
            )
        metadata = model_config["metadata"]
        self._n_shared = len(metadata["bodyparts"])
        self._n_individuals = len(metadata["individuals"])
        self.bodyparts = (*metadata["bodyparts"], *metadata["unique_bodyparts"])
        self._taps = _Taps(self._runner.model)
        counted = _Counted(self._runner.preprocessor)
        self._runner.preprocessor = self._counted = counted

    def predict(self, frames: ImageArray, batch_size: int) -> Prediction:
        """Score maps, poses and backbone features of RGB frames of shape (n, h, w, 3).

        Top-down: `batch_size` is that of the crops; the detector takes one frame at a time.
        """
        images: list[Any] = list(frames)
        if self._detector is not None:
            boxes = self._detector.inference(images)
            images = list(zip(images, boxes, strict=True))
        self._runner.batch_size = batch_size
        self._counted.counts.clear()
        with self._taps.open() as seen:
            predicted = self._runner.inference(images)
        owner = np.repeat(np.arange(len(frames)), self._counted.counts)
        return Prediction(
            maps=tuple(self._maps(seen.heads, owner)),
            poses=self._poses(predicted),
            n_unique=len(self.bodyparts) - self._n_shared,
            features=torch.cat(seen.features) if seen.features else None,
            features_frame=owner if seen.features else None,
            of_crops=self._is_top_down,
        )

    def _maps(
        self, heads: dict[str, list[dict[str, Tensor]]], owner: NDArray[np.int64]
    ) -> Iterator[ScoreMaps]:
        for name, batches in heads.items():
            if not batches:
                continue
            shared = name == _BODYPART_HEAD
            low, high = (0, self._n_shared) if shared else (self._n_shared, len(self.bodyparts))
            numbers = np.arange(low, high)
            one_animal = self._is_top_down or not shared
            head = self._runner.model.heads[name]
            for values, min_distance in _score_maps(head, batches):
                yield ScoreMaps(
                    values[:, : len(numbers)],  # DEKR adds a map of the animals' centres
                    owner,
                    numbers,
                    n_expected=1 if one_animal else self._n_individuals,
                    min_distance=min_distance,
                )

    def _poses(self, predicted: list[dict[str, Any]]) -> NDArray[np.float32]:
        poses = np.full(
            (len(predicted), self._n_individuals, len(self.bodyparts), 3), np.nan, np.float32
        )
        for row, result in enumerate(predicted):
            found = result["bodyparts"][: self._n_individuals, :, :3]
            poses[row, : len(found), : self._n_shared] = found
            if "unique_bodyparts" in result:
                poses[row, 0, self._n_shared :] = result["unique_bodyparts"][0, :, :3]
        poses[~(poses[..., 2] > 0)] = np.nan  # DeepLabCut pads with -1 what was not found
        return poses


_EAGER = {"compile": {"enabled": False}}  # hooks do not survive compilation


class _Counted:
    """DeepLabCut's preprocessor, noting how many network inputs each image became."""

    def __init__(self, preprocessor: Any) -> None:
        self._preprocessor = preprocessor
        self.counts: list[int] = []

    def __call__(self, image: Any, context: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        inputs, context = self._preprocessor(image, context)
        self.counts.append(len(inputs))
        return inputs, context


class _Taps:
    """What passes through a model's backbone and heads while it is listened to."""

    def __init__(self, model: nn.Module) -> None:
        self._model: Any = model
        self.heads: dict[str, list[dict[str, Tensor]]] = {}
        self.features: list[Tensor] = []

    @contextmanager
    def open(self) -> Iterator[_Taps]:
        self.heads = {name: [] for name in self._model.heads}
        self.features = []
        hooks = [self._model.backbone.register_forward_hook(self._take_features)]
        for name, head in self._model.heads.items():
            hooks.append(head.register_forward_hook(self._taker(name)))
        try:
            yield self
        finally:
            for hook in hooks:
                hook.remove()

    def _take_features(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            self.features.append(output)

    def _taker(self, name: str) -> Any:
        def take(module: nn.Module, inputs: Any, output: dict[str, Tensor]) -> None:
            self.heads[name].append(output)

        return take


def _score_maps(head: Any, batches: list[dict[str, Tensor]]) -> list[tuple[Tensor, int]]:
    """Score maps (m, k, h, w) of a head's raw outputs and the least distance of their peaks.

    There are two where the head gives one for each axis.
    """
    predictor = head.predictor
    if "heatmap" in batches[0]:
        maps = torch.cat([batch["heatmap"] for batch in batches])
        return [(maps.sigmoid() if predictor.apply_sigmoid else maps.clamp(min=0), 2)]
    if "x" in batches[0] and "y" in batches[0]:
        along_x = torch.cat([batch["x"] for batch in batches])
        along_y = torch.cat([batch["y"] for batch in batches])
        return [
            (_axis_map(values, predictor, axis), max(2, round(2 * float(predictor.sigma[axis]))))
            for axis, values in enumerate((along_x, along_y))
        ]
    raise SettingsError(
        f"A head of this model gives {', '.join(batches[0])}; score maps can be read from "
        "`heatmap`, or from `x` and `y`. Use a model with heat maps or RTMPose."
    )


def _axis_map(values: Tensor, predictor: Any, axis: int) -> Tensor:
    """RTMPose's scores over one axis, (m, k, bins), as maps (m, k, 1, bins) with a top of <= 1.

    They are scaled as its predictor does before the maximum is taken as the likelihood.
    """
    if predictor.normalize_outputs:
        values = values.clamp(min=0)
        top = values.amax(dim=-1, keepdim=True)
        values = torch.where(top > 1, values / top, values)
    else:
        values = values * float(predictor.sigma[axis] * predictor.decode_beta)
    if predictor.apply_softmax:
        values = values.softmax(dim=-1)
    values = values.clamp(min=0)
    top = values.amax(dim=-1, keepdim=True)
    return torch.where(top > 1, values / top, values)[:, :, None]
