"""DeepLabCut 3 itself as the network that is trained in an experiment.

Network, augmentation, loss, optimiser and schedule are those that DeepLabCut's
`create_training_dataset` writes down and its `train_network` follows; the frames, which lie in
memory, reach it as a COCO folder. Every training starts from a snapshot written here, so that
DeepLabCut never fetches weights.
"""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import random
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import safetensors.torch
import torch

from alwatch.errors import SettingsError, shown
from alwatch.pose_models.deeplabcut import DeepLabCutModel

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from alwatch.records import ImageArray
    from alwatch.simulate.conditions import Conditions

_MARGIN_PX = 20

log = logging.getLogger(__name__)


class DeepLabCutTrainer:
    """Trains a network of DeepLabCut 3 (PyTorch engine).

    It runs for as many epochs as come closest to the conditions' steps, one at least; where a
    single epoch would be longer, only as many frames are trained on, drawn at random. The
    milestones of its learning rate move with the number of epochs.

    Parameters
    ----------
    conditions : Conditions
    bodyparts : tuple of str

    Raises
    ------
    SettingsError
        DeepLabCut is not installed, or the file of weights or the device is not there.
    """

    def __init__(self, conditions: Conditions, bodyparts: tuple[str, ...]) -> None:
        if find_spec("deeplabcut") is None:
            raise SettingsError(
                "--trainer is deeplabcut, which is not installed here; run "
                "`pip install 'alwatch[deeplabcut]'`, or leave --trainer out."
            )
        weights = conditions.backbone_weights
        if weights is not None and not Path(weights).is_file():
            raise SettingsError(
                f"--backbone-weights is {shown(weights)}, where there is no file; name one, or "
                "leave it out to begin with random weights."
            )
        if not _is_there(conditions.device):
            raise SettingsError(
                f"--device is {shown(conditions.device)}, which this machine does not have; name "
                "cpu, cuda or cuda:N, or leave it out to have the best that is there."
            )
        self._conditions = conditions
        self._bodyparts = bodyparts

    def train(
        self,
        frames: ImageArray,
        points_px: NDArray[np.float32],
        *,
        seed: int,
        start: DeepLabCutModel | None = None,
    ) -> DeepLabCutModel:
        """Train as `Trainer` says.

        Raises
        ------
        SettingsError
            The file of weights does not fit the network.
        """
        how = self._conditions
        n_samples = (how.steps if start is None else how.more_steps) * how.batch_size
        if len(frames) > n_samples:
            rows = np.random.default_rng(seed).permutation(len(frames))[:n_samples]
            frames, points_px = frames[np.sort(rows)], points_px[np.sort(rows)]
        os.environ.setdefault("DLClight", "True")  # no windows
        with (
            TemporaryDirectory(prefix="alwatch-deeplabcut-") as name,
            _quiet(),
            _own_randomness(seed),
        ):
            folder = Path(name)
            config = self._config(folder, frames.shape[1:3], round(n_samples / len(frames)), seed)
            weights = self._first_weights(config) if start is None else start.weights()
            torch.save({"model": weights, "metadata": {"epoch": 0}}, folder / "start.pt")
            _write_coco(folder, frames, points_px, self._bodyparts)
            return self._fit(folder, config, seed)

    def _config(self, folder: Path, size_px: tuple[int, ...], epochs: int, seed: int) -> Any:
        """DeepLabCut's configuration of a network, set for small frames and few epochs."""
        from deeplabcut.pose_estimation_pytorch.config import PoseConfig

        how = self._conditions
        project = {
            "Task": "simulate", "scorer": "simulate", "date": "Jan1", "engine": "pytorch",
            "multianimalproject": False, "project_path": str(folder),
            "bodyparts": list(self._bodyparts),
        }  # fmt: skip
        config = PoseConfig.build(
            project, folder / "pytorch_config.yaml", net_type=how.network, top_down=False
        )
        settings, runner = config["train_settings"], config["runner"]
        as_configured = settings["epochs"]
        settings["epochs"], settings["batch_size"], settings["seed"] = epochs, how.batch_size, seed
        runner["eval_interval"] = epochs + 1  # never: there is nothing that it could be tested on
        runner["snapshots"]["save_epochs"] = epochs
        runner["load_weights_only"] = True
        schedule = runner["scheduler"]["params"]
        schedule["milestones"] = [
            max(1, round(at * epochs / as_configured)) for at in schedule["milestones"]
        ]
        crop = config["data"]["train"]["crop_sampling"]
        crop["height"], crop["width"] = (
            min(side, px) for side, px in zip((crop["height"], crop["width"]), size_px, strict=True)
        )
        if how.backbone_weights is None:  # frozen statistics are of use only with weights they fit
            config["model"]["backbone"]["freeze_bn_stats"] = False
        config.to_yaml(folder / "pytorch_config.yaml", overwrite=True)
        return config

    def _first_weights(self, config: Any) -> dict[str, Tensor]:
        from deeplabcut.pose_estimation_pytorch.models import PoseModel

        model = PoseModel.build(config["model"], pretrained_backbone=False)
        if self._conditions.backbone_weights is not None:
            _load_backbone(model.backbone, Path(self._conditions.backbone_weights))
        weights: dict[str, Tensor] = model.state_dict()
        return weights

    def _fit(self, folder: Path, config: Any, seed: int) -> DeepLabCutModel:
        from deeplabcut.pose_estimation_pytorch import utils
        from deeplabcut.pose_estimation_pytorch.apis.training import train
        from deeplabcut.pose_estimation_pytorch.data import COCOLoader
        from deeplabcut.pose_estimation_pytorch.task import Task

        file = folder / "pytorch_config.yaml"
        loader = COCOLoader(folder, file, "frames.json", "frames.json")
        device = self._conditions.device
        utils.fix_seeds(seed)  # as `train_network` does: the first weights have drawn from it
        train(
            loader, loader.model_cfg, Task.BOTTOM_UP, device=device,
            snapshot_path=folder / "start.pt",
        )  # fmt: skip
        (snapshot,) = folder.glob("snapshot-*.pt")
        return DeepLabCutModel(str(file), str(snapshot), device=device)


def _is_there(device: str) -> bool:
    if device in ("auto", "cpu"):
        return True
    number = re.fullmatch(r"cuda(?::(\d+))?", device)
    return number is not None and int(number[1] or 0) < torch.cuda.device_count()


def _write_coco(
    folder: Path, frames: ImageArray, points_px: NDArray[np.float32], bodyparts: tuple[str, ...]
) -> None:
    """Frames as pictures and their labels as DeepLabCut's COCO loader reads them.

    As DeepLabCut has it, what is not labelled or lies outside the frame is not to be seen.
    """
    for name in ("images", "annotations"):
        (folder / name).mkdir()
    height, width = frames.shape[1:3]
    images, annotations = [], []
    for number, (frame, points) in enumerate(zip(frames, points_px, strict=True), start=1):
        name = f"img{number:06d}.png"
        cv2.imwrite(
            str(folder / "images" / name),
            cv2.cvtColor(frame, cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_PNG_COMPRESSION, 1],
        )
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        seen = ((points > 0) & (points < (width, height))).all(axis=1)
        if not seen.any():
            continue
        keypoints = np.concatenate([points, np.full((len(points), 1), 2)], axis=1)
        keypoints[~seen] = 0
        low = (points[seen].min(axis=0) - _MARGIN_PX).clip(0)
        high = np.minimum(points[seen].max(axis=0) + _MARGIN_PX, (width, height))
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "num_keypoints": int(seen.sum()),
                "keypoints": keypoints.reshape(-1).astype(float).tolist(),
                "bbox": [*low.astype(float).tolist(), *(high - low).astype(float).tolist()],
                "area": float(np.prod(high - low)),
                "iscrowd": 0,
            }
        )
    categories = [{"id": 1, "name": "animal", "keypoints": list(bodyparts)}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "frames.json").write_text(json.dumps(content), encoding="utf-8")


def _load_backbone(backbone: nn.Module, path: Path) -> None:
    """Load weights of the backbone's classifier, as timm publishes them, or of a snapshot."""
    try:
        if path.suffix == ".safetensors":
            found: Any = safetensors.torch.load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(found.get("model"), Mapping):
            found = found["model"]
        if any(name.startswith("backbone.") for name in found):
            into, prefix = backbone, "backbone."
        else:  # DeepLabCut wraps a network of timm
            into, prefix = getattr(backbone, "model", backbone), ""
        own = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
        missing = into.load_state_dict(own, strict=False).missing_keys
    except (OSError, RuntimeError, AttributeError, pickle.UnpicklingError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        missing = [lines[-1].strip()]
    if missing:
        raise SettingsError(
            f"--backbone-weights is {shown(path)}, which does not fit the network "
            f"({shown(missing[0])}); name a file of this network's weights, or another --network."
        )


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Seed every generator that DeepLabCut draws from, and give each back as it was."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


@contextmanager
def _quiet() -> Iterator[None]:
    """What DeepLabCut prints goes to the log, as what it logs does."""
    printed = io.StringIO()
    try:
        with redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if printed.getvalue():
            log.debug("%s", printed.getvalue())
