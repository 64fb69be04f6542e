"""The process that holds the pose model; `alwatch.child` says how it is talked to.

It may run under another Python than alwatch, that of the lab's DeepLabCut or SLEAP: nothing is
imported here that such an environment lacks. Frames come through shared memory, scores go back
as raw bytes.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from alwatch.child import Answers, requests
from alwatch.errors import AlwatchError, SettingsError
from alwatch.pose_models.prediction import PoseModel, Prediction
from alwatch.pose_models.signals import feature_vectors, signals_of
from alwatch.scores.pose_signals import (
    ensemble_variance,
    flipped_poses,
    pose_disagreement,
    swap_pairs,
    with_scene_apart,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import ImageArray

MODELS = {
    "deeplabcut": "alwatch.pose_models.deeplabcut:DeepLabCutModel",
    "exported": "alwatch.pose_models.exported:ExportedModel",
    "sleap": "alwatch.pose_models.sleap_nn:SleapNnModel",
}
"""Kind of pose model -> what loads it, in the worker."""

_NICENESS = 5

_MEMORY = re.compile("out of memory|DefaultCPUAllocator", re.IGNORECASE)


def main() -> None:
    """Serve requests until stdin ends."""
    answers = Answers()
    asked = requests(sys.stdin.buffer)
    settings = next(asked)
    os.nice(_NICENESS)
    worker: _Worker | None = None
    for request in asked:
        try:
            if worker is None:
                worker = _Worker(settings)
            worker.answer(request, answers)
            answers.send("end")
        except BrokenPipeError:
            os._exit(0)
        except Exception as error:
            kind = "memory" if _is_out_of_memory(error) else _kind_of(error)
            answers.send("error", error=kind, message=_explained(error))


class _Worker:
    """The loaded models and the memory in which frames arrive."""

    def __init__(self, settings: dict[str, Any]) -> None:
        module, name = MODELS[settings["kind"]].split(":")
        make = getattr(import_module(module), name)
        model = dict(settings["model"])
        weights = model.pop("snapshots", None)
        variants = [{"snapshot": path} for path in weights] if weights else [{}]
        self._models: list[PoseModel] = [
            make(**model, **variant, device=settings["device"]) for variant in variants
        ]
        self._wants = frozenset(settings["wants"])
        self._swaps = swap_pairs(self._models[0].bodyparts)
        self._frames_fd = int(settings["frames_fd"])

    def answer(self, request: dict[str, Any], answers: Answers) -> None:
        if request["ask"] == "open":
            answers.send("opened", bodyparts=list(self._models[0].bodyparts))
            return
        shape, batch_size = request["shape"], request["batch_size"]
        size = int(np.prod(shape))
        with mmap.mmap(self._frames_fd, max(size, 1), prot=mmap.PROT_READ) as memory:
            for low in range(0, shape[0], batch_size):
                batch = _copy(memory, shape, low, min(low + batch_size, shape[0]))
                if request["ask"] == "maps":
                    _send_maps(answers, self._models[0].predict(batch, batch_size), low)
                else:
                    _send_arrays(answers, self._score(batch, batch_size), n=len(batch))

    def _score(self, frames: ImageArray, batch_size: int) -> dict[str, NDArray[np.float32]]:
        with torch.inference_mode():
            first, *others = [model.predict(frames, batch_size) for model in self._models]
            signals = signals_of(first)
            if others:
                seen = np.stack([first.poses, *(other.poses for other in others)])
                signals["ensemble"] = with_scene_apart(
                    ensemble_variance, seen, n_unique=first.n_unique
                )
            if "flip" in self._wants:
                mirrored = np.ascontiguousarray(frames[:, :, ::-1])
                mirror_image = self._models[0].predict(mirrored, batch_size).poses
                back = flipped_poses(mirror_image, frames.shape[2], self._swaps)
                signals["flip"] = with_scene_apart(
                    pose_disagreement, first.poses, back, n_unique=first.n_unique
                )
            if "features" in self._wants:
                vectors = feature_vectors(first, (frames.shape[1], frames.shape[2]))
                if vectors is None:
                    raise SettingsError(
                        "The pose model was to be used as the embedder, but gives no feature "
                        "map; name its `features` output, or choose another embedding.model."
                    )
                signals["features"] = vectors
        return signals


def _copy(memory: mmap.mmap, shape: list[int], low: int, high: int) -> ImageArray:
    """Some of the shared frames, copied: networks may write into what they are given."""
    frame = int(np.prod(shape[1:]))
    held = np.frombuffer(memory, np.uint8, (high - low) * frame, low * frame)
    frames: ImageArray = held.reshape(high - low, *shape[1:]).copy()
    del held  # else the memory cannot be unmapped
    return frames


def _send_arrays(answers: Answers, arrays: dict[str, NDArray[np.float32]], **fields: Any) -> None:
    whole = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    shapes = {name: list(array.shape) for name, array in whole.items()}
    payload = [array.reshape(-1).view(np.uint8).data for array in whole.values()]
    answers.send("arrays", *payload, arrays=shapes, **fields)


def _send_maps(answers: Answers, prediction: Prediction, first: int) -> None:
    for maps in prediction.maps:
        _send_arrays(
            answers,
            {"values": maps.values.float().cpu().numpy()},
            frame=(maps.frame + first).tolist(),
            bodyparts=maps.bodyparts.tolist(),
            of_crops=prediction.of_crops,
            n=0,
        )


def _kind_of(error: Exception) -> str:
    if isinstance(error, SettingsError | ModuleNotFoundError):
        return "settings"
    return "model" if isinstance(error, AlwatchError) else "other"


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: packages wrap PyTorch's error into errors of other types."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, MemoryError | torch.OutOfMemoryError) or _MEMORY.search(str(link)):
            return True
        link = link.__cause__ or link.__context__
    return False


def _explained(error: Exception) -> str:
    if isinstance(error, AlwatchError):
        return str(error)
    text = " ".join(str(error).split())[:400]
    if isinstance(error, ModuleNotFoundError):
        return (
            f"{sys.executable} has no package {error.name!r}, which this model needs; install it "
            "there, or set pose_model.python to an interpreter that has it"
        )
    return f"{type(error).__name__}: {json.dumps(text, ensure_ascii=False)}"


if __name__ == "__main__":
    main()
