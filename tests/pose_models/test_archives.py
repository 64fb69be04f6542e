"""Files that would run code of their own, and those that look like it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alwatch.pose_models.archives import checked_program
from alwatch.pose_models.exported import ExportedModel
from tests.pose_models.exported_files import Small, described, refusal, save


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
    torch.export.load(checked_program(program)).module()(torch.zeros(2, 3, 64, 96))
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


class Writes(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        torch.save(images, "written-by-the-model")
        return images[:, :2]


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TorchScript file that writes a file into the folder it is run in."""
    monkeypatch.chdir(tmp_path)
    save(Writes(), tmp_path / "model.pt")
    described(tmp_path, "model.pt")
    return tmp_path / "model.pt"


def renamed(file: Path, change: Callable[[str], str]) -> None:
    copy = io.BytesIO()
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(copy, "w") as out:
        for name in archive.namelist():
            out.writestr(change(name), archive.read(name))
    file.write_bytes(copy.getvalue())


def test_torchscript_that_writes_files_is_refused(writer: Path) -> None:
    assert "code that calls save" in refusal(writer.with_name("model.yaml"))
    assert not writer.with_name("written-by-the-model").exists()


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
@pytest.mark.parametrize("suffix", [".PY", ".pY"])
def test_code_under_other_capitals_is_refused_though_pytorch_would_run_it(
    writer: Path, suffix: str
) -> None:
    mark = writer.with_name("written-by-the-model")
    renamed(writer, lambda name: re.sub(r"\.py$", suffix, name))
    torch.jit.load(str(writer))(torch.zeros(1, 3, 8, 8))
    assert mark.exists(), "PyTorch by itself would run it"
    mark.unlink()
    message = refusal(writer.with_name("model.yaml"))
    assert "holds the unknown entry" in message
    assert f"test_archives{suffix}'" in message
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["model.json", "attributes.pkl", "code/evil.py.bak", "code/../evil.py", "data/x", ""]
)
def test_entries_that_pytorch_does_not_write_today_are_refused(tmp_path: Path, name: str) -> None:
    save(Small(), tmp_path / "model.pt")
    changed(tmp_path / "model.pt", lambda _, content: content, **{name: b""})
    assert f"unknown entry 'model/{name}'" in refusal(described(tmp_path, "model.pt"))


@pytest.mark.parametrize("again", ["data/0", "Data/0", "DATA.pkl"])
def test_two_entries_that_pytorch_takes_for_one_are_refused(tmp_path: Path, again: str) -> None:
    save(Small(), tmp_path / "model.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile's, of a name that is there twice
        changed(tmp_path / "model.pt", lambda _, content: content, **{again: b""})
    assert "a second time" in refusal(described(tmp_path, "model.pt"))


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
@pytest.mark.parametrize("how", ["scripted", "traced", "frozen", "with a note"])
def test_what_pytorch_writes_today_is_read(tmp_path: Path, how: str) -> None:
    network: Any = torch.jit.script(Small().eval())
    if how == "traced":
        network = torch.jit.trace(Small().eval(), torch.zeros(2, 3, 64, 96))
    elif how == "frozen":
        network = torch.jit.freeze(network)
    notes = {"a/note.txt": "by Ana"} if how == "with a note" else {}
    torch.jit.save(network, tmp_path / "model.pt", _extra_files=notes)
    ExportedModel(str(described(tmp_path, "model.pt")), device="cpu")
