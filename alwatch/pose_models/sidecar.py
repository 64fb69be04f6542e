"""The YAML file that lies beside an exported pose model and says what it takes and gives."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from alwatch.errors import PoseModelError, SettingsError
from alwatch.pose_models.files import HashedFiles
from alwatch.records import LocatedSnapshot, Snapshot

FORMATS = {".onnx": "onnx", ".pt": "torchscript", ".ts": "torchscript", ".pt2": "torch_export"}
"""End of the file's name -> its format."""

_ACTIVATIONS = ("none", "sigmoid", "softmax")
_CHANNELS = ("rgb", "bgr", "gray")
_LAYOUTS = ("nchw", "nhwc")


@dataclass(frozen=True, slots=True)
class ModelInput:
    """How a frame becomes the network's input.

    With a height and a width the frame is shrunk or enlarged to fit into them and filled up at
    the right and below; with `multiple_of` it keeps its size and is filled up so. Pixels are
    then multiplied by `scale`, and `mean` is taken away and divided by `std`, channel by channel.
    """

    height_px: int | None
    width_px: int | None
    multiple_of: int
    channels: str
    layout: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ModelOutputs:
    """Which of the network's outputs is what: by number, or by name in ONNX files."""

    maps: int | str
    features: int | str | None
    learned_loss: int | str | None


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What is known of an exported model.

    `stride` is how many pixels of the network's input a cell of a score map stands for, and
    `offset_px` where the middle of the first cell lies, counted from the middle of the first
    pixel: by default in the middle of its pixels, (stride - 1) / 2.
    """

    path: Path
    file: Path
    format: str
    bodyparts: tuple[str, ...]
    input: ModelInput
    outputs: ModelOutputs
    activation: str
    stride: float
    offset_px: float
    min_distance: int


class ExportedSource:
    """An exported model as the current pose model.

    Parameters
    ----------
    sidecar : Path
        Its YAML file.
    """

    def __init__(self, sidecar: Path) -> None:
        self._path = sidecar
        self._files = HashedFiles()

    def find(self) -> LocatedSnapshot:
        """Find the model as it is now.

        Raises
        ------
        SettingsError
            The YAML file or the model is not there, or the YAML file has faults.
        PoseModelError
            One of them is not readable at this moment.
        """
        sidecar = read_sidecar(self._path)
        snapshot = Snapshot(
            kind="exported",
            name=self._path.stem,
            sha256=self._files.sha256([self._path, sidecar.file]),
            bodyparts=sidecar.bodyparts,
        )
        return LocatedSnapshot(snapshot, {"sidecar": str(self._path)})


def read_sidecar(path: Path) -> Sidecar:
    """Read and check the YAML file of an exported model.

    Raises
    ------
    SettingsError
        With a line for every fault of the file.
    PoseModelError
        It is not readable at this moment.
    """
    content = _load(path)
    at = _Reading(path, content)
    name = at.text("file")
    file = path.parent / (name or "")
    if name and not file.is_file():
        at.fault("file", name, f"be a file in {path.parent}")
    suffix = Path(name or "").suffix.lower()
    kind = at.choice("format", tuple(dict.fromkeys(FORMATS.values())), FORMATS.get(suffix))
    bodyparts = at.names("bodyparts")
    size = at.section("input")
    height_px, width_px = size.count("height_px", None), size.count("width_px", None)
    if (height_px is None) != (width_px is None):
        at.fault("input", "one of height_px and width_px", "have both of them or neither")
    channels = size.choice("channels", _CHANNELS, "rgb")
    n_channels = 1 if channels == "gray" else 3
    model_input = ModelInput(
        height_px=height_px,
        width_px=width_px,
        multiple_of=size.count("multiple_of", 32) or 32,
        channels=channels,
        layout=size.choice("layout", _LAYOUTS, "nchw"),
        scale=size.number("scale", 1 / 255),
        mean=size.numbers("mean", n_channels, 0.0),
        std=size.numbers("std", n_channels, 1.0),
    )
    outputs = at.section("outputs")
    model_outputs = ModelOutputs(
        maps=outputs.output("maps", 0) or 0,
        features=outputs.output("features", None),
        learned_loss=outputs.output("learned_loss", None),
    )
    stride = at.number("stride", math.nan)
    if not math.isfinite(stride) or stride <= 0:
        at.fault("stride", content.get("stride"), "be how many input pixels a map cell stands for")
    sidecar = Sidecar(
        path=path,
        file=file,
        format=kind,
        bodyparts=bodyparts,
        input=model_input,
        outputs=model_outputs,
        activation=at.choice("activation", _ACTIVATIONS, "none"),
        stride=stride,
        offset_px=at.number("offset_px", (stride - 1) / 2),
        min_distance=at.count("min_distance", 2) or 2,
    )
    at.finish()
    return sidecar


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise SettingsError(
            f"pose_model.project is {path}, which is no file; it must be the YAML file that "
            "describes the exported model."
        ) from None
    except OSError as error:
        raise PoseModelError(f"{path} cannot be read: {error.strerror}; try again.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        what = " ".join(str(error).split())
        raise SettingsError(f"{path} is no valid YAML ({what}); correct the file.") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds no settings; it must name `file` and `bodyparts`.")
    return content


class _Reading:
    """One section of the file; what is wrong is gathered, and what is unknown noticed."""

    def __init__(self, path: Path, content: dict[str, Any], prefix: str = "") -> None:
        self._path = path
        self._content = content
        self._prefix = prefix
        self._known: list[str] = []
        self._faults: list[str] = []
        self._sections: list[_Reading] = []

    def fault(self, key: str, found: object, must: str) -> None:
        name = f"{self._prefix}{key}"
        self._faults.append(f"{name} is {found!r}; it must {must}. Set it in {self._path}.")

    def section(self, key: str) -> _Reading:
        content = self._get(key) or {}
        if not isinstance(content, dict):
            self.fault(key, content, "be a section")
            content = {}
        section = _Reading(self._path, content, f"{self._prefix}{key}.")
        self._sections.append(section)
        return section

    def text(self, key: str) -> str | None:
        value = self._get(key)
        if not isinstance(value, str) or not value:
            self.fault(key, value, "be the name of a file")
            return None
        return value

    def names(self, key: str) -> tuple[str, ...]:
        value = self._get(key)
        good = isinstance(value, list) and value and all(isinstance(v, str) and v for v in value)
        if not good or len(set(value)) < len(value):
            self.fault(key, value, "be a list of different names")
            return ()
        return tuple(value)

    def choice(self, key: str, allowed: tuple[str, ...], default: str | None) -> str:
        value = self._get(key, default)
        if value not in allowed:
            self.fault(key, value, f"be one of {', '.join(allowed)}")
        return str(value)

    def count(self, key: str, default: int | None) -> int | None:
        value = self._get(key, default)
        if value is not None and (type(value) is not int or value < 1):
            self.fault(key, value, "be a whole number >= 1")
            return default
        return value

    def number(self, key: str, default: float) -> float:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fault(key, value, "be a number")
            return default
        return float(value)

    def numbers(self, key: str, n: int, default: float) -> tuple[float, ...]:
        value = self._get(key, [default] * n)
        values = value if isinstance(value, list) else [value] * n
        if len(values) != n or not all(type(v) in (int, float) for v in values):
            self.fault(key, value, f"be a number or a list of {n}")
            return (default,) * n
        return tuple(float(v) for v in values)

    def output(self, key: str, default: int | None) -> int | str | None:
        value = self._get(key, default)
        if value is not None and type(value) not in (int, str):
            self.fault(key, value, "be the number, or in ONNX the name, of an output")
            return default
        return value if value is None or isinstance(value, str) else int(value)

    def finish(self) -> None:
        """Raise whatever was wrong, here and in the sections."""
        faults = self._all_faults()
        if faults:
            raise SettingsError(*faults)

    def _all_faults(self) -> list[str]:
        unknown = []
        for key in self._content:
            if key not in self._known:
                near = difflib.get_close_matches(str(key), self._known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(self._known)}."
                unknown.append(f"{self._prefix}{key} is not known in {self._path}; {hint}")
        return [*self._faults, *unknown, *(f for s in self._sections for f in s._all_faults())]

    def _get(self, key: str, default: Any = None) -> Any:
        self._known.append(key)
        value = self._content.get(key)
        return default if value is None else value
