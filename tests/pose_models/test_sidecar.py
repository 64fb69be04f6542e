"""The YAML file beside an exported pose model."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from alwatch.errors import SettingsError
from alwatch.pose_models.sidecar import ExportedSource, exported_snapshot, read_sidecar


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


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"file: [", "is no valid YAML"),
        (b"\xff\xfe\xff", "is no valid YAML"),
        (b"file: 2018-13-45", "is no valid YAML"),
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
    snapshot = exported_snapshot(path)
    sums = [hashlib.sha256(p.read_bytes()).digest() for p in (path, tmp_path / "model.onnx")]
    assert snapshot.sha256 == hashlib.sha256(b"".join(sums)).hexdigest()
    assert (snapshot.kind, snapshot.name) == ("exported", "mouse")
    assert snapshot.bodyparts == ("nose", "tail")
    assert (snapshot.n_individuals, snapshot.n_unique) == (1, 0)


def test_a_change_in_any_of_the_files_is_a_new_snapshot(tmp_path: Path) -> None:
    path = written(tmp_path)
    seen = [exported_snapshot(path).sha256]
    (tmp_path / "model.onnx.data").write_bytes(b"the weights, apart")
    seen.append(exported_snapshot(path).sha256)
    (tmp_path / "model.onnx").write_bytes(b"another network")
    seen.append(exported_snapshot(path).sha256)
    path.write_text(path.read_text() + "\n# a note\n")
    seen.append(exported_snapshot(path).sha256)
    assert len(set(seen)) == 4


def test_the_source_gives_the_worker_the_path_and_sees_a_new_network(tmp_path: Path) -> None:
    path = written(tmp_path)
    source = ExportedSource(path)
    first = source.find()
    assert first.model == {"sidecar": str(path)}
    assert first.snapshot == exported_snapshot(path) == source.find().snapshot
    (tmp_path / "model.onnx").write_bytes(b"a longer, newer network")
    assert source.find().snapshot.sha256 != first.snapshot.sha256


def test_reading_it_does_not_import_torch() -> None:
    code = "import sys; import alwatch.pose_models.sidecar; print('torch' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert said.stdout.strip() == "False"
