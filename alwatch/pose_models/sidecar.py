"""The YAML file that lies beside an exported pose model and says what it takes and gives."""

from __future__ import annotations

import difflib
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from alwatch.errors import PoseModelError, SettingsError, shown
from alwatch.pose_models.files import HashedFiles
from alwatch.records import LocatedSnapshot, Snapshot

FORMATS = {".onnx": "onnx", ".pt": "torchscript", ".ts": "torchscript", ".pt2": "torch_export"}
"""End of the file's name -> its format."""

_ACTIVATIONS = ("clip", "none", "sigmoid", "softmax")
_SIGMA = 1.25
_CHANNELS = ("rgb", "bgr", "gray")
_LOCATION = re.compile(rb"\x0a\x08location\x12")
"""How the place of a tensor's external data begins: field 1 is "location", field 2 the place."""

_CHUNK_BYTES = 2**24
_ENTRY_BYTES = 2**15
_LONGEST = 200
_LAYOUTS = ("nchw", "nhwc")
_RESIZES = ("pad", "stretch")


@dataclass(frozen=True, slots=True)
class ModelInput:
    """How a frame becomes the network's input.

    With a height and a width the frame is resized to them: `pad` keeps its shape and fills up
    with black at the right or below, `stretch` does not. Without, it keeps its size and is
    filled up to a multiple of `multiple_of`. Pixels (0-255) are then multiplied by `scale`, and
    `mean` is taken away and divided by `std`, channel by channel.
    """

    height_px: int | None
    width_px: int | None
    multiple_of: int
    resize: str
    channels: str
    layout: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ModelOutputs:
    """Which of the network's outputs is what: by number, or by name where they have names."""

    maps: int | str
    features: int | str | None
    learned_loss: int | str | None


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What is known of an exported model.

    `stride` is how many pixels of the network's input a cell of a score map stands for; None is
    to be derived from the sizes. `offset_px` is where the middle of the first cell lies, 0 being
    the middle of the first pixel; None is the middle of the cell's pixels, (stride - 1) / 2.
    Networks trained by DeepLabCut have stride / 2, those trained by SLEAP 0. `layout` holds for
    the outputs too.

    Where maps sum to 1, as after `softmax`, `sigma` (cells) is that of the blobs that the network
    was trained on: of such a blob the highest cell is then 1 / (2 pi sigma^2), and is brought to
    1 by the inverse. None is to leave the maps as they are. With `softmax` it is 1.25 where the
    file does not say; Lightning Pose trains with that, and has the softmax in its network.
    """

    path: Path
    file: Path
    format: str
    bodyparts: tuple[str, ...]
    input: ModelInput
    outputs: ModelOutputs
    activation: str
    sigma: float | None
    stride: float | None
    offset_px: float | None
    min_distance: int


class ExportedSource:
    """An exported model as the current pose model.

    Parameters
    ----------
    sidecar : Path
        Its YAML file, or a link to it: then a version stays where it is when the next one comes.
    """

    def __init__(self, sidecar: Path) -> None:
        self._path = sidecar
        self._files = HashedFiles()

    def find(self) -> LocatedSnapshot:
        """Find the model as it is now, known by its YAML file's and its network's bytes.

        Raises
        ------
        SettingsError
            The YAML file or the model is not there, or the YAML file has faults.
        PoseModelError
            One of them is not readable at this moment.
        """
        path = Path(os.path.realpath(self._path))
        sidecar = read_sidecar(path)
        apart = _weights_apart(sidecar.file) if sidecar.format == "onnx" else []
        files = [path, sidecar.file, *apart]
        snapshot = Snapshot(
            kind="exported",
            name=path.stem,
            sha256=self._files.sha256(files),
            bodyparts=sidecar.bodyparts,
        )
        model = {"sidecar": str(path)}
        return LocatedSnapshot(snapshot, model, self._files.signatures(files))

    def verify(self, located: LocatedSnapshot) -> LocatedSnapshot:
        """Give a model that was found before; PoseModelError where its files are not the same."""
        return self._files.verify(located, "exported")


def read_sidecar(path: Path) -> Sidecar:
    """Read and check the YAML file of an exported model.

    Raises
    ------
    SettingsError
        With a line for every fault of the file.
    PoseModelError
        It is not readable at this moment.
    """
    at = _Reading(path, _load(path))
    name = at.text("file", "be the name of a .onnx, .pt, .ts or .pt2 file")
    file = path.parent / name
    if name and not _is_file(file):
        at.fault("file", name, f"be a file in {shown(path.parent)}")
    if at.count("n_individuals", 1) != 1:
        at.fault("n_individuals", at.value("n_individuals"), "be 1")
    activation = at.choice("activation", _ACTIVATIONS, "clip")
    sidecar = Sidecar(
        path=path,
        file=file,
        format=at.choice("format", tuple(dict.fromkeys(FORMATS.values())), _format_of(file)),
        bodyparts=at.names("bodyparts"),
        input=_model_input(at.section("input")),
        outputs=_model_outputs(at.section("outputs")),
        activation=activation,
        sigma=at.number("sigma", _SIGMA if activation == "softmax" else None, above=0),
        stride=at.number("stride", None, above=0),
        offset_px=at.number("offset_px", None),
        min_distance=at.count("min_distance", 2) or 2,
    )
    at.finish()
    return sidecar


def _weights_apart(file: Path) -> list[Path]:
    """Files that an ONNX file keeps tensors in, by the names that it gives them."""
    names, before = set(), b""
    try:
        with file.open("rb") as onnx:
            while chunk := onnx.read(_CHUNK_BYTES):
                content = before + chunk
                names |= {_name_at(content, match.end()) for match in _LOCATION.finditer(content)}
                before = content[-_ENTRY_BYTES:]  # an entry may lie across the end
    except OSError as error:
        raise _unreadable(file, error) from error
    return [path for path in (file.parent / name for name in sorted(names)) if _is_file(path)]


def _name_at(content: bytes, start: int) -> str:
    """The text that begins here in a protocol buffer: its length, seven bits a byte, and it."""
    length, shift = 0, 0
    for byte in content[start : start + 2]:
        start, length, shift = start + 1, length | (byte & 127) << shift, shift + 7
        if byte < 128:
            break
    return content[start : start + length].decode(errors="replace")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> PoseModelError:
    why = f"{shown(path)} cannot be read: {error.strerror}; let alwatch read it, or try again."
    return PoseModelError(why)


def _format_of(file: Path) -> str | None:
    return FORMATS.get(file.suffix.lower())


def _model_input(at: _Reading) -> ModelInput:
    height_px, width_px = at.count("height_px", None), at.count("width_px", None)
    multiple_of = at.count("multiple_of", None)
    if (height_px is None) != (width_px is None):
        lacking = "height_px" if height_px is None else "width_px"
        at.fault(lacking, None, "be given, as the other one is")
    if height_px is not None and multiple_of is not None:
        at.fault("multiple_of", multiple_of, "be left out where height_px and width_px are given")
    channels = at.choice("channels", _CHANNELS, "rgb")
    n_channels = 1 if channels == "gray" else 3
    return ModelInput(
        height_px=height_px,
        width_px=width_px,
        multiple_of=multiple_of or 32,
        resize=at.choice("resize", _RESIZES, "pad"),
        channels=channels,
        layout=at.choice("layout", _LAYOUTS, "nchw"),
        scale=at.number("scale", 1 / 255, above=0) or 1 / 255,
        mean=at.numbers("mean", n_channels, 0.0),
        std=at.numbers("std", n_channels, 1.0, above=0),
    )


def _model_outputs(at: _Reading) -> ModelOutputs:
    maps = at.output("maps", 0)
    return ModelOutputs(
        maps=0 if maps is None else maps,
        features=at.output("features", None),
        learned_loss=at.output("learned_loss", None),
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise SettingsError(
            f"pose_model.project is {shown(path)}, which is no file; it must be the YAML file that "
            "describes the exported model."
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: no UTF-8, or no day such as 99-99; RecursionError: too deep
        what = " ".join(str(error).split())
        raise SettingsError(f"{shown(path)} is no valid YAML ({what}); correct the file.") from None
    if not isinstance(content, dict):
        raise SettingsError(
            f"{shown(path)} holds no settings; it must name `file` and `bodyparts`."
        )
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
        is_ = "is missing" if found is None else f"is {_told(found)}"
        where = shown(self._path)
        self._faults.append(f"{self._prefix}{key} {is_}; it must {must}. Set it in {where}.")

    def value(self, key: str, default: Any = None) -> Any:
        """What the file says; a key that is left empty counts as left out."""
        self._known.append(key)
        value = self._content.get(key)
        return default if value is None else value

    def section(self, key: str) -> _Reading:
        content = self.value(key, {})
        if not isinstance(content, dict):
            self.fault(key, content, "be a section")
            content = {}
        section = _Reading(self._path, content, f"{self._prefix}{key}.")
        self._sections.append(section)
        return section

    def text(self, key: str, must: str) -> str:
        value = self.value(key)
        if not isinstance(value, str) or not value:
            self.fault(key, value, must)
            return ""
        return value

    def names(self, key: str) -> tuple[str, ...]:
        value = self.value(key)
        good = isinstance(value, list) and value and all(isinstance(v, str) and v for v in value)
        if not good or len(set(value)) < len(value):
            self.fault(key, value, "be a list of different names")
            return ()
        return tuple(value)

    def choice(self, key: str, allowed: tuple[str, ...], default: str | None) -> str:
        value = self.value(key, default)
        if value not in allowed:
            self.fault(key, value, f"be one of {', '.join(allowed)}")
        return str(value)

    def count(self, key: str, default: int | None) -> int | None:
        value = self.value(key, default)
        if value is not None and (type(value) is not int or value < 1):
            self.fault(key, value, "be a whole number >= 1")
            return default
        return value

    def number(self, key: str, default: float | None, *, above: float = -math.inf) -> float | None:
        value = self.value(key, default)
        if value is not None and not _is_number(value, above):
            self.fault(key, value, f"be a number{_above(above)}")
            return default
        return None if value is None else float(value)

    def numbers(
        self, key: str, n: int, default: float, *, above: float = -math.inf
    ) -> tuple[float, ...]:
        value = self.value(key, default)
        values = value if isinstance(value, list) else [value] * n
        if len(values) != n or not all(_is_number(v, above) for v in values):
            self.fault(key, value, f"be a number{_above(above)} or a list of {n} of them")
            return (default,) * n
        return tuple(float(v) for v in values)

    def output(self, key: str, default: int | None) -> int | str | None:
        value = self.value(key, default)
        is_number = type(value) is int and value >= 0
        if value is not None and not is_number and not (isinstance(value, str) and value):
            self.fault(key, value, "be the number of an output (0, 1, ...) or its name")
            return default
        return None if value is None else value if isinstance(value, str) else int(value)

    def finish(self) -> None:
        """Raise whatever was wrong, here and in the sections."""
        faults = self._all_faults()
        if faults:
            raise SettingsError(*faults)

    def _all_faults(self) -> list[str]:
        unknown = []
        known = list(dict.fromkeys(self._known))
        for key in self._content:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}."
                name = shown(f"{self._prefix}{key}")
                unknown.append(f"{name} is not known in {shown(self._path)}; {hint}")
        return [*self._faults, *unknown, *(f for s in self._sections for f in s._all_faults())]


def _is_number(value: object, above: float) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value) and value > above
    except OverflowError:  # of more digits than a float holds
        return False


def _told(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes out no number of thousands of digits
        return "a number of too many digits"
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _above(bound: float) -> str:
    return f" > {bound:g}" if math.isfinite(bound) else ""
