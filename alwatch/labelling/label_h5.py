"""DeepLabCut's table of labels in its `.h5` form, read without loading a pickle.

What pandas writes to an `.h5` holds pickles, in attributes always and in row labels at times, and
reading one can run code (PyTables loads every attribute of what it opens). So the file is read
through h5py, which loads no pickles, and of it:

- arrays of numbers and of text, which in pandas' fixed format are all that is needed;
- in its table format, which names the columns in pickled attributes alone, the opcodes of these.
  `pickletools` lists them without carrying any out. Lists and tuples of names take a few of them;
  an attribute with any other, such as one that looks something up or calls it, is refused.
"""

from __future__ import annotations

import io
import pickletools
import re
from math import prod
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from alwatch.labelling.label_file import read_label_file
from alwatch.labelling.label_table import LabelTable

if TYPE_CHECKING:
    from pathlib import Path

    Block = tuple[list[tuple[str, ...]], Any]

_KEYS = ("df_with_missing", "keypoints")
"""DeepLabCut's own key, and the one that its labelling GUI used from 2022 to 2026."""
_NAMES = {"UNICODE", "STRING", "INT", "LONG"}
_SHAPES = {"LIST", "APPEND", "STOP"}
_MOST_BYTES = 2**30
"""Labels take a thousandth of this; a damaged or malicious file may declare any size."""


def read_h5(file: Path) -> LabelTable:
    """Read an `.h5` that pandas wrote, in its fixed or its table format.

    Raises
    ------
    OSError
        The file cannot be opened, or is no HDF5.
    ValueError, TypeError, LookupError, AttributeError, RuntimeError
        It holds no such table, or one that cannot be read without loading a pickle.
    """
    # From memory, so that no lock is held while the GUI saves.
    with h5py.File(io.BytesIO(read_label_file(file)), "r") as h5:
        group = h5[next((key for key in _KEYS if key in h5), _KEYS[0])]
        arrays = [array for array in group.values() if isinstance(array, h5py.Dataset)]
        _check_size(sum(prod(array.shape) * array.dtype.itemsize for array in arrays))
        images, columns, blocks = _table(group) if "table" in group else _fixed(group)
    if images.dtype.kind != "S":
        raise ValueError("its rows are not named after images")
    _check_size(8 * len(images) * len(columns))
    values = np.full((len(images), len(columns)), np.nan)
    position = {column: i for i, column in enumerate(columns)}
    for names, block in blocks:
        if block.dtype.kind not in "fiu" or block.shape != (len(images), len(names)):
            raise ValueError(
                f"{block.dtype} values of shape {block.shape} cannot stand for {len(images)} "
                f"images and {len(names)} columns"
            )
        values[:, [position[name] for name in names]] = block
    return LabelTable([image.decode() for image in images], columns, values)


def _check_size(n_bytes: int) -> None:
    if n_bytes > _MOST_BYTES:
        raise ValueError(f"it says that it holds {n_bytes / 2**30:.3g} GiB of labels")


# --- the fixed format --------------------------------------------------------------------------


def _fixed(group: h5py.Group) -> tuple[Any, list[tuple[str, ...]], list[Block]]:
    """Row labels, columns, and for each type of number the columns that have it."""
    images = _array(group, "axis1", "S") if "axis1" in group else _levels(group, "axis1")[-1]
    blocks = [name for name in group if re.fullmatch(r"block\d+_values", name)]
    return (
        images,
        _names(group, "axis0"),
        [
            (_names(group, block.replace("values", "items")), _array(group, block, "fiu"))
            for block in blocks
        ],
    )


def _names(group: h5py.Group, axis: str) -> list[tuple[str, ...]]:
    """The names along an axis, those of one column together."""
    levels = [[_text(name) for name in level.tolist()] for level in _levels(group, axis)]
    return list(zip(*levels, strict=True))


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _levels(group: h5py.Group, axis: str) -> list[Any]:
    """What stands along an axis, outermost first: of each level, the label of every entry."""
    levels: list[Any] = []
    while f"{axis}_level{len(levels)}" in group:
        names = _array(group, f"{axis}_level{len(levels)}", "Siu")
        # Entry -1 stands for a missing name; without this it would bear the last one.
        names = np.append(names, np.zeros(1, names.dtype))
        labels = _array(group, f"{axis}_label{len(levels)}", "iu")
        _check_size(names.itemsize * labels.size)
        levels.append(names[labels])
    return levels


def _array(group: h5py.Group, name: str, kinds: str) -> Any:
    """Read an array; one of another kind may be a pickle."""
    array = group[name]
    if array.dtype.kind not in kinds:
        raise ValueError(f"{array.name} is not a plain array")
    return array[()]


# --- the table format --------------------------------------------------------------------------


def _table(group: h5py.Group) -> tuple[Any, list[tuple[str, ...]], list[Block]]:
    """Row labels, columns, and for each type of number the columns that have it."""
    table = group["table"]
    rows = table[()]
    blocks = [name for name in rows.dtype.names if name.startswith("values_")]
    return (
        rows["index"],
        _listed_names(group.attrs["non_index_axes"]),
        [(_listed_names(table.attrs[f"{block}_kind"]), rows[block]) for block in blocks],
    )


def _listed_names(pickled: bytes) -> list[tuple[str, ...]]:
    """The innermost tuples of a pickle of lists, tuples and names: one for each column.

    PyTables writes pickles of protocol 0, which puts a name that comes again as a reference.
    """
    columns: list[tuple[str, ...]] = []
    names: list[str] = []
    known: dict[Any, str] = {}
    before = ""
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in _NAMES:
            names.append(str(argument))
        elif opcode.name == "GET":
            names.append(known[argument])
        elif opcode.name == "PUT":
            if before in _NAMES:
                known[argument] = names[-1]
        elif opcode.name == "MARK":
            names = []
        elif opcode.name == "TUPLE":
            columns += [tuple(names)] if names else []
            names = []
        elif opcode.name not in _SHAPES:
            raise ValueError(f"its columns are not plain names but need {opcode.name} to be read")
        before = opcode.name
    return columns
