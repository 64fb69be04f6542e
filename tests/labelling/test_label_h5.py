from __future__ import annotations

import os
import pickle
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import tables

from alwatch.errors import ExportError
from alwatch.labelling.collected_data import labelled_frames
from alwatch.labelling.label_h5 import read_h5
from tests.labelling.label_files import (
    KEY,
    MULTI,
    NAN,
    SINGLE,
    points_by_pandas,
    read_by_pandas,
    row_labels,
    sparse_table,
    table,
)

COLUMNS = {"single": SINGLE, "multi": MULTI}
ROWS = {"img003.png": [1.0, 2.0, 3.0, 4.0], "img004.png": [NAN] * 4, "img010.png": [NAN, 0, NAN, 0]}


@pytest.mark.parametrize(
    ("animals", "layout", "index", "mixed"),
    [
        *product(COLUMNS, ["fixed"], ["three parts", "number for a folder"], [False, True]),
        *product(COLUMNS, ["fixed", "table"], ["one path", "one Windows path"], [False, True]),
    ],
)
def test_an_h5_holds_what_pandas_reads_from_it(
    tmp_path: Path, animals: str, layout: Any, index: str, mixed: bool
) -> None:
    file = tmp_path / "CollectedData_Ana.h5"
    sparse_table(COLUMNS[animals], index, mixed=mixed).to_hdf(
        file, key=KEY, mode="w", format=layout
    )
    by_pandas = read_by_pandas(file)
    read = read_h5(file)
    assert read.columns == by_pandas.columns.to_list()
    np.testing.assert_array_equal(read.values, by_pandas.to_numpy(float))
    found = {x.frame: x.points for x in labelled_frames(tmp_path, tmp_path)}
    assert found == points_by_pandas(by_pandas)
    assert len(found) == (4 if mixed else 3)  # integers leave no row without a label


@pytest.mark.parametrize("layout", ["fixed", "table"])
def test_a_mixed_table_lies_in_several_blocks(tmp_path: Path, layout: Any) -> None:
    # Without this the tests of mixed tables would show nothing.
    file = tmp_path / "a.h5"
    sparse_table(SINGLE, "one path", mixed=True).to_hdf(file, key=KEY, mode="w", format=layout)
    with tables.open_file(file) as h5:
        names = {"table": lambda: h5.root[KEY].table.colnames, "fixed": lambda: dir(h5.root[KEY])}
        blocks = [name for name in names[layout]() if "block" in name]
    assert {"2" in name for name in blocks} == {True, False}


@pytest.mark.parametrize("layout", ["fixed", "table"])
def test_numbers_and_letters_of_any_language_can_be_names(tmp_path: Path, layout: Any) -> None:
    columns = pd.MultiIndex.from_product([["Zoë"], ["1", "Schwanz\nlinks", "鼻"], ["x", "y"]])
    frame = pd.DataFrame(np.arange(6.0)[None], row_labels(["img1.png"], "one path"), columns)
    frame.to_hdf(tmp_path / "a.h5", key=KEY, mode="w", format=layout)
    assert read_h5(tmp_path / "a.h5").columns == columns.to_list()


@pytest.mark.parametrize("layout", ["fixed", "table"])
def test_bodyparts_that_are_numbers_are_named_by_their_digits(tmp_path: Path, layout: Any) -> None:
    columns = pd.MultiIndex.from_product([["Ana"], [1, 12], ["x", "y"]])
    frame = pd.DataFrame(np.arange(4.0)[None], row_labels(["img1.png"], "one path"), columns)
    frame.to_hdf(tmp_path / "a.h5", key=KEY, mode="w", format=layout)
    (image,) = read_h5(tmp_path / "a.h5").labelled()
    assert [point.bodypart for point in image[1]] == ["1", "12"]


def test_names_that_an_old_python_pickled_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a.h5"
    table(ROWS, index="one path").to_hdf(file, key=KEY, mode="w", format="table")
    # As Python 2 wrote [("Ana", "tail", "x"), ...]: byte strings, and the axis before it.
    columns = b"(lp1\n(S'Ana'\np2\nS'tail'\np3\nS'x'\np4\ntp5\na(g2\ng3\nS'y'\np6\ntp7\na"
    columns += b"(g2\nS'nose'\np8\ng4\ntp9\na(g2\ng8\ng6\ntp10\na"
    with tables.open_file(file, "a") as h5:
        node = h5.root[KEY]
        node._f_setattr("non_index_axes", np.bytes_(b"(lp0\n(I1\n" + columns + b"tp11\na."))
        node.table._f_setattr("values_block_0_kind", np.bytes_(columns + b"."))
    assert read_h5(file).columns == SINGLE.to_list()


def test_labels_under_the_key_that_the_gui_used_for_years_are_read(tmp_path: Path) -> None:
    table(ROWS).to_hdf(tmp_path / "CollectedData_Ana.h5", key="keypoints", mode="w")
    assert [label.frame for label in labelled_frames(tmp_path, tmp_path)] == [3, 10]


def test_a_row_without_an_images_name_is_not_taken_for_another_image(tmp_path: Path) -> None:
    frame = table(ROWS)
    frame.index = pd.MultiIndex.from_tuples(
        [("labeled-data", "cam", name) for name in ("img003.png", "img004.png", NAN)]
    )
    frame.to_hdf(tmp_path / "CollectedData_Ana.h5", key=KEY, mode="w")
    assert [label.frame for label in labelled_frames(tmp_path, tmp_path)] == [3]


# --- pickles -----------------------------------------------------------------------------------


class Bomb:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self._mark,))


def pickled(bomb: Bomb) -> np.bytes_:
    return np.bytes_(pickle.dumps(bomb, protocol=0))


@pytest.mark.parametrize("layout", ["fixed", "table"])
def test_no_pickle_of_an_h5_file_is_ever_loaded(tmp_path: Path, layout: Any) -> None:
    mark, file = tmp_path / "went off", tmp_path / "CollectedData_Ana.h5"
    rows = table(ROWS, index="one path")
    rows.to_hdf(file, key=KEY, mode="w", format=layout)
    with tables.open_file(file, "a") as h5:
        for node in list(h5.walk_nodes("/")):
            for name in ("CLASS", "VERSION", "FLAVOR", "TITLE", "info", "name"):
                node._f_setattr(name, pickled(Bomb(mark)))
    assert [label.frame for label in labelled_frames(tmp_path, tmp_path)] == [3, 10]
    assert not mark.exists()

    with tables.open_file(file) as h5:  # the bomb is a live one
        assert h5.root._v_attrs.info is None
    assert mark.exists()


@pytest.mark.parametrize("attribute", ["non_index_axes", "values_block_0_kind"])
def test_columns_that_only_a_loaded_pickle_would_name_are_read_from_the_csv(
    tmp_path: Path, attribute: str
) -> None:
    mark, file = tmp_path / "went off", tmp_path / "CollectedData_Ana.h5"
    table(ROWS, index="one path").to_hdf(file, key=KEY, mode="w", format="table")
    with tables.open_file(file, "a") as h5:
        node = h5.root[KEY] if attribute == "non_index_axes" else h5.root[KEY].table
        node._f_setattr(attribute, pickled(Bomb(mark)))
    with pytest.raises(ExportError, match="its columns are not plain names but need GLOBAL"):
        labelled_frames(tmp_path, tmp_path)
    csv = tmp_path / "CollectedData_Ana.csv"
    table(ROWS, index="one path").to_csv(csv)
    os.utime(csv, (0, 0))
    labels = labelled_frames(tmp_path, tmp_path)
    assert [(label.frame, label.source) for label in labels] == [(3, csv), (10, csv)]
    assert not mark.exists()


@pytest.mark.parametrize("names", [b"(lp0\n.", b"(lp0\n(g7\ntp1\na.", b"(lp0\n(VAna", b"", b"\x80"])
def test_names_that_are_cut_off_are_reported(tmp_path: Path, names: bytes) -> None:
    file = tmp_path / "CollectedData_Ana.h5"
    table(ROWS, index="one path").to_hdf(file, key=KEY, mode="w", format="table")
    with tables.open_file(file, "a") as h5:
        h5.root[KEY]._f_setattr("non_index_axes", np.bytes_(names))
    with pytest.raises(ExportError, match=r"CollectedData_Ana\.h5 \(.+\) cannot be read"):
        labelled_frames(tmp_path, tmp_path)


@pytest.mark.parametrize("array", ["axis1", "axis0_level1", "block0_items_level2", "block0_values"])
def test_an_array_that_is_a_pickle_is_refused(tmp_path: Path, array: str) -> None:
    mark, file = tmp_path / "went off", tmp_path / "CollectedData_Ana.h5"
    table(ROWS, index="one path").to_hdf(file, key=KEY, mode="w")
    with tables.open_file(file, "a") as h5:
        h5.remove_node(f"/{KEY}/{array}")
        h5.create_vlarray(f"/{KEY}", array, tables.ObjectAtom()).append(Bomb(mark))
    with pytest.raises(ExportError, match=f"{array} is not a plain array"):
        labelled_frames(tmp_path, tmp_path)
    assert not mark.exists()


def test_values_that_are_not_one_for_each_image_and_column_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "CollectedData_Ana.h5"
    table(ROWS).to_hdf(file, key=KEY, mode="w")
    with tables.open_file(file, "a") as h5:
        h5.remove_node(f"/{KEY}/block0_values")
        h5.create_array(f"/{KEY}", "block0_values", np.zeros((3, 1)))
    with pytest.raises(ExportError, match=r"shape \(3, 1\) cannot stand for 3 images and 4 col"):
        labelled_frames(tmp_path, tmp_path)


def test_numbers_that_were_stored_as_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "CollectedData_Ana.h5"
    table(ROWS, index="one path").astype(str).to_hdf(file, key=KEY, mode="w", format="table")
    with pytest.raises(ExportError, match=r"S3 values of shape \(3, 4\) cannot stand for"):
        labelled_frames(tmp_path, tmp_path)


# --- sizes that cannot be ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "array", "shape", "dtype"),
    [
        ("fixed", "block0_values", (10**13, 4), "f8"),
        ("fixed", "block0_values", (2**32, 2**32), "f8"),  # 0 bytes in 64 bits
        ("fixed", "axis1_level2", (10**13,), "S20"),
        ("fixed", "axis0_label1", (10**13,), "i1"),
        ("table", "table", (10**13,), [("index", "S20"), ("values_block_0", "f8", 4)]),
    ],
)
def test_an_array_that_is_said_to_be_huge_is_not_read(
    tmp_path: Path, layout: Any, array: str, shape: tuple[int, ...], dtype: Any
) -> None:
    file = tmp_path / "CollectedData_Ana.h5"
    index = "three parts" if layout == "fixed" else "one path"
    table(ROWS, index=index).to_hdf(file, key=KEY, mode="w", format=layout)
    with h5py.File(file, "a") as h5:
        del h5[KEY][array]
        chunks = (1000, 4)[: len(shape)]  # of these none is written
        h5[KEY].create_dataset(array, shape, np.dtype(dtype), chunks=chunks)
    assert file.stat().st_size < 10**6
    with pytest.raises(ExportError, match=r"it says that it holds .* GiB of labels"):
        labelled_frames(tmp_path, tmp_path)


def test_names_that_would_become_huge_are_not_put_together(tmp_path: Path) -> None:
    """Names of 100 MB, each of 20 images."""
    file = tmp_path / "CollectedData_Ana.h5"
    table(ROWS).to_hdf(file, key=KEY, mode="w")
    with h5py.File(file, "a") as h5:
        for name in ("axis1_level0", "axis1_label0"):
            del h5[KEY][name]
        h5[KEY].create_dataset("axis1_level0", (1,), "S100000000", chunks=(1,), compression="gzip")
        h5[KEY].create_dataset("axis1_label0", data=np.zeros(20, np.int8))
    with pytest.raises(ExportError, match=r"it says that it holds 1\.86 GiB of labels"):
        labelled_frames(tmp_path, tmp_path)


def test_more_images_times_columns_than_can_be_are_not_put_together(tmp_path: Path) -> None:
    file = tmp_path / "CollectedData_Ana.h5"
    table(ROWS, index="one path").to_hdf(file, key=KEY, mode="w")
    with h5py.File(file, "a") as h5:
        for name, length in (("axis1", 20_000), ("axis0_label0", 10_000)):
            del h5[KEY][name]
            kind = "S1" if name == "axis1" else "i1"
            h5[KEY].create_dataset(name, data=np.zeros(length, kind))
        for level in (1, 2):
            del h5[KEY][f"axis0_label{level}"]
            h5[KEY].create_dataset(f"axis0_label{level}", data=np.zeros(10_000, "i1"))
    with pytest.raises(ExportError, match=r"it says that it holds 1\.49 GiB of labels"):
        labelled_frames(tmp_path, tmp_path)
