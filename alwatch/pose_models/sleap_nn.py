"""SLEAP models trained with sleap-nn, run by sleap-nn itself. Imported in the worker only.

Its own inference layer does all of the preprocessing, the one forward pass and the decoding of
poses; hooks read the confidence maps and the bottleneck's features as they pass.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from alwatch.errors import PoseModelError, SettingsError
from alwatch.pose_models.prediction import Prediction, ScoreMaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import ImageArray


class SleapNnModel:
    """A single-instance, bottom-up or top-down model.

    Its heads are linear, trained towards Gaussians of height 1: maps are cut at zero. The middle
    of cell i lies on pixel i * stride. Poses are those of sleap-nn's own predictor with its
    defaults: peaks below 0.2 count as not found.

    Parameters
    ----------
    folders : sequence of str
        The model folder; of a top-down model, those of the centroid and the centered-instance
        model.
    individuals : int
        Animals in a frame at most.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".

    Raises
    ------
    SettingsError
        A checkpoint holds more than weights, or the model is of a type that cannot be scored.
    PoseModelError
        A checkpoint cannot be read.
    """

    def __init__(
        self, folders: Sequence[str], *, individuals: int = 1, device: str = "auto"
    ) -> None:
        for folder in folders:
            _check_checkpoint(Path(folder) / "best.ckpt")
        from sleap_nn.data.normalization import convert_to_grayscale
        from sleap_nn.inference import Predictor
        from sleap_nn.inference.layers.bottomup import BottomUpLayer
        from sleap_nn.inference.layers.single_instance import SingleInstanceLayer
        from sleap_nn.inference.layers.topdown import TopDownLayer

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        predictor = Predictor.from_model_paths(
            list(folders), device=device, max_instances=individuals
        )
        self._layer = layer = predictor.layer
        self._is_top_down = type(layer) is TopDownLayer
        if type(layer) not in (SingleInstanceLayer, BottomUpLayer, TopDownLayer):
            raise SettingsError(
                f"{', '.join(folders)} became a {type(layer).__name__} of sleap-nn; what can be "
                "scored are single-instance, bottom-up, and centroid with centered instance."
            )
        self._individuals = individuals
        self._to_grey = convert_to_grayscale
        self.bodyparts: tuple[str, ...] = tuple(predictor.skeleton.node_names)
        network = (
            layer.centered_instance_layer if self._is_top_down else layer
        ).backend.model.model
        self._n_channels = int(network.backbone_config.in_channels)
        self._n_features = int(network.backbone.middle_blocks[-1].filters)
        head = next(head for head in network.heads if head.name.endswith("ConfmapsHead"))
        self._min_distance = max(2, round(2 * float(head.sigma)))  # sigma is given in cells
        self._n_expected = individuals if type(layer) is BottomUpLayer else 1
        self._maps: list[Tensor] = []
        self._features: list[Tensor] = []
        network.register_forward_hook(lambda m, i, out: self._maps.append(out[head.name]))
        network.backbone.register_forward_hook(
            lambda m, i, out: self._features.append(out["middle_output"])
        )

    def predict(self, frames: ImageArray, batch_size: int) -> Prediction:
        """Confidence maps, poses and bottleneck features of RGB frames of shape (n, h, w, 3).

        Top-down: the crops of `batch_size` frames go through the network together.
        """
        n, k = len(frames), len(self.bodyparts)
        poses = np.full((n, self._individuals, k, 3), np.nan, np.float32)
        maps: list[Tensor] = []
        features: list[Tensor] = []
        owner: list[NDArray[np.int64]] = []
        span_px: tuple[float, float] | None = None
        for low in range(0, n, batch_size):
            self._maps.clear()
            self._features.clear()
            outputs = self._layer.predict(self._inputs(frames[low : low + batch_size]))
            inputs_of = self._owner(outputs, min(batch_size, n - low))
            if len(inputs_of):  # else sleap-nn makes up how many bodyparts there are
                _take_poses(outputs, poses[low : low + batch_size])
            owner.append(low + inputs_of)
            maps.extend(self._on_frame(values, outputs)[0] for values in self._maps)
            for values in self._features:
                kept, span_px = self._on_frame(values, outputs)
                features.append(kept)
        whose = np.concatenate(owner)
        return Prediction(
            maps=(
                ScoreMaps(
                    _joined(maps, k).clamp(min=0),
                    whose,
                    np.arange(k),
                    n_expected=self._n_expected,
                    min_distance=self._min_distance,
                ),
            ),
            poses=poses,
            features=_joined(features, self._n_features),
            features_frame=whose,
            features_span_px=span_px,
            of_crops=self._is_top_down,
        )

    def _inputs(self, frames: ImageArray) -> Tensor:
        """Frames as sleap-nn's video reader gives them: (n, 1 or 3, h, w), uint8.

        It takes the one channel of a grey video as it is, which is a grey level brighter than
        the weighted sum of three equal channels.
        """
        images = torch.from_numpy(frames).permute(0, 3, 1, 2)
        if self._n_channels != 1:
            return images
        is_grey = (images[:, :1] == images[:, 1:]).flatten(1).all(dim=1)
        return torch.where(is_grey[:, None, None, None], images[:, :1], self._to_grey(images))

    def _owner(self, outputs: Any, n: int) -> NDArray[np.int64]:
        """Which of the n frames of a batch each network input was of."""
        if not self._is_top_down:
            return np.arange(n)
        found: Tensor = ~outputs.pred_centroids.isnan().any(dim=-1)
        return found.nonzero()[:, 0].cpu().numpy()

    def _on_frame(self, values: Tensor, outputs: Any) -> tuple[Tensor, tuple[float, float] | None]:
        """The part of whole-frame maps (m, c, h, w) that lies on the frame, not on its padding.

        Its last cells may reach over the frame's edge: second is what it spans in pixels.
        """
        if self._is_top_down:
            return values, None
        info = outputs.preprocess_info
        scale = float(info.eff_scale[0]) * info.input_scale
        cells, full_px = values.shape[2:], info.processed_size
        rows, columns = (
            math.ceil(round(size * scale) * n / full)
            for size, n, full in zip(info.original_size, cells, full_px, strict=True)
        )
        span_px = (rows * full_px[0] / cells[0] / scale, columns * full_px[1] / cells[1] / scale)
        return values[:, :, :rows, :columns], span_px


def _take_poses(outputs: Any, into: NDArray[np.float32]) -> None:
    """Write x, y and likelihood of a batch into poses (n, i, k, 3) that are NaN so far."""
    found = torch.cat([outputs.pred_keypoints, outputs.pred_peak_values[..., None]], dim=-1)
    into[:, : found.shape[1]] = found.float().cpu().numpy()
    into[~(into[..., 2] > 0)] = np.nan


def _joined(parts: list[Tensor], n_channels: int) -> Tensor:
    """Maps of all batches; of none, where no batch showed an animal to crop."""
    return torch.cat(parts) if parts else torch.zeros(0, n_channels, 1, 1)


def _check_checkpoint(path: Path) -> None:
    """Refuse what could run code: sleap-nn itself loads a checkpoint as a full pickle."""
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        line = str(error).splitlines()[0]
        raise SettingsError(
            f"{path} holds more than weights ({line}), and loading it could run any code; use a "
            "checkpoint as sleap-nn writes it."
        ) from error
    except (OSError, RuntimeError, EOFError) as error:
        line = str(error).splitlines()[0]
        raise PoseModelError(
            f"{path} cannot be read ({line}); it may be damaged, or just being written."
        ) from error
