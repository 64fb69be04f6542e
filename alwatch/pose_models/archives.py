"""Archives that PyTorch would load, copied without what could run code of its own."""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alwatch.errors import SettingsError, shown

_IN_SCRIPT = re.compile(
    r"code/[\w/-]+\.py(\.debug_pkl)?|(data|constants)\.pkl|(data|constants)/\d+"
    r"|version|byteorder|\.data/(serialization_id|version)"
)
_NOT_LOADED = re.compile(r"extra/.*|traced_inputs(\.pkl|/\d+)")
_FILE_OPERATOR = re.compile(rb"\b(save|from_file)\b")
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!save|from_file)\w+(\.\w+)?|torch\.sym_\w+|math\.(ceil|floor|trunc)"
    r"|torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_|getitem)"
)
_PLAIN = re.compile(r"[\w.+-]*")
_TEXT = re.compile(r"[\w .,>+-]*")
_SYMBOL = re.compile(
    r"[suz]\d+|Symbol|Integer|Float|Rational|Add|Mul|Pow|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv"
    r"|Max|Min|Eq|Ne|Lt|Le|Gt|Ge"
)
_SUM = (
    ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant, ast.BinOp,
    ast.operator, ast.UnaryOp, ast.unaryop, ast.Compare, ast.cmpop,
)  # fmt: skip
_CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")


def checked_script(file: Path) -> io.BytesIO:
    """Copy a TorchScript file of which no code reads or writes files.

    Left out: what PyTorch keeps for other readers (extra files, and inputs of a trace). Refused:
    entries other than those that `torch.jit.save` writes, as PyTorch would find code and data of
    older formats, and whatever the case of their letters.

    Raises
    ------
    SettingsError
        It holds anything that could run code of its own.
    Exception
        It is no such archive.
    """

    def keep(name: str, content: bytes) -> bytes | None:
        inner = name.partition("/")[2]
        if _NOT_LOADED.fullmatch(inner):
            return None
        if not _IN_SCRIPT.fullmatch(inner):
            raise _refusal(file, f"the unknown entry {name!r}")
        if inner.endswith(".py") and (found := _FILE_OPERATOR.search(content)):
            raise _refusal(file, f"code that calls {found[0].decode()}")
        return content

    return _copied(file, keep)


def checked_program(file: Path) -> io.BytesIO:
    """Copy a torch.export file: its raw tensors and its program, and nothing else.

    Left out: compiled libraries, example inputs (a pickle), and of the program its notes and
    guards (which PyTorch runs as Python). Refused: pickled tensors and objects, operators other
    than `_OPERATOR`, and texts that PyTorch would evaluate as anything but a sum of sizes.

    Raises
    ------
    SettingsError
        It holds anything that could run code of its own.
    Exception
        It is no such archive.
    """

    def keep(name: str, content: bytes) -> bytes | None:
        inner = name.partition("/")[2]
        if re.fullmatch(r"data/(weights|constants)/\w+_config\.json", inner):
            for key, entry in json.loads(content)["config"].items():
                if entry["use_pickle"] or not re.fullmatch(
                    r"(weight|tensor)_\d+", entry["path_name"]
                ):
                    raise _refusal(file, f"{key!r} as a pickled object")
            return content
        if re.fullmatch(r"models/\w+\.json", inner):
            return json.dumps(_checked(json.loads(content), file)).encode()
        if re.fullmatch(r"data/sample_inputs/\w+\.pt", inner):
            return b""
        is_tensor = re.fullmatch(r"data/(weights|constants)/(weight|tensor)_\d+", inner)
        return content if is_tensor or re.fullmatch(r"[\w.]+(/version)?", inner) else None

    return _copied(file, keep)


def _copied(file: Path, keep: Callable[[str, bytes], bytes | None]) -> io.BytesIO:
    """What `keep` lets through, so that nothing is loaded but what was looked at."""
    copy, seen = io.BytesIO(), set()
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(copy, "w") as checked:
        for name in archive.namelist():
            if name.casefold() in seen:  # PyTorch takes no heed of capitals
                raise _refusal(file, f"the entry {name!r} a second time")
            seen.add(name.casefold())
            content = keep(name, archive.read(name))
            if content is not None:
                checked.writestr(name, content)
    copy.seek(0)
    return copy


def _checked(value: Any, file: Path, key: str = "") -> Any:
    """A part of a program, without what PyTorch would run beside its operators."""
    if key in ("metadata", "guards_code", "forward_arg_names"):
        return {"metadata": {}, "guards_code": [], "forward_arg_names": None}[key]
    if isinstance(value, dict):
        for name in value:
            if not (_PLAIN.fullmatch(name) or _is_sum(name)):
                raise _refusal(file, f"a program with {name!r}")
        return {name: _checked(inner, file, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_checked(inner, file, key) for inner in value]
    if isinstance(value, str) and not _is_harmless(key, value):
        raise _refusal(file, f"a program with {key} {value!r}")
    return value


def _is_harmless(key: str, text: str) -> bool:
    if key in ("target", "as_operator"):
        return _OPERATOR.fullmatch(text) is not None
    if key == "expr_str":
        return _is_sum(text)
    if key in ("in_spec", "out_spec"):
        return text == "" or all(_is_plain_container(spec) for spec in json.loads(text)[1:])
    return (_TEXT if key in ("as_string", "as_strings") else _PLAIN).fullmatch(text) is not None


def _is_sum(text: str) -> bool:
    """Whether a text that SymPy evaluates holds sums and products of sizes and nothing else."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except SyntaxError:
        return False
    return all(
        isinstance(node, _SUM)
        and not (isinstance(node, ast.Name) and not _SYMBOL.fullmatch(node.id))
        and not (isinstance(node, ast.Call) and not isinstance(node.func, ast.Name))
        and not (isinstance(node, ast.Constant) and not _PLAIN.fullmatch(str(node.value)))
        for node in nodes
    )


def _is_plain_container(spec: Any) -> bool:
    names = json.loads(spec["context"] or "null") or []
    return (
        spec["type"] in _CONTAINERS
        and all(isinstance(name, str) and _PLAIN.fullmatch(name) for name in names)
        and all(_is_plain_container(inner) for inner in spec["children_spec"])
    )


def _refusal(file: Path, what: str) -> SettingsError:
    return SettingsError(
        f"{shown(file)} holds {shown(what)[:200]}, which could run code of its own; it was not "
        "loaded. Export the network again, of PyTorch's own operators only, or as ONNX."
    )
