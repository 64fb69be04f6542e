"""The YAML file beside an exported pose model."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import helper, numpy_helper
from onnx.external_data_helper import set_external_data

from alwatch.errors import PoseModelError, SettingsError
from alwatch.pose_models.sidecar import ExportedSource, read_sidecar


def written(folder: Path, file: str = "model.onnx", **settings: Any) -> Path:
    (folder / file).write_bytes(b"a network")
    path = folder / "mouse.yaml"
    path.write_text(yaml.safe_dump({"file": file, "bodyparts": ["nose", "tail"], **settings}))
    return path


def faults(path: Path) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read_sidecar(path)
    return caught.value.faults


def test_a_file_and_bodyparts_are_enough(tmp_path: Path) -> None:
    sidecar = read_sidecar(written(tmp_path))
    assert sidecar.file == tmp_path / "model.onnx"
    assert sidecar.bodyparts == ("nose", "tail")
    assert (sidecar.stride, sidecar.offset_px, sidecar.min_distance) == (None, None, 2)
    assert sidecar.activation == "clip"
    assert (sidecar.input.channels, sidecar.input.layout, sidecar.input.resize) == (
        "rgb", "nchw", "pad",
    )  # fmt: skip
    assert sidecar.input.scale == 1 / 255
    assert (sidecar.input.mean, sidecar.input.std) == ((0.0,) * 3, (1.0,) * 3)
    assert (sidecar.outputs.maps, sidecar.outputs.features) == (0, None)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("a.onnx", "onnx"),
        ("a.pt", "torchscript"),
        ("a.TS", "torchscript"),
        ("a.pt2", "torch_export"),
    ],
)
def test_the_format_is_told_by_the_end_of_the_name(
    tmp_path: Path, file: str, expected: str
) -> None:
    assert read_sidecar(written(tmp_path, file)).format == expected


def test_a_format_that_is_given_wins_over_the_name(tmp_path: Path) -> None:
    path = written(tmp_path, "model.bin", format="torchscript")
    assert read_sidecar(path).format == "torchscript"


def test_everything_that_is_given_is_read(tmp_path: Path) -> None:
    sidecar = read_sidecar(
        written(
            tmp_path,
            input={
                "height_px": 64, "width_px": 80, "channels": "gray", "layout": "nhwc",
                "scale": 1, "mean": 127.5, "std": [64], "resize": "stretch",
            },
            outputs={"maps": "heat", "features": 2, "learned_loss": "loss"},
            activation="softmax", stride=4, offset_px=-0.5, n_individuals=1, min_distance=3,
        )
    )  # fmt: skip
    given = sidecar.input
    assert (given.height_px, given.width_px, given.channels, given.layout) == (
        64, 80, "gray", "nhwc",
    )  # fmt: skip
    assert (given.scale, given.mean, given.std, given.resize) == (1.0, (127.5,), (64.0,), "stretch")
    outputs = sidecar.outputs
    assert (outputs.maps, outputs.features, outputs.learned_loss) == ("heat", 2, "loss")
    assert (sidecar.activation, sidecar.stride, sidecar.offset_px) == ("softmax", 4.0, -0.5)
    assert sidecar.min_distance == 3


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"bodyparts": []}, "bodyparts is []; it must be a list of different names"),
    ({"bodyparts": ["a", "a"]}, "bodyparts is ['a', 'a']; it must be a list of different names"),
    ({"format": "keras"}, "format is 'keras'; it must be one of onnx, torchscript, torch_export"),
    (
        {"activation": "relu"},
        "activation is 'relu'; it must be one of clip, none, sigmoid, softmax",
    ),
    ({"stride": 0}, "stride is 0; it must be a number > 0"),
    ({"stride": True}, "stride is True; it must be a number > 0"),
    ({"offset_px": float("nan")}, "offset_px is nan; it must be a number"),
    ({"stride": float("inf")}, "stride is inf; it must be a number > 0"),
    ({"stride": 10**400}, "stride is 1000000000"),
    ({"stride": -(10**400)}, "stride is -1000000000"),
    ({"sigma": 0}, "sigma is 0; it must be a number > 0"),
    ({"n_individuals": 2}, "n_individuals is 2; it must be 1"),
    ({"min_distance": 1.5}, "min_distance is 1.5; it must be a whole number >= 1"),
    ({"input": 3}, "input is 3; it must be a section"),
    ({"input": {"width_px": 64}}, "input.height_px is missing; it must be given, as the other"),
    (
        {"input": {"width_px": 64, "height_px": 64, "multiple_of": 32}},
        "input.multiple_of is 32; it must be left out where height_px and width_px are given",
    ),
    ({"input": {"scale": 0}}, "input.scale is 0; it must be a number > 0"),
    (
        {"input": {"std": [1, 0, 1]}},
        "input.std is [1, 0, 1]; it must be a number > 0 or a list of 3",
    ),
    ({"input": {"channels": "gray", "mean": [1, 2, 3]}}, "input.mean is [1, 2, 3]; it must be a"),
    ({"input": {"resize": "crop"}}, "input.resize is 'crop'; it must be one of pad, stretch"),
    ({"outputs": {"maps": -1}}, "outputs.maps is -1; it must be the number of an output"),
    ({"outputs": {"features": 1.5}}, "outputs.features is 1.5; it must be the number of an output"),
    ({"activatoin": "clip"}, "activatoin is not known in {path}; did you mean activation?"),
    (
        {"input": {"hieght_px": 64}},
        "input.hieght_px is not known in {path}; did you mean height_px?",
    ),
]


@pytest.mark.parametrize(("settings", "expected"), WRONG, ids=[str(w[0]) for w in WRONG])
def test_a_wrong_value_is_named_with_what_it_must_be_and_where(
    tmp_path: Path, settings: dict[str, Any], expected: str
) -> None:
    path = written(tmp_path, **settings)
    (fault,) = faults(path)
    assert fault.startswith(expected.format(path=path))
    assert str(path) in fault


def test_all_faults_are_told_at_once_a_line_each(tmp_path: Path) -> None:
    path = tmp_path / "mouse.yaml"
    path.write_text("file: gone.onnx\nbodypart: [a]\nstride: fast\ninput: {layout: hw}\n")
    found = faults(path)
    assert [fault.split(" ")[0] for fault in found] == [
        "file", "bodyparts", "stride", "bodypart", "input.layout",
    ]  # fmt: skip
    assert not any("\n" in fault for fault in found)
    assert f"it must be a file in {tmp_path}" in found[0]


def test_a_line_break_in_a_name_does_not_break_the_line(tmp_path: Path) -> None:
    path = written(tmp_path, **{"strange\nkey": 1, "format": "a\nb"})
    assert len(faults(path)) == 2
    assert not any("\n" in fault for fault in faults(path))


def test_a_number_that_python_does_not_write_out_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text() + "stride: 0x" + "f" * 5000)
    assert faults(path)[0].startswith("stride is a number of too many digits; it must be a number")


def test_a_path_that_the_system_refuses_is_reported_as_not_readable(tmp_path: Path) -> None:
    """Such as one in the home of somebody else; a name that is too long fails for root too."""
    path = written(tmp_path)
    path.write_text(yaml.safe_dump({"file": "n" * 300, "bodyparts": ["nose"]}))
    for source in (ExportedSource(path), ExportedSource(tmp_path / ("n" * 300))):
        with pytest.raises(PoseModelError, match="File name too long; let alwatch read it"):
            source.find()


def test_the_sigma_of_maps_after_a_softmax_has_a_default_and_of_others_none(
    tmp_path: Path,
) -> None:
    for given, expected in (
        ({}, None),
        ({"activation": "softmax"}, 1.25),
        ({"activation": "softmax", "sigma": 2}, 2.0),
        ({"activation": "none", "sigma": 1.5}, 1.5),
    ):
        assert read_sidecar(written(tmp_path, **given)).sigma == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"file: [", "is no valid YAML"),
        (b"\xff\xfe\xff", "is no valid YAML"),
        (b"file: 2018-13-45", "is no valid YAML"),
        (b"[" * 5000, "is no valid YAML"),
        (b"!!python/object/apply:os.system ['true']", "is no valid YAML"),
        (b"", "holds no settings"),
        (b"- a", "holds no settings"),
    ],
)
def test_what_is_no_settings_file_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "mouse.yaml"
    path.write_bytes(content)
    (fault,) = faults(path)
    assert expected in fault
    assert str(path) in fault


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "which is no file" in faults(tmp_path / "none.yaml")[0]
    assert "which is no file" in faults(tmp_path)[0]


def test_the_snapshot_is_named_by_the_bytes_of_both_files(tmp_path: Path) -> None:
    path = written(tmp_path)
    snapshot = ExportedSource(path).find().snapshot
    sums = [hashlib.sha256(p.read_bytes()).digest() for p in (path, tmp_path / "model.onnx")]
    assert snapshot.sha256 == hashlib.sha256(b"".join(sums)).hexdigest()
    assert (snapshot.kind, snapshot.name) == ("exported", "mouse")
    assert snapshot.bodyparts == ("nose", "tail")
    assert (snapshot.n_individuals, snapshot.n_unique) == (1, 0)


def test_a_change_in_any_of_the_files_is_a_new_snapshot(tmp_path: Path) -> None:
    path = written(tmp_path)
    seen = [ExportedSource(path).find().snapshot.sha256]
    (tmp_path / "model.onnx").write_bytes(b"another network")
    seen.append(ExportedSource(path).find().snapshot.sha256)
    path.write_text(path.read_text() + "\n# a note\n")
    seen.append(ExportedSource(path).find().snapshot.sha256)
    assert len(set(seen)) == 3


def onnx_with_weights_apart(file: Path, *names: str) -> None:
    """An ONNX file whose tensors lie in other files, whatever these are called."""
    tensors = []
    for name in names:
        tensor = numpy_helper.from_array(np.zeros(3, np.float32), "w " + name)
        set_external_data(tensor, name, offset=0, length=12)
        tensor.ClearField("raw_data")
        tensors.append(tensor)
    graph = helper.make_graph([], "g", [], [], tensors)
    onnx.save(helper.make_model(graph), file)


@pytest.mark.parametrize("name", ["model.onnx.data", "weights.bin", "sub/w", "schön" * 40])
def test_other_weights_beside_an_onnx_file_are_a_new_snapshot(tmp_path: Path, name: str) -> None:
    path = written(tmp_path)
    onnx_with_weights_apart(tmp_path / "model.onnx", "first.bin", name, "not-there")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    seen = set()
    for content in (None, b"some weights", b"other weights"):
        for file in ("first.bin", name) if content else ():
            (tmp_path / file).write_bytes(content)
            seen.add(ExportedSource(path).find().snapshot.sha256)
        seen.add(ExportedSource(path).find().snapshot.sha256)
    assert len(seen) == 5


def test_weights_are_noticed_wherever_in_the_file_their_name_lies(tmp_path: Path) -> None:
    path, file = written(tmp_path), tmp_path / "model.onnx"
    onnx_with_weights_apart(file, "weights.bin")
    content = file.read_bytes()
    for n_before in range(2**24 - len(content), 2**24 + 1, 5):  # so much is read at a time
        file.write_bytes(bytes(n_before) + content)
        (tmp_path / "weights.bin").unlink(missing_ok=True)
        without = ExportedSource(path).find().snapshot.sha256
        (tmp_path / "weights.bin").write_bytes(b"some")
        assert ExportedSource(path).find().snapshot.sha256 != without


def test_the_source_gives_the_worker_the_path_and_sees_a_new_network(tmp_path: Path) -> None:
    path = written(tmp_path)
    source = ExportedSource(path)
    first = source.find()
    assert first.model == {"sidecar": str(path)}
    assert first.snapshot == ExportedSource(path).find().snapshot == source.find().snapshot
    (tmp_path / "model.onnx").write_bytes(b"a longer, newer network")
    assert source.find().snapshot.sha256 != first.snapshot.sha256


def test_a_model_is_verified_where_a_link_has_led_to_it(tmp_path: Path) -> None:
    link, source = tmp_path / "current.yaml", ExportedSource(tmp_path / "current.yaml")
    versions = []
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        path = written(tmp_path / name)
        path.write_text(path.read_text() + f"# {name}\n")
        link.unlink(missing_ok=True)
        link.symlink_to(path)
        versions.append(source.find())
    first, second = versions
    assert first.snapshot != second.snapshot
    assert source.verify(first) == ExportedSource(link).verify(first) == first
    assert Path(first.model["sidecar"]) == written(tmp_path / "v1")
    with pytest.raises(PoseModelError, match=r"^its files were overwritten"):
        source.verify(first)
    other = replace(first, snapshot=replace(first.snapshot, kind="deeplabcut"))
    with pytest.raises(PoseModelError, match="is of deeplabcut, pose_model of exported"):
        source.verify(other)


def test_files_that_were_only_touched_are_verified_as_they_are_now(tmp_path: Path) -> None:
    path = written(tmp_path)
    located = ExportedSource(path).find()
    os.utime(path, (1, 1))
    again = ExportedSource(path).verify(located)
    assert again.snapshot == located.snapshot
    assert again.files != located.files
    assert all(signature.is_of(file) for file, signature in again.files)


def test_reading_it_does_not_import_torch() -> None:
    code = "import sys; import alwatch.pose_models.sidecar; print('torch' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert said.stdout.strip() == "False"
