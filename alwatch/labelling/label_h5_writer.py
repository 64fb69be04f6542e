"""Writes DeepLabCut's table as an `.h5` that pandas reads, without pandas.

pandas' fixed format is a group of plain arrays and of attributes that say how to put them
together; PyTables, which pandas reads with, takes them from any HDF5 writer. That a file of
these is to pandas what its own would be is held by the tests.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from alwatch.labelling.label_table import level_names, row_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alwatch.labelling.label_table import LabelTable

_KEY = "df_with_missing"


def to_h5(table: LabelTable, folder: str) -> bytes:
    """A table as the content of an `.h5` file, rows named after images of `folder`.

    Parameters
    ----------
    table : LabelTable
        With at least one row.
    folder : str
        Its name in `labeled-data`.
    """
    content = io.BytesIO()
    names = level_names(table.columns)
    with h5py.File(content, "w") as h5:
        group = h5.create_group(_KEY)
        for name, text in {
            **{"pandas_type": "frame", "pandas_version": "0.15.2"},
            **{"encoding": "UTF-8", "errors": "strict"},
        }.items():
            _set_text(group, name, text)
        group.attrs["ndim"], group.attrs["nblocks"] = np.int64(2), np.int64(1)
        _write_axis(group, "axis0", table.columns, names)
        _write_axis(group, "axis1", [row_path(folder, image) for image in table.images], ())
        _write_axis(group, "block0_items", table.columns, names)
        _write_array(group, "block0_values", table.values)
    return content.getvalue()


def _write_axis(
    group: h5py.Group, axis: str, labels: Sequence[tuple[str, ...]], names: Sequence[str]
) -> None:
    """Labels of several levels: of each level, what occurs in it, and which of these is where."""
    _set_text(group, f"{axis}_variety", "multi")
    levels = list(zip(*labels, strict=True))
    group.attrs[f"{axis}_nlevels"] = np.int64(len(levels))
    for i, level in enumerate(levels):
        known, codes = np.unique([_bytes(label) for label in level], return_inverse=True)
        array = _write_array(group, f"{axis}_level{i}", known)
        _set_text(array, "kind", "string")
        if names:
            _set_text(array, "name", names[i])
        _write_array(group, f"{axis}_label{i}", codes.astype(np.int32))


def _write_array(group: h5py.Group, name: str, values: Any) -> h5py.Dataset:
    array = group.create_dataset(name, data=values)
    array.attrs["transposed"] = np.uint8(1)  # pandas keeps columns together, HDF5 rows
    return array


def _bytes(label: str) -> bytes:
    return label.encode(errors="backslashreplace")  # a folder's name need not be text


def _set_text(node: h5py.Group | h5py.Dataset, name: str, text: str) -> None:
    """Text of fixed length: PyTables takes others for pickles, or not at all."""
    content = text.encode()
    node.attrs.create(name, content, dtype=h5py.string_dtype("utf-8", len(content)))
