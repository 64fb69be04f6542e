"""DeepLabCut 3 models (PyTorch engine), run by DeepLabCut itself. Imported in the worker only.

DeepLabCut's own runner does all of its preprocessing, its one forward pass and its decoding of
poses; hooks read the heads' outputs, which it would drop, as they pass.
"""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from alwatch.errors import PoseModelError, SettingsError
from alwatch.pose_models.prediction import Prediction, ScoreMaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import ImageArray

_BODYPART_HEAD = "bodypart"
_HEADS = (_BODYPART_HEAD, "unique_bodypart")
"""What is read; an identity head's maps are of individuals."""


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

    Raises
    ------
    SettingsError
        A snapshot holds more than weights, or the model is of a type that cannot be scored.
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
        self._is_top_down = method is Task.TOP_DOWN
        _prepare(model_config)
        self._detector = None
        with _weights_only(snapshot):
            self._runner = utils.get_pose_inference_runner(
                model_config, snapshot, device=chosen, inference_cfg=_PLAIN
            )
        if detector is not None:
            with _weights_only(detector):
                self._detector = utils.get_detector_inference_runner(
                    model_config, detector, device=chosen, inference_cfg=_PLAIN
                )
        metadata = model_config["metadata"]
        self._n_shared = len(metadata["bodyparts"])
        self._n_individuals = len(metadata["individuals"])
        self.bodyparts = (*metadata["bodyparts"], *metadata["unique_bodyparts"])
        self._taps = _Taps(self._runner.model)
        self._runner.preprocessor = self._seen_inputs = _Inputs(self._runner.preprocessor)
        crop = model_config["data"]["inference"].get("top_down_crop") or {}
        self._no_features = (
            self._taps.no_features(crop.get("height", 256), crop.get("width", 256))
            if self._is_top_down
            else None
        )

    def predict(self, frames: ImageArray, batch_size: int) -> Prediction:
        """Score maps, poses and backbone features of RGB frames of shape (n, h, w, 3).

        Top-down: `batch_size` is that of the crops; the detector takes one frame at a time.
        Maps and features of whole frames are of the frame alone, without its padding.

        Raises
        ------
        PoseModelError
            DeepLabCut gave poses of more or fewer frames than it got.
        """
        images: list[Any] = list(frames)
        if self._detector is not None:
            boxes = self._detector.inference(images)
            images = list(zip(images, boxes, strict=True))
        self._runner.batch_size = batch_size
        self._seen_inputs.counts.clear()
        with self._taps.open() as seen:
            predicted = self._runner.inference(images)
        if len(predicted) != len(frames):
            raise PoseModelError(
                f"DeepLabCut gave poses of {len(predicted)} frames for {len(frames)}; its runner "
                "is out of step, and its poses would be those of other frames."
            )
        owner = np.repeat(np.arange(len(frames)), self._seen_inputs.counts)
        features, span_px = self._no_features, None
        if seen.features:
            features, span_px = self._on_frame(torch.cat(seen.features))
        return Prediction(
            maps=tuple(self._maps(seen.heads, owner)),
            poses=self._poses(predicted),
            n_unique=len(self.bodyparts) - self._n_shared,
            features=features,
            features_frame=None if features is None else owner,
            features_span_px=span_px,
            of_crops=self._is_top_down,
        )

    def weights(self) -> dict[str, Tensor]:
        """The network's tensors by name, as a snapshot holds them."""
        tensors: dict[str, Tensor] = self._runner.model.state_dict()
        return tensors

    def _maps(
        self, heads: dict[str, list[dict[str, Tensor]]], owner: NDArray[np.int64]
    ) -> Iterator[ScoreMaps]:
        for name, batches in heads.items():
            shared = name == _BODYPART_HEAD
            low, high = (0, self._n_shared) if shared else (self._n_shared, len(self.bodyparts))
            numbers = np.arange(low, high)
            if not batches or not len(numbers):
                continue
            one_animal = self._is_top_down or not shared
            model = self._runner.model
            for values, min_distance in _score_maps(
                model.heads[name], model.get_stride(name), batches
            ):
                kept, _ = self._on_frame(values[:, : len(numbers)])  # DEKR adds animals' centres
                yield ScoreMaps(
                    kept,
                    owner,
                    numbers,
                    n_expected=1 if one_animal else self._n_individuals,
                    min_distance=min_distance,
                )

    def _on_frame(self, values: Tensor) -> tuple[Tensor, tuple[float, float] | None]:
        """The part of whole-frame maps (m, c, h, w) that lies on the frame, and its span in px.

        The last cells may reach over the frame's edge.
        """
        if self._is_top_down:
            return values, None
        seen, cells = self._seen_inputs, values.shape[2:]
        rows, columns = (
            math.ceil(n * used / full)
            for n, used, full in zip(cells, seen.used_px, seen.full_px, strict=True)
        )
        height_px, width_px = (
            kept * full / n * scale
            for kept, full, n, scale in zip(
                (rows, columns), seen.full_px, cells, seen.scale, strict=True
            )
        )
        return values[:, :, :rows, :columns], (height_px, width_px)

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


_PLAIN = {
    "compile": {"enabled": False},  # hooks do not survive compilation
    # After an error, its threads would give each batch the poses of the batch before it.
    "multithreading": {"enabled": False},
}


def _prepare(model_config: Any) -> None:
    """Set, in a model's configuration, what must not depend on the project."""
    model_config["runner"]["load_weights_only"] = True
    if model_config["detector"] is not None:
        model_config["detector"]["runner"]["load_weights_only"] = True
    inference = model_config["data"]["inference"]
    if inference["auto_padding"]:  # by default the frame's place is random, its border a mirror
        inference["auto_padding"] = {
            **inference["auto_padding"],
            "position": "top_left",
            "border_mode": "constant",
            "border_value": 0,
        }


@contextmanager
def _weights_only(path: str) -> Iterator[None]:
    try:
        yield
    except pickle.UnpicklingError as error:
        raise SettingsError(
            f"{path} holds more than weights ({str(error).splitlines()[0]}), and loading it could "
            "run any code; use a snapshot as DeepLabCut 3 writes it."
        ) from error


class _Inputs:
    """DeepLabCut's preprocessor, noting what network inputs it makes of images.

    How many each image became and, of whole frames: the height and width of the input (`full_px`)
    and of the frame in its top left (`used_px`), and the pixels of the frame for each of these.
    """

    def __init__(self, preprocessor: Any) -> None:
        self._preprocessor = preprocessor
        self.counts: list[int] = []
        self.full_px = self.used_px = (0, 0)
        self.scale = (1.0, 1.0)

    def __call__(self, image: Any, context: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        height, width = image.shape[:2]
        inputs, context = self._preprocessor(image, context)
        self.counts.append(len(inputs))
        if isinstance(context["scales"], tuple):  # of crops, there is a list of them
            across, down = context["scales"]
            self.scale = (float(down), float(across))
            self.full_px = (inputs.shape[2], inputs.shape[3])
            self.used_px = (round(height / down), round(width / across))
        return inputs, context


class _Taps:
    """What passes through a model's backbone and heads while it is listened to."""

    def __init__(self, model: nn.Module) -> None:
        self._model: Any = model
        self.heads: dict[str, list[dict[str, Tensor]]] = {}
        self.features: list[Tensor] = []

    @contextmanager
    def open(self) -> Iterator[_Taps]:
        self.heads = {name: [] for name in _HEADS if name in self._model.heads}
        self.features = []
        hooks = [self._model.backbone.register_forward_hook(self._take_features)]
        for name in self.heads:
            hooks.append(self._model.heads[name].register_forward_hook(self._taker(name)))
        try:
            yield self
        finally:
            for hook in hooks:
                hook.remove()

    def no_features(self, height_px: int, width_px: int) -> Tensor | None:
        """The feature maps (0, c, 1, 1) of no input, if the backbone gives any."""
        device = next(self._model.parameters()).device
        with torch.inference_mode(), self.open():
            self._model.backbone(torch.zeros(1, 3, height_px, width_px, device=device))
        return torch.zeros(0, self.features[0].shape[1], 1, 1) if self.features else None

    def _take_features(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            self.features.append(output)

    def _taker(self, name: str) -> Any:
        def take(module: nn.Module, inputs: Any, output: dict[str, Tensor]) -> None:
            self.heads[name].append(output)

        return take


def _score_maps(
    head: Any, stride: float, batches: list[dict[str, Tensor]]
) -> list[tuple[Tensor, int]]:
    """Score maps (m, k, h, w) of a head's raw outputs and the least distance of their peaks.

    There are two where the head gives one for each axis.
    """
    predictor = head.predictor
    if "heatmap" in batches[0]:
        maps = torch.cat([batch["heatmap"] for batch in batches])
        scores = maps.sigmoid() if predictor.apply_sigmoid else maps.clamp(min=0)
        return [(scores, max(2, round(_two_sigmas_px(head.target_generator) / stride)))]
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


def _two_sigmas_px(generator: Any) -> float:
    """Two sigmas of the blobs that a head of heat maps was trained on; of plateaus, the diameter.

    In pixels of the network's input; 0 where it is not known.
    """
    for one in getattr(generator, "generators", [generator]):
        match type(one).__name__:
            case "HeatmapGaussianGenerator":
                return float(2 * one.std)
            case "HeatmapPlateauGenerator":
                return float(2 * one.dist_thresh)
            case "DEKRGenerator":  # its sigma is half of this
                return float(one.pos_dist_thresh)
    return 0.0


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
