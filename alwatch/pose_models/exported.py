"""Exported pose models: ONNX, TorchScript and torch.export files. Imported in the worker only."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch import Tensor

from alwatch.errors import SettingsError, shown
from alwatch.pose_models.archives import checked_program, checked_script
from alwatch.pose_models.decode_maps import poses_from_maps
from alwatch.pose_models.prediction import Prediction, ScoreMaps
from alwatch.pose_models.sidecar import ModelInput, Sidecar, read_sidecar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import ImageArray

_MEMORY = re.compile(r"DefaultCPUAllocator|out of memory|Failed to allocate memory|bad.alloc")
_GRAY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as OpenCV
_TRIAL_PX = 64

_Network = Callable[[Tensor], dict[int | str, Tensor]]


class ExportedModel:
    """A network from a file, with the YAML file that says what it takes and gives.

    No file runs code of its own. ONNX files are data. TorchScript is a language of its own; what
    calls its operators that touch files is refused. PyTorch would unpickle and evaluate whatever
    a torch.export file holds: here it gets a copy of tensors and a program of known operators.

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
    MemoryError, torch.OutOfMemoryError
        The network does not fit.
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
        """Score maps, poses and features of RGB frames of shape (n, h, w, 3), n >= 1.

        Maps and features are of the frame alone, without what it was filled up with.

        Raises
        ------
        SettingsError
            The outputs are not what the YAML file says.
        MemoryError, torch.OutOfMemoryError
            Smaller batches may help.
        """
        parts = [
            self._run(frames[low : low + batch_size]) for low in range(0, len(frames), batch_size)
        ]
        maps, poses, features, spans_px, losses = zip(*parts, strict=True)
        outputs, owner = self._sidecar.outputs, np.arange(len(frames))
        return Prediction(
            maps=(
                ScoreMaps(
                    torch.cat(maps),
                    owner,
                    np.arange(len(self.bodyparts)),
                    min_distance=self._sidecar.min_distance,
                ),
            ),
            poses=torch.cat(poses).cpu().numpy()[:, None],
            features=torch.cat(features) if outputs.features is not None else None,
            features_frame=owner if outputs.features is not None else None,
            features_span_px=spans_px[0] if outputs.features is not None else None,
            learned_loss=_numpy(losses) if outputs.learned_loss is not None else None,
        )

    def _run(
        self, frames: ImageArray
    ) -> tuple[Tensor, Tensor, Tensor | None, tuple[float, float], Tensor | None]:
        """Maps, poses (n, k, 3), features and what they reach over, and loss of one batch."""
        given = self._sidecar
        canvas, used_px = _fitted(frames, given.input)
        full_px = canvas.shape[1:3]
        with _memory_errors():
            with torch.inference_mode():
                outputs = self._network(_normalised(canvas, given.input, self._device))
            maps = _activated(self._maps(outputs), given)
            stride = self._stride(maps, full_px)
            maps = maps[:, :, : math.ceil(used_px[0] / stride), : math.ceil(used_px[1] / stride)]
            offset_px = (stride - 1) / 2 if given.offset_px is None else given.offset_px
            poses = poses_from_maps(maps, stride=stride, offset_px=offset_px)
            if given.activation == "clip" or given.sigma is not None:
                maps = maps.clamp(max=1)  # only now: a peak that is cut off has lost its middle
            features, span_px = self._features(outputs, used_px, full_px)
        down, right = used_px[0] / frames.shape[1], used_px[1] / frames.shape[2]
        # Of an enlarged frame a pixel's middle lies at (i + 1/2) * scale - 1/2.
        poses[..., :2] = (poses[..., :2] + 0.5) / poses.new_tensor([right, down]) - 0.5
        span_px = (span_px[0] / down, span_px[1] / right)
        return maps, poses, features, span_px, self._loss(outputs, len(frames))

    def _maps(self, outputs: dict[int | str, Tensor]) -> Tensor:
        maps = self._channels_first(self._output(outputs, "maps", self._sidecar.outputs.maps))
        if maps.ndim != 4 or maps.shape[1] != len(self.bodyparts):
            raise SettingsError(
                f"{shown(self._sidecar.file)} gives score maps of shape {tuple(maps.shape)}; "
                f"{shown(self._sidecar.path)} names {len(self.bodyparts)} bodyparts, for which "
                f"they must be (frames, {len(self.bodyparts)}, rows, columns). Correct "
                "`bodyparts`, `outputs.maps` or `input.layout`."
            )
        return maps.float()

    def _stride(self, maps: Tensor, full_px: tuple[int, ...]) -> float:
        """The stride that is given if it fits the sizes, else the one they tell."""
        cells, stride = maps.shape[2:], self._sidecar.stride
        pairs = list(zip(full_px, cells, strict=True))
        told = full_px[0] / cells[0]
        if stride is None and all(px == told * n for px, n in pairs) and told.is_integer():
            return told
        if stride is not None and all(abs(px / stride - n) <= 1 for px, n in pairs):
            return stride
        found = "not given" if stride is None else f"{stride:g}"
        raise SettingsError(
            f"stride is {found}, but {shown(self._sidecar.file)} makes {cells[1]}x{cells[0]} "
            f"cells of {full_px[1]}x{full_px[0]} pixels; set how many pixels a cell stands for "
            f"in {shown(self._sidecar.path)}."
        )

    def _features(
        self,
        outputs: dict[int | str, Tensor],
        used_px: tuple[int, int],
        full_px: tuple[int, ...],
    ) -> tuple[Tensor | None, tuple[float, float]]:
        """The cells that the frame lies in, and what these reach over: up to a cell more."""
        name = self._sidecar.outputs.features
        if name is None:
            return None, used_px
        features = self._channels_first(self._output(outputs, "features", name))
        if features.ndim != 4:
            raise SettingsError(
                f"outputs.features is {name!r}, of shape {tuple(features.shape)} in "
                f"{shown(self._sidecar.file)}; it must be a feature map (frames, channels, rows, "
                f"columns). Correct or remove it in {shown(self._sidecar.path)}."
            )
        rows, columns = (
            math.ceil(n * used / full)
            for n, used, full in zip(features.shape[2:], used_px, full_px, strict=True)
        )
        span_px = (rows * full_px[0] / features.shape[2], columns * full_px[1] / features.shape[3])
        return features[:, :, :rows, :columns], span_px

    def _loss(self, outputs: dict[int | str, Tensor], n: int) -> Tensor | None:
        name = self._sidecar.outputs.learned_loss
        if name is None:
            return None
        loss = self._output(outputs, "learned_loss", name)
        if loss.numel() != n:
            raise SettingsError(
                f"outputs.learned_loss is {name!r}, of shape {tuple(loss.shape)} in "
                f"{shown(self._sidecar.file)}; it must be one number for each of the {n} frames. "
                f"Correct or remove it in {shown(self._sidecar.path)}."
            )
        return loss.reshape(n)

    def _channels_first(self, output: Tensor) -> Tensor:
        is_last = output.ndim == 4 and self._sidecar.input.layout == "nhwc"
        return output.permute(0, 3, 1, 2) if is_last else output

    def _output(self, outputs: dict[int | str, Tensor], key: str, name: int | str) -> Tensor:
        if name not in outputs:
            known = ", ".join(map(repr, outputs))
            raise SettingsError(
                f"outputs.{key} is {name!r}, but {shown(self._sidecar.file)} has the outputs "
                f"{known}; set it to one of these in {shown(self._sidecar.path)}."
            )
        return outputs[name].to(self._device)

    def _try_out(self) -> None:
        """Run two grey frames, so that a wrong file is found out at once and not in the night."""
        given, unit = self._sidecar.input, self._sidecar.input.multiple_of
        side = math.ceil(_TRIAL_PX / unit) * unit
        height, width = given.height_px or side, given.width_px or side + unit
        try:
            self.predict(np.full((2, height, width, 3), 127, np.uint8), 2)
        except (SettingsError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise SettingsError(
                f"{shown(self._sidecar.file)} was tried with two grey frames of {width}x{height} "
                f"pixels and failed ({_one_line(error)}); correct `input` in "
                f"{shown(self._sidecar.path)}, or export the model for batches of any size."
            ) from error


def _fitted(frames: ImageArray, wanted: ModelInput) -> tuple[ImageArray, tuple[int, int]]:
    """Frames brought to the input's size, and the height and width that they take up in it."""
    height, width = frames.shape[1:3]
    if wanted.height_px is None or wanted.width_px is None:
        unit = wanted.multiple_of
        full = (math.ceil(height / unit) * unit, math.ceil(width / unit) * unit)
        used = (height, width)
    else:
        full = used = (wanted.height_px, wanted.width_px)
        if wanted.resize == "pad":
            scale = min(full[0] / height, full[1] / width)
            used = (max(1, round(height * scale)), max(1, round(width * scale)))
    canvas = np.zeros((len(frames), *full, 3), np.uint8)
    how = cv2.INTER_AREA if used[0] < height or used[1] < width else cv2.INTER_LINEAR
    for into, frame in zip(canvas, frames, strict=True):
        is_same = used == (height, width)
        fitted = frame if is_same else cv2.resize(frame, used[::-1], interpolation=how)
        into[: used[0], : used[1]] = fitted
    return canvas, used


def _normalised(canvas: ImageArray, wanted: ModelInput, device: torch.device) -> Tensor:
    if wanted.channels == "bgr":
        canvas = canvas[..., ::-1]
    pixels = torch.from_numpy(np.ascontiguousarray(canvas)).to(device).float()
    if wanted.channels == "gray":
        pixels = (pixels * pixels.new_tensor(_GRAY)).sum(dim=3, keepdim=True)
    pixels = pixels * wanted.scale
    pixels = (pixels - pixels.new_tensor(wanted.mean)) / pixels.new_tensor(wanted.std)
    return (pixels.permute(0, 3, 1, 2) if wanted.layout == "nchw" else pixels).contiguous()


def _activated(maps: Tensor, given: Sidecar) -> Tensor:
    """Maps >= 0 that are about 1 where the network is certain, and may be above."""
    if given.activation == "sigmoid":
        maps = maps.sigmoid()
    elif given.activation == "softmax":
        maps = maps.flatten(2).softmax(dim=2).reshape(maps.shape)
    # The highest cell of a Gaussian that sums to 1 is 1 / (2 pi sigma^2).
    scale = 1 if given.sigma is None else 2 * math.pi * given.sigma**2
    return (maps * scale).clamp(min=0)


def _load_onnx(sidecar: Sidecar, device: torch.device) -> _Network:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise SettingsError(
            f"{shown(sidecar.file)} is an ONNX file, and onnxruntime is not installed; "
            "`pip install 'alwatch[onnx]'`, or export the model as TorchScript."
        ) from None
    wanted = ["CUDAExecutionProvider"] * (device.type == "cuda") + ["CPUExecutionProvider"]
    there = [name for name in wanted if name in onnxruntime.get_available_providers()]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with _load_errors(sidecar):
        session = onnxruntime.InferenceSession(str(sidecar.file), options, providers=there)
    taken = session.get_inputs()[0].name
    names = [entry.name for entry in session.get_outputs()]

    def run(batch: Tensor) -> dict[int | str, Tensor]:
        arrays = session.run(None, {taken: batch.cpu().numpy()})
        return _named(dict(zip(names, map(torch.from_numpy, arrays), strict=True)))

    return run


def _load_torchscript(sidecar: Sidecar, device: torch.device) -> _Network:
    load: Callable[..., Any] = torch.jit.load  # it has no types of its own
    with _load_errors(sidecar), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that TorchScript is no longer developed
        module = load(checked_script(sidecar.file), map_location=device)
    module.eval()
    return lambda batch: _named(module(batch))


def _load_torch_export(sidecar: Sidecar, device: torch.device) -> _Network:
    from torch.export.passes import move_to_device_pass

    with _load_errors(sidecar):
        program = torch.export.load(checked_program(sidecar.file))
        module = move_to_device_pass(program, device).module()
    return lambda batch: _named(module(batch))


_LOADERS: dict[str, Callable[[Sidecar, torch.device], _Network]] = {
    "onnx": _load_onnx,
    "torchscript": _load_torchscript,
    "torch_export": _load_torch_export,
}


def _named(outputs: Any) -> dict[int | str, Tensor]:
    """A network's outputs by their numbers, and by their names where they have names."""
    if isinstance(outputs, Tensor):
        return {0: outputs}
    names = list(outputs) if isinstance(outputs, dict) else []
    values = list(outputs.values()) if isinstance(outputs, dict) else list(outputs)
    return {**dict(enumerate(values)), **dict(zip(names, values, strict=False))}


def _numpy(parts: tuple[Tensor, ...]) -> NDArray[np.float32]:
    return np.asarray(torch.cat(parts).float().cpu().numpy(), np.float32)


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Let memory that ran out be a MemoryError; TorchScript and ONNX have none of their own."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if _MEMORY.search(str(error)):
            raise MemoryError(_one_line(error)) from error
        raise


@contextmanager
def _load_errors(sidecar: Sidecar) -> Iterator[None]:
    try:
        with _memory_errors():
            yield
    except (SettingsError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # damaged bytes make these loaders fail in any way
        raise SettingsError(
            f"{shown(sidecar.file)} cannot be read as {sidecar.format} ({_one_line(error)}); "
            f"export the model again, or correct `format` in {shown(sidecar.path)}."
        ) from error


def _one_line(error: Exception) -> str:
    return shown(" ".join(f"{type(error).__name__}: {error}".split())[:300])
