"""Exported pose models of the three formats, made here from one small network."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from alwatch.pose_models.exported import ExportedModel
from alwatch.pose_models.prediction import PoseModel
from alwatch.pose_models.signals import feature_vectors, signals_of
from tests.pose_models.exported_files import Small, Spots, described, refusal, save, spots

SUFFIXES = [".onnx", ".pt", ".pt2"]


def loaded(
    folder: Path, network: nn.Module, file: str = "model.pt", **settings: Any
) -> ExportedModel:
    save(network, folder / file)
    return ExportedModel(str(described(folder, file, **settings)), device="cpu")


def noise(n: int, height: int = 64, width: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


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


class Where(nn.Module):
    """Features: the place of the middle of each cell of 32 pixels (x, y), and 1."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = images.shape[2] // 32, images.shape[3] // 32
        x = (torch.arange(columns) * 32 + 15.5).expand(rows, columns)
        y = (torch.arange(rows) * 32 + 15.5)[:, None].expand(rows, columns)
        features = torch.stack([x, y, torch.ones(rows, columns)])
        return images[:, :2, ::8, ::8], features.expand(images.shape[0], -1, -1, -1)


@pytest.mark.parametrize(
    ("size", "given", "scale"),
    [
        ((129, 129), {}, (1, 1)),
        ((100, 330), {}, (1, 1)),
        ((128, 161), {}, (1, 1)),
        ((160, 96), {}, (1, 1)),
        # 200x260 becomes 172x224; 172 of 224 rows lie in 6 of 7 cells
        ((200, 260), {"height_px": 224, "width_px": 224}, (172 / 200, 224 / 260)),
        (
            (200, 260),
            {"height_px": 96, "width_px": 160, "resize": "stretch"},
            (96 / 200, 160 / 260),
        ),
    ],
)
def test_features_at_a_bodypart_are_those_of_its_place_however_the_frame_is_fitted(
    tmp_path: Path, size: tuple[int, int], given: dict[str, Any], scale: tuple[float, float]
) -> None:
    outputs = {"maps": 0, "features": 1}
    model = loaded(tmp_path, Where(), outputs=outputs, input=given)
    found = model.predict(np.zeros((1, *size, 3), np.uint8), 1)
    down, right = scale
    # Beyond the middles of the outermost cells features stay what they are there.
    place = np.array([size[1] - 1 - 17 / right, size[0] - 1 - 20 / down])
    poses = np.array([[[[*place, 1]]]], np.float32)
    vectors = feature_vectors(replace(found, poses=poses), size)
    assert vectors is not None
    x, y, one = vectors[0, 3:].tolist()  # of unknown length, but of this direction
    in_input = (place + 0.5) * [right, down] - 0.5
    np.testing.assert_allclose([x / one, y / one], in_input, atol=0.1)


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
        # over the 256 repeats of each value: exp(v) / (256 * sum of exp), times 2 pi 1.25^2
        ("softmax", 9.8174770 * np.exp([-1, 0, 1, 2]) / np.exp([-1, 0, 1, 2]).sum() / 256),
    ],
)
def test_the_activation_is_applied(tmp_path: Path, activation: str, expected: list[float]) -> None:
    model = loaded(tmp_path, Ramp(), activation=activation, input={"height_px": 32, "width_px": 32})
    (maps,) = model.predict(noise(1, 32, 32), 1).maps
    np.testing.assert_allclose(maps.values[0, 1, :2, :2].flatten(), expected, rtol=1e-5)
    total = float(maps.values[0, 0].sum())
    assert total == pytest.approx(256 * sum(expected), rel=1e-4)


class Blobs(nn.Module):
    """What a network gives that is sure of a blob with its middle at column 12.3, row 7.8.

    Before the softmax over the map (logits), or after it.
    """

    def __init__(self, sigma: float, *, logits: bool) -> None:
        super().__init__()
        self.sigma = sigma
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        rows = torch.arange(images.shape[2] // 4)[:, None] - 7.8
        columns = torch.arange(images.shape[3] // 4)[None] - 12.3
        values = -(rows**2 + columns**2) / (2 * self.sigma**2)
        if not self.logits:
            values = values.exp() / values.exp().sum()
        return values.expand(images.shape[0], 2, -1, -1)


@pytest.mark.parametrize(
    ("sigma", "logits", "given"),
    [
        (1.25, True, {"activation": "softmax"}),
        (2.0, True, {"activation": "softmax", "sigma": 2}),
        (1.25, False, {"activation": "none", "sigma": 1.25}),
        (1.25, True, {"activation": "softmax", "sigma": 3}),
    ],
)
def test_a_perfect_blob_of_a_map_that_sums_to_1_peaks_at_1_and_keeps_its_middle(
    tmp_path: Path, sigma: float, logits: bool, given: dict[str, Any]
) -> None:
    found = loaded(tmp_path, Blobs(sigma, logits=logits), **given).predict(noise(1), 1)
    # The highest cell is 0.2 and 0.3 cells away: exp(-0.13 / (2 sigma^2)) of the blob's height.
    height = min(1, np.exp(-0.065 / sigma**2) * (given.get("sigma", 1.25) / sigma) ** 2)
    assert float(found.maps[0].values.max()) == pytest.approx(height, rel=1e-3)
    x_px, y_px = 4 * 12.3 + 1.5, 4 * 7.8 + 1.5
    np.testing.assert_allclose(found.poses[0, 0, 0], [x_px, y_px, height], rtol=1e-3)
    signals = signals_of(found)
    assert signals["absent"].max() == signals["mpe"].max() == 0


def test_a_clipped_peak_keeps_its_middle(tmp_path: Path) -> None:
    class High(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            columns = torch.arange(images.shape[3] // 4) - 11.8
            rows = torch.arange(images.shape[2] // 4)[:, None] - 9.7
            blob = 3 * (-(rows**2 + columns**2) / 8).exp()  # at least 1 in some forty cells
            return blob.expand(images.shape[0], 2, -1, -1)

    found = loaded(tmp_path, High()).predict(noise(1), 1)
    np.testing.assert_allclose(found.poses[0, 0, 1], [4 * 11.8 + 1.5, 4 * 9.7 + 1.5, 1], rtol=1e-4)
    assert float(found.maps[0].values.max()) == 1


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
