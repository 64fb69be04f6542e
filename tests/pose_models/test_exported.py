"""Exported pose models of the three formats, made here from one small network."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings
import zipfile
from collections.abc import Callable
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
from alwatch.pose_models.exported import ExportedModel, _checked_program
from alwatch.pose_models.prediction import PoseModel

SUFFIXES = [".onnx", ".pt", ".pt2"]


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


def loaded(
    folder: Path, network: nn.Module, file: str = "model.pt", **settings: Any
) -> ExportedModel:
    save(network, folder / file)
    return ExportedModel(str(described(folder, file, **settings)), device="cpu")


def refusal(path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        ExportedModel(str(path), device="cpu")
    return str(caught.value)


def noise(n: int, height: int = 64, width: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def spots(height: int, width: int, red: tuple[int, int], green: tuple[int, int]) -> np.ndarray:
    """One frame with a red and a green 5x5 square around x, y."""
    frame = np.zeros((1, height, width, 3), np.uint8)
    for channel, (x, y) in enumerate((red, green)):
        frame[0, y - 2 : y + 3, x - 2 : x + 3, channel] = 255
    return frame


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_format_gives_what_the_network_gives(tmp_path: Path, suffix: str) -> None:
    network, frames = Small(), noise(5)
    outputs = {"maps": 0, "features": 1, "learned_loss": 2}
    model: PoseModel = loaded(
        tmp_path, network, "model" + suffix, outputs=outputs, activation="sigmoid",
        input={"height_px": 64, "width_px": 96},
    )  # fmt: skip
    found = model.predict(frames, 2)
    with torch.no_grad():
        logits, features, loss = network(torch.from_numpy(frames).permute(0, 3, 1, 2) / 255.0)
    assert model.bodyparts == ("red", "green")
    (maps,) = found.maps
    torch.testing.assert_close(maps.values, logits.sigmoid(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.features, features, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(found.learned_loss, loss, atol=1e-5)
    assert found.learned_loss is not None and found.learned_loss.dtype == np.float32
    np.testing.assert_array_equal(maps.frame, np.arange(5))
    np.testing.assert_array_equal(found.features_frame, np.arange(5))
    assert found.poses.shape == (5, 1, 2, 3)
    assert found.poses.dtype == np.float32


def test_the_three_formats_give_the_same_poses(tmp_path: Path) -> None:
    poses = [
        loaded(
            tmp_path, Small(), "model" + suffix, activation="sigmoid",
            input={"height_px": 64, "width_px": 96},
        ).predict(noise(7), 3).poses
        for suffix in SUFFIXES
    ]  # fmt: skip
    np.testing.assert_allclose(poses[0], poses[1], atol=1e-3)
    np.testing.assert_allclose(poses[0], poses[2], atol=1e-3)


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_the_batch_size_changes_nothing(tmp_path: Path, batch_size: int) -> None:
    model = loaded(tmp_path, Small(), activation="sigmoid")
    whole, parts = model.predict(noise(7), 7), model.predict(noise(7), batch_size)
    torch.testing.assert_close(whole.maps[0].values, parts.maps[0].values)
    np.testing.assert_allclose(whole.poses, parts.poses, atol=1e-4)


def test_outputs_may_be_named_in_onnx(tmp_path: Path) -> None:
    outputs = {"maps": "maps", "features": "features", "learned_loss": "loss"}
    by_name = loaded(tmp_path, Small(), "model.onnx", outputs=outputs).predict(noise(2), 2)
    by_number = loaded(tmp_path, Small(), "model.onnx").predict(noise(2), 2)
    torch.testing.assert_close(by_name.maps[0].values, by_number.maps[0].values)
    assert by_name.features is not None and by_number.features is None
    assert by_name.learned_loss is not None and by_number.learned_loss is None


def test_outputs_may_be_named_by_a_dictionary(tmp_path: Path) -> None:
    class Named(nn.Module):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"other": images, "heat": images[:, :2, ::2, ::2]}

    for file in ("model.pt", "model.pt2"):
        (maps,) = (
            loaded(
                tmp_path, Named(), file, outputs={"maps": "heat"},
                input={"height_px": 64, "width_px": 96},
            ).predict(noise(2), 2).maps
        )  # fmt: skip
        expected = torch.from_numpy(noise(2)).permute(0, 3, 1, 2)[:, :2, ::2, ::2] / 255.0
        torch.testing.assert_close(maps.values, expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [0.2, 0.4, 0.6]),
        ({"channels": "bgr"}, [0.6, 0.4, 0.2]),
        # 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6
        ({"channels": "gray"}, [0.363]),
        ({"scale": 1}, [51.0, 102.0, 153.0]),
        # (0.2 - 0.1) / 0.5, (0.4 - 0.2) / 0.5, (0.6 - 0.3) / 0.5
        ({"mean": [0.1, 0.2, 0.3], "std": 0.5}, [0.2, 0.4, 0.6]),
        ({"channels": "bgr", "mean": [0.1, 0.2, 0.3]}, [0.5, 0.2, -0.1]),
    ],
)
def test_pixels_reach_the_network_as_the_file_says(
    tmp_path: Path, given: dict[str, Any], expected: list[float]
) -> None:
    class Mirror(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images.mean(dim=1, keepdim=True).repeat(1, 2, 1, 1), images

    frames = np.zeros((1, 32, 32, 3), np.uint8) + np.array([51, 102, 153], np.uint8)
    model = loaded(tmp_path, Mirror(), input=given, outputs={"maps": 0, "features": 1})
    features = model.predict(frames, 1).features
    assert features is not None
    np.testing.assert_allclose(features.mean(dim=(0, 2, 3)), expected, atol=1e-5)


def test_channels_may_come_last(tmp_path: Path) -> None:
    class Last(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            assert images.shape[3] == 3
            return images[:, ::2, ::2, :2], images[:, ::4, ::4]

    model = loaded(tmp_path, Last(), input={"layout": "nhwc"}, outputs={"maps": 0, "features": 1})
    found = model.predict(noise(2), 2)
    first = torch.from_numpy(noise(2)).permute(0, 3, 1, 2) / 255.0
    torch.testing.assert_close(found.maps[0].values, first[:, :2, ::2, ::2])
    torch.testing.assert_close(found.features, first[:, :, ::4, ::4])


SIZES: list[tuple[dict[str, Any], tuple[int, int]]] = [
    ({"multiple_of": 32}, (70, 101)),
    ({"multiple_of": 4}, (64, 96)),
    ({"height_px": 64, "width_px": 64}, (128, 192)),  # shrunk, filled up below
    ({"height_px": 64, "width_px": 64}, (192, 128)),  # filled up at the right
    ({"height_px": 128, "width_px": 192}, (64, 64)),  # enlarged
    ({"height_px": 64, "width_px": 96, "resize": "stretch"}, (192, 144)),
    ({"height_px": 128, "width_px": 64, "resize": "stretch"}, (100, 100)),
]


@pytest.mark.parametrize(("given", "size"), SIZES)
def test_poses_are_in_pixels_of_the_frame_whatever_the_input(
    tmp_path: Path, given: dict[str, Any], size: tuple[int, int]
) -> None:
    height, width = size
    red, green = (width - 12, 15), (20, height - 14)
    model = loaded(tmp_path, Spots(), input=given)
    ((found,),) = model.predict(spots(height, width, red, green), 1).poses
    cell_px = 4 * max(
        1.0, height / given.get("height_px", height), width / given.get("width_px", width)
    )
    np.testing.assert_allclose(found[:, :2], [red, green], atol=0.5 * cell_px)
    assert (found[:, 2] > 0).all()


def test_a_whole_cell_is_found_exactly_at_its_middle(tmp_path: Path) -> None:
    frames = np.zeros((1, 64, 96, 3), np.uint8)
    frames[0, 8:12, 20:24, 0] = 255  # middle at x 21.5, y 9.5
    frames[0, 40:44, 60:64, 1] = 255
    ((found,),) = loaded(tmp_path, Spots()).predict(frames, 1).poses
    np.testing.assert_allclose(found, [[21.5, 9.5, 1], [61.5, 41.5, 1]], atol=1e-4)
    ((moved,),) = loaded(tmp_path, Spots(), offset_px=2).predict(frames, 1).poses
    np.testing.assert_allclose(moved, [[22, 10, 1], [62, 42, 1]], atol=1e-4)


def test_a_frame_of_twice_the_size_has_its_poses_at_twice_the_place(tmp_path: Path) -> None:
    frames = np.zeros((1, 128, 192, 3), np.uint8)
    frames[0, 16:24, 40:48, 0] = 255  # middle at x 43.5, y 19.5
    given = {"height_px": 64, "width_px": 96}
    ((found,),) = loaded(tmp_path, Spots(), input=given).predict(frames, 1).poses
    np.testing.assert_allclose(found[0], [43.5, 19.5, 1], atol=1e-4)
    assert np.isnan(found[1]).all()  # nothing is green


def test_maps_and_features_are_of_the_frame_without_its_filling(tmp_path: Path) -> None:
    class Bright(nn.Module):  # maps that are brightest where the input is black
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            dark = 1 - nn.functional.avg_pool2d(images, 4)
            return dark[:, :2], dark[:, :, ::2, ::2]

    outputs = {"maps": 0, "features": 1}
    model = loaded(tmp_path, Bright(), input={"height_px": 64, "width_px": 64}, outputs=outputs)
    found = model.predict(np.full((2, 32, 64, 3), 200, np.uint8), 2)
    assert found.maps[0].values.shape == (2, 2, 8, 16)
    assert found.features is not None and found.features.shape == (2, 3, 4, 8)
    assert float(found.maps[0].values.max()) < 0.3
    assert found.poses[..., 1].max() < 32


@pytest.mark.parametrize(("resize", "rows"), [("pad", 8), ("stretch", 16)])
def test_a_stretched_frame_takes_up_the_whole_input(tmp_path: Path, resize: str, rows: int) -> None:
    given = {"height_px": 64, "width_px": 64, "resize": resize}
    (maps,) = loaded(tmp_path, Spots(), input=given).predict(noise(1, 32, 64), 1).maps
    assert maps.values.shape == (1, 2, rows, 16)


class Ramp(nn.Module):
    """Maps of -1, 0, 1 and 2 in turn."""

    def forward(self, images: Tensor) -> Tensor:
        values = torch.tensor([[-1.0, 0.0], [1.0, 2.0]]).repeat(images.shape[2] // 2, 16)
        return values.expand(images.shape[0], 2, -1, -1)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("none", [0, 0, 1, 2]),
        ("clip", [0, 0, 1, 1]),
        ("sigmoid", [1 / (1 + np.e), 0.5, 1 / (1 + 1 / np.e), 1 / (1 + np.e**-2)]),
        # over the 256 repeats of each value: exp(v) / (256 * sum of exp)
        ("softmax", np.exp([-1, 0, 1, 2]) / np.exp([-1, 0, 1, 2]).sum() / 256),
    ],
)
def test_the_activation_is_applied(tmp_path: Path, activation: str, expected: list[float]) -> None:
    model = loaded(tmp_path, Ramp(), activation=activation, input={"height_px": 32, "width_px": 32})
    (maps,) = model.predict(noise(1, 32, 32), 1).maps
    np.testing.assert_allclose(maps.values[0, 1, :2, :2].flatten(), expected, rtol=1e-5)
    total = float(maps.values[0, 0].sum())
    assert total == pytest.approx(256 * sum(expected), rel=1e-4)


def test_a_stride_that_is_not_given_is_told_by_the_sizes(tmp_path: Path) -> None:
    for stride in (2, 8):
        frames = spots(64, 96, (28, 20), (60, 44))
        told, given = (
            loaded(tmp_path, Spots(stride), **more).predict(frames, 1).poses
            for more in ({}, {"stride": stride})
        )
        np.testing.assert_array_equal(told, given)
        np.testing.assert_allclose(told[0, 0, :, :2], [[28, 20], [60, 44]], atol=stride)


def test_a_stride_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    save(Spots(4), tmp_path / "model.pt")
    message = refusal(described(tmp_path, "model.pt", stride=8))
    assert "stride is 8, but" in message
    assert "makes 24x16 cells of 96x64 pixels" in message


def test_a_stride_that_the_sizes_leave_open_is_asked_for(tmp_path: Path) -> None:
    save(Spots(4), tmp_path / "model.pt")
    given = {"height_px": 50, "width_px": 64}  # 12 rows of 4 px leave 2 px over
    message = refusal(described(tmp_path, "model.pt", input=given))
    assert "stride is not given" in message
    loaded(tmp_path, Spots(4), input=given, stride=4)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_another_number_of_bodyparts_is_refused(tmp_path: Path, suffix: str) -> None:
    save(Small(), tmp_path / f"model{suffix}")
    path = described(
        tmp_path, f"model{suffix}", bodyparts=["a", "b", "c"],
        input={"height_px": 64, "width_px": 96},
    )  # fmt: skip
    message = refusal(path)
    assert "gives score maps of shape (2, 2, 32, 48)" in message
    assert "names 3 bodyparts" in message


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ({"maps": 5}, "outputs.maps is 5, but"),
        ({"maps": 0, "features": "deep"}, "outputs.features is 'deep', but"),
        ({"maps": 0, "features": 2}, "it must be a feature map"),
        ({"maps": 0, "learned_loss": 1}, "it must be one number for each of the 2 frames"),
    ],
)
def test_an_output_that_is_not_what_it_should_be_is_refused(
    tmp_path: Path, outputs: dict[str, Any], expected: str
) -> None:
    save(Small(), tmp_path / "model.onnx")
    message = refusal(described(tmp_path, "model.onnx", outputs=outputs))
    assert expected in message
    assert str(tmp_path / "model.yaml") in message


def test_a_network_that_fails_on_the_trial_frames_is_refused(tmp_path: Path) -> None:
    save(Small(), tmp_path / "model.pt")
    message = refusal(described(tmp_path, "model.pt", input={"channels": "gray"}))
    assert "was tried with two grey frames of 96x64 pixels and failed" in message


def test_a_network_for_a_fixed_batch_of_one_is_refused(tmp_path: Path) -> None:
    with torch.no_grad():
        program = torch.export.export(Small().eval(), (torch.rand(1, 3, 64, 96),))
    torch.export.save(program, str(tmp_path / "model.pt2"))
    given = {"height_px": 64, "width_px": 96}
    message = refusal(described(tmp_path, "model.pt2", input=given))
    assert "export the model for batches of any size" in message


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"not a network at all", b"half"])
def test_a_damaged_file_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"model{suffix}"
    if content == b"half":
        save(Small(), file)
        content = file.read_bytes()[: file.stat().st_size // 2]
    file.write_bytes(content)
    message = refusal(described(tmp_path, file.name))
    assert f"{file} cannot be read as" in message
    assert "\n" not in message


def test_onnx_without_onnxruntime_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(Small(), tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'alwatch[onnx]'" in refusal(described(tmp_path, "model.onnx"))


# --- memory ------------------------------------------------------------------------------------


def test_memory_that_runs_out_is_not_taken_for_a_wrong_file(tmp_path: Path) -> None:
    class Hungry(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.repeat(1, 1, 1, 100_000_000_000)

    save(Hungry(), tmp_path / "model.pt")
    with pytest.raises(MemoryError):
        ExportedModel(str(described(tmp_path, "model.pt")), device="cpu")
    save(Hungry(), tmp_path / "model.pt2")
    given = {"height_px": 64, "width_px": 96}
    with pytest.raises(MemoryError):
        ExportedModel(str(described(tmp_path, "model.pt2", input=given)), device="cpu")


def test_memory_that_runs_out_in_onnx_is_told_as_such(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Expand", ["images", "size"], ["maps"])],
        "hungry",
        [value("images", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [value("maps", TensorProto.FLOAT, ["n", "k", "r", "c"])],
        [numpy_helper.from_array(np.array([10**9, 2, 3, 64, 96]), "size")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(made, tmp_path / "model.onnx")
    with pytest.raises(MemoryError):
        ExportedModel(str(described(tmp_path, "model.onnx")), device="cpu")


# --- files that would run code -----------------------------------------------------------------


def changed(file: Path, change: Callable[[str, bytes], bytes], **more: bytes) -> None:
    """Rewrite an archive, entry by entry, and put more entries beside the first."""
    copy = io.BytesIO()
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(copy, "w") as out:
        root = archive.namelist()[0].partition("/")[0]
        for name in archive.namelist():
            out.writestr(name, change(name, archive.read(name)))
        for name, content in more.items():
            out.writestr(f"{root}/{name}", content)
    file.write_bytes(copy.getvalue())


class Evil:
    """Unpickled, it writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def pickled(value: object) -> bytes:
    held = io.BytesIO()
    torch.save(value, held)
    return held.getvalue()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A torch.export file that has not been changed yet, beside its description."""
    save(Small(), tmp_path / "model.pt2")
    described(tmp_path, "model.pt2", input={"height_px": 64, "width_px": 96})
    return tmp_path / "model.pt2"


def in_program(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    def edit(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        program = json.loads(content)
        change(program)
        return json.dumps(program).encode()

    changed(file, edit)


def test_pickled_weights_are_refused_and_not_unpickled(program: Path) -> None:
    mark = program.with_name("mark")

    def edit(name: str, content: bytes) -> bytes:
        if name.endswith("data/weights/weight_0"):
            return pickled(Evil(mark))
        if name.endswith("model_weights_config.json"):
            config = json.loads(content)
            for entry in config["config"].values():
                entry["use_pickle"] = entry["path_name"] == "weight_0"
            return json.dumps(config).encode()
        return content

    changed(program, edit)
    with contextlib.suppress(Exception):  # what was unpickled is no weight, but that comes later
        torch.export.load(str(program))
    assert mark.exists(), "PyTorch by itself would unpickle it"
    mark.unlink()
    assert "as a pickled object, which could run code" in refusal(program.with_name("model.yaml"))
    assert not mark.exists()


def test_pickled_constants_are_refused_and_not_unpickled(program: Path) -> None:
    mark = program.with_name("mark")

    def edit(name: str, content: bytes) -> bytes:
        if name.endswith("model_constants_config.json"):
            entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True}
            return json.dumps({"config": {"c": entry | {"tensor_meta": None}}}).encode()
        return content

    changed(program, edit, **{"data/constants/opaque_obj_0": pickled(Evil(mark))})
    assert "as a pickled object" in refusal(program.with_name("model.yaml"))
    assert not mark.exists()


def test_pickled_example_inputs_are_never_read(program: Path) -> None:
    mark = program.with_name("mark")
    evil = pickled((Evil(mark),))
    changed(program, lambda name, content: evil if "sample_inputs" in name else content)
    ExportedModel(str(program.with_name("model.yaml")), device="cpu")
    assert not mark.exists()


def test_guards_that_are_code_are_never_run(program: Path) -> None:
    mark = program.with_name("mark")
    code = f"__import__('pathlib').Path({str(mark)!r}).touch() is None"
    in_program(program, lambda whole: whole.update(guards_code=[code]))
    with contextlib.suppress(Exception):
        torch.export.load(str(program)).module()(torch.zeros(2, 3, 64, 96))
    assert mark.exists(), "PyTorch by itself would run it"
    mark.unlink()
    ExportedModel(str(program.with_name("model.yaml")), device="cpu")
    torch.export.load(_checked_program(program)).module()(torch.zeros(2, 3, 64, 96))
    assert not mark.exists()


def test_a_program_with_unknown_operators_is_refused(program: Path) -> None:
    for target in ("torch.os.system", "torch.ops.aten.from_file.default", "_operator.call", "#x"):

        def edit(whole: dict[str, Any], target: str = target) -> None:
            whole["graph_module"]["graph"]["nodes"][0]["target"] = target

        in_program(program, edit)
        message = refusal(program.with_name("model.yaml"))
        assert f"a program with target {target!r}, which could run code" in message


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "Symbol('s0').__class__",
        "S('x')",
        "lambdify(s0, s0)",
        "[s0 for s0 in s1]",
        "Symbol('s0 or exit()')",
    ],
)
def test_sizes_that_are_code_are_refused(program: Path, expression: str) -> None:
    def edit(whole: dict[str, Any]) -> None:
        sizes = whole["graph_module"]["graph"]["tensor_values"]["conv2d"]["sizes"]
        sizes[0] = {"as_expr": {"expr_str": expression, "hint": None}}

    in_program(program, edit)
    assert "a program with expr_str" in refusal(program.with_name("model.yaml"))


def test_names_that_are_code_are_refused(program: Path) -> None:
    def edit(whole: dict[str, Any]) -> None:
        spec = whole["graph_module"]["signature"]["input_specs"][0]
        spec["parameter"]["parameter_name"] = 'x")or(exit()'

    in_program(program, edit)
    assert "a program with parameter_name" in refusal(program.with_name("model.yaml"))


def test_containers_other_than_pythons_own_are_refused(program: Path) -> None:
    def edit(whole: dict[str, Any]) -> None:
        signature = whole["graph_module"]["module_call_graph"][0]["signature"]
        signature["out_spec"] = signature["out_spec"].replace("builtins.tuple", "os.stat_result")

    in_program(program, edit)
    assert "a program with out_spec" in refusal(program.with_name("model.yaml"))


def test_compiled_libraries_are_left_out(program: Path) -> None:
    changed(program, lambda _, content: content, **{"data/aotinductor/model/model.so": b"\x7fELF"})
    ExportedModel(str(program.with_name("model.yaml")), device="cpu")


def test_an_exported_file_with_sizes_that_vary_is_read(tmp_path: Path) -> None:
    rows, columns = torch.export.Dim("rows", min=8, max=512), torch.export.Dim("columns", min=8)
    batch = torch.export.Dim("batch", min=1)
    sizes = ({0: batch, 2: 4 * rows, 3: 4 * columns},)
    with torch.no_grad():
        program = torch.export.export(Spots(), (torch.rand(2, 3, 64, 96),), dynamic_shapes=sizes)
    torch.export.save(program, str(tmp_path / "model.pt2"))
    model = ExportedModel(
        str(described(tmp_path, "model.pt2", input={"multiple_of": 4})), device="cpu"
    )
    for height, width in ((64, 96), (80, 60)):
        frames = spots(height, width, (28, 20), (44, 48))
        ((found,),) = model.predict(frames, 1).poses
        np.testing.assert_allclose(found[:, :2], [(28, 20), (44, 48)], atol=2)


def test_torchscript_that_writes_files_is_refused(tmp_path: Path) -> None:
    class Writes(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            torch.save(images, "written-by-the-model")
            return images[:, :2]

    save(Writes(), tmp_path / "model.pt")
    assert "code that calls save" in refusal(described(tmp_path, "model.pt"))
    assert not Path("written-by-the-model").exists()
