"""Small networks that tests export: two bodyparts, found by their colour or not at all."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from alwatch.errors import SettingsError
from alwatch.pose_models.exported import ExportedModel

SIDECAR = """\
file: {name}
bodyparts: [red, green]
input: {{multiple_of: 8, channels: rgb, layout: nchw}}
outputs: {{maps: 0, features: 1}}
activation: none
stride: 8
"""


class ColourSpots(nn.Module):
    """Score maps at an eighth of the size: how red, and how green, it is there."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        small = nn.functional.avg_pool2d(images, 8)
        red, green, blue = small.split(1, dim=1)
        maps = torch.cat([red - green - blue, green - red - blue], dim=1).clamp(min=0)
        return maps, small


def export_colour_spots(folder: Path) -> Path:
    """Write the model as TorchScript with its YAML file; returns that file."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.jit.script(ColourSpots()).save(str(folder / "spots.pt"))
    sidecar = folder / "spots.yaml"
    sidecar.write_text(SIDECAR.format(name="spots.pt"))
    return sidecar


class Small(nn.Module):
    """Two score maps at half the size, the features they are made of, and a learned loss."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.first(images).relu()
        return self.head(features), features, features.mean(dim=(1, 2, 3))


class Spots(nn.Module):
    """How red and how green each cell of `stride` pixels is; nothing is learnt."""

    def __init__(self, stride: int = 4) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        small = nn.functional.avg_pool2d(images, self.stride)
        red, green, blue = small.split(1, dim=1)
        return torch.cat([red - green - blue, green - red - blue], dim=1)


def save(network: nn.Module, file: Path, example: Tensor | None = None) -> None:
    """Write as what the file's name says; ONNX is put together by hand, of `Small` alone."""
    example = torch.rand(2, 3, 64, 96) if example is None else example
    network.eval()
    if file.suffix == ".pt":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            torch.jit.script(network).save(str(file))
    elif file.suffix == ".pt2":
        batch = torch.export.Dim("batch", min=1)
        with torch.no_grad():
            program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
        torch.export.save(program, str(file))
    else:
        assert isinstance(network, Small)
        save_onnx(network, file)


def save_onnx(network: Small, file: Path) -> None:
    weights = {k.replace(".", "_"): v.numpy() for k, v in network.state_dict().items()}
    nodes = [
        helper.make_node(
            "Conv", ["images", "first_weight", "first_bias"], ["x"], strides=[2, 2], pads=[1] * 4
        ),
        helper.make_node("Relu", ["x"], ["features"]),
        helper.make_node("Conv", ["features", "head_weight", "head_bias"], ["maps"]),
        helper.make_node("ReduceMean", ["features", "axes"], ["loss"], keepdims=0),
    ]
    constants = [numpy_helper.from_array(v, k) for k, v in weights.items()]
    constants.append(numpy_helper.from_array(np.array([1, 2, 3]), "axes"))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [value("images", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [
            value("maps", TensorProto.FLOAT, ["n", 2, "r", "c"]),
            value("features", TensorProto.FLOAT, ["n", 4, "r", "c"]),
            value("loss", TensorProto.FLOAT, ["n"]),
        ],
        constants,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file
    )


def described(folder: Path, file: str, **settings: Any) -> Path:
    path = folder / "model.yaml"
    whole = {"file": file, "bodyparts": ["red", "green"], **settings}
    path.write_text(yaml.safe_dump(whole))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        ExportedModel(str(path), device="cpu")
    return str(caught.value)


def spots(height: int, width: int, red: tuple[int, int], green: tuple[int, int]) -> np.ndarray:
    """One frame with a red and a green 5x5 square around x, y."""
    frame = np.zeros((1, height, width, 3), np.uint8)
    for channel, (x, y) in enumerate((red, green)):
        frame[0, y - 2 : y + 3, x - 2 : x + 3, channel] = 255
    return frame
