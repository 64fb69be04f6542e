"""Exported pose models: ONNX, TorchScript and torch.export files. Imported in the worker only."""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch import Tensor

from alwatch.errors import SettingsError
from alwatch.pose_models.decode_maps import poses_from_maps
from alwatch.pose_models.prediction import Prediction, ScoreMaps
from alwatch.pose_models.sidecar import Sidecar, read_sidecar

if TYPE_CHECKING:
    from alwatch.records import ImageArray

_FORCE_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_OBJECT = re.compile(r"(^|/)(custom|opaque)_obj[^/]*$")

_Network = Callable[[Tensor], dict[int | str, Tensor]]


class ExportedModel:
    """A network from a file, with the YAML file that says what it takes and gives.

    None of the formats runs code of its file's choice: ONNX is data; TorchScript is a language
    of its own, without files or processes; a torch.export file holds a program as JSON, and
    tensors that are loaded with `weights_only` here (torch itself would unpickle anything).

    Parameters
    ----------
    sidecar : str
        Path of the YAML file.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".

    Raises
    ------
    SettingsError
        The YAML file has faults, or the network is not what it says.
    """

    def __init__(self, sidecar: str, *, device: str = "auto") -> None:
        self._sidecar = read_sidecar(Path(sidecar))
        self._device = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        )
        self._network = _LOADERS[self._sidecar.format](self._sidecar, self._device)
        self._try_out()

    @property
    def bodyparts(self) -> tuple[str, ...]:
        """Names, in the order of the poses."""
        return self._sidecar.bodyparts

    def predict(self, frames: ImageArray, batch_size: int) -> Prediction:
        """Score maps, poses and features of RGB frames of shape (n, h, w, 3)."""
        scale, inputs = self._prepared(frames)
        parts = [
            self._run(inputs[low : low + batch_size]) for low in range(0, len(inputs), batch_size)
        ]
        values = torch.cat([maps for maps, _, _ in parts])
        features = [part for _, part, _ in parts if part is not None]
        losses = [part for _, _, part in parts if part is not None]
        poses = poses_from_maps(
            values, stride=self._sidecar.stride, offset_px=self._sidecar.offset_px
        )
        # Of an enlarged frame a pixel's middle lies at (i + 1/2) * scale - 1/2.
        poses[..., :2] = (poses[..., :2] + 0.5) / scale - 0.5
        owner = np.arange(len(frames))
        return Prediction(
            maps=(
                ScoreMaps(
                    values,
                    owner,
                    np.arange(len(self.bodyparts)),
                    min_distance=self._sidecar.min_distance,
                ),
            ),
            poses=poses.cpu().numpy()[:, None],
            features=torch.cat(features) if features else None,
            features_frame=owner if features else None,
            learned_loss=torch.cat(losses).reshape(-1).cpu().numpy() if losses else None,
        )

    def _prepared(self, frames: ImageArray) -> tuple[float, Tensor]:
        """The scale of the frames in the network's input, and that input."""
        wanted = self._sidecar.input
        height, width = frames.shape[1:3]
        scale = 1.0
        if wanted.height_px and wanted.width_px:
            scale = min(wanted.height_px / height, wanted.width_px / width)
            full = (wanted.height_px, wanted.width_px)
        else:
            multiple = wanted.multiple_of
            full = (math.ceil(height / multiple) * multiple, math.ceil(width / multiple) * multiple)
        size = (round(width * scale), round(height * scale))
        canvas = np.zeros((len(frames), *full, 3), np.uint8)
        for into, frame in zip(canvas, frames, strict=True):
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            shrunk = (
                frame if size == (width, height) else cv2.resize(frame, size, interpolation=how)
            )
            into[: size[1], : size[0]] = shrunk
        if wanted.channels == "bgr":
            canvas = canvas[..., ::-1]
        pixels = torch.from_numpy(np.ascontiguousarray(canvas)).to(self._device).float()
        if wanted.channels == "gray":
            pixels = (pixels * pixels.new_tensor([0.299, 0.587, 0.114])).sum(dim=3, keepdim=True)
        pixels = pixels * wanted.scale
        pixels = (pixels - pixels.new_tensor(wanted.mean)) / pixels.new_tensor(wanted.std)
        return scale, pixels.permute(0, 3, 1, 2) if wanted.layout == "nchw" else pixels

    def _run(self, batch: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        with torch.inference_mode():
            outputs = self._network(batch.contiguous())
        wanted = self._sidecar.outputs
        maps = self._output(outputs, "maps", wanted.maps)
        assert maps is not None
        if maps.ndim == 4 and self._sidecar.input.layout == "nhwc":
            maps = maps.permute(0, 3, 1, 2)
        if maps.ndim != 4 or maps.shape[1] != len(self.bodyparts):
            raise SettingsError(
                f"{self._sidecar.file} gives score maps of shape {tuple(maps.shape)}; "
                f"{self._sidecar.path} names {len(self.bodyparts)} bodyparts, for which they must "
                "be (frames, bodyparts, rows, columns). Correct `bodyparts` or `outputs.maps`."
            )
        features = self._output(outputs, "features", wanted.features)
        loss = self._output(outputs, "learned_loss", wanted.learned_loss)
        return _activated(maps.float(), self._sidecar.activation), features, loss

    def _output(
        self, outputs: dict[int | str, Tensor], key: str, name: int | str | None
    ) -> Tensor | None:
        if name is None:
            return None
        if name not in outputs:
            known = ", ".join(map(str, outputs))
            raise SettingsError(
                f"outputs.{key} is {name!r}, but {self._sidecar.file} has the outputs {known}; "
                f"set it to one of these in {self._sidecar.path}."
            )
        return outputs[name].to(self._device)

    def _try_out(self) -> None:
        """Run two grey frames, so that a wrong file is found out at once and not in the night."""
        given, unit = self._sidecar.input, self._sidecar.input.multiple_of
        height, width = given.height_px or 2 * unit, given.width_px or 3 * unit
        try:
            self.predict(np.full((2, height, width, 3), 127, np.uint8), 2)
        except (SettingsError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            what = " ".join(str(error).split())[:300]
            raise SettingsError(
                f"{self._sidecar.file} was tried with two grey frames of {width}x{height} pixels "
                f"and failed ({what}); correct `input` in {self._sidecar.path}, or export the "
                "model for batches of any size."
            ) from error


def _activated(maps: Tensor, activation: str) -> Tensor:
    if activation == "sigmoid":
        return maps.sigmoid()
    if activation == "softmax":
        return maps.flatten(2).softmax(dim=2).reshape(maps.shape)
    return maps.clamp(min=0)


def _load_onnx(sidecar: Sidecar, device: torch.device) -> _Network:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise SettingsError(
            f"{sidecar.file} is an ONNX file, and onnxruntime is not installed; "
            "`pip install 'alwatch[onnx]'`, or export the model as TorchScript."
        ) from None
    wanted = ["CUDAExecutionProvider"] * (device.type == "cuda") + ["CPUExecutionProvider"]
    there = [name for name in wanted if name in onnxruntime.get_available_providers()]
    session = _opened(
        sidecar, lambda: onnxruntime.InferenceSession(str(sidecar.file), providers=there)
    )
    (name,) = [entry.name for entry in session.get_inputs()][:1]
    names = [entry.name for entry in session.get_outputs()]

    def run(batch: Tensor) -> dict[int | str, Tensor]:
        arrays = session.run(None, {name: batch.cpu().numpy()})
        return _by_number_and_name([torch.from_numpy(array) for array in arrays], names)

    return run


def _load_torchscript(sidecar: Sidecar, device: torch.device) -> _Network:
    module = _opened(sidecar, lambda: _jit_load(str(sidecar.file), map_location=device))
    module.eval()
    return lambda batch: _by_number_and_name(_as_list(module(batch)))


_jit_load: Callable[..., Any] = torch.jit.load  # it has no types of its own


def _load_torch_export(sidecar: Sidecar, device: torch.device) -> _Network:
    _refuse_objects(sidecar)
    with _only_weights():
        program = _opened(sidecar, lambda: torch.export.load(str(sidecar.file)))
    module = program.module().to(device)
    return lambda batch: _by_number_and_name(_as_list(module(batch)))


_LOADERS: dict[str, Callable[[Sidecar, torch.device], _Network]] = {
    "onnx": _load_onnx,
    "torchscript": _load_torchscript,
    "torch_export": _load_torch_export,
}


@contextmanager
def _only_weights() -> Iterator[None]:
    """Have every torch.load in here, whoever calls it, refuse all but tensors."""
    before = os.environ.get(_FORCE_WEIGHTS_ONLY)
    os.environ[_FORCE_WEIGHTS_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FORCE_WEIGHTS_ONLY]
        else:
            os.environ[_FORCE_WEIGHTS_ONLY] = before


def _refuse_objects(sidecar: Sidecar) -> None:
    """Refuse an archive that holds pickled objects beside its tensors."""
    names = _opened(sidecar, lambda: zipfile.ZipFile(sidecar.file).namelist())
    objects = [name for name in names if _OBJECT.search(name)]
    if objects:
        raise SettingsError(
            f"{sidecar.file} holds {objects[0]}, an object that would be unpickled, which can run "
            "code; it was not loaded. Export the model without custom objects."
        )


def _opened(sidecar: Sidecar, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # damaged bytes make these loaders fail in any way
        what = " ".join(str(error).split())[:200]
        raise SettingsError(
            f"{sidecar.file} cannot be read as {sidecar.format} ({what}); export the model again, "
            f"or correct `format` in {sidecar.path}."
        ) from error


def _as_list(outputs: Any) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def _by_number_and_name(
    outputs: list[Tensor], names: list[str] | None = None
) -> dict[int | str, Tensor]:
    found: dict[int | str, Tensor] = dict(enumerate(outputs))
    return found | dict(zip(names or [], outputs, strict=False))
