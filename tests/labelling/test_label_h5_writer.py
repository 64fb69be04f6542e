from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alwatch.labelling.label_h5 import read_h5
from alwatch.labelling.label_h5_writer import to_h5
from alwatch.labelling.label_table import LabelTable, to_csv
from tests.labelling.label_files import KEY, MULTI, NAN, SINGLE, read_by_pandas

LIKELY = pd.MultiIndex.from_product(
    [["Zoë"], ["tail", "nose, left"], ["x", "y", "likelihood"]],
    names=["scorer", "bodyparts", "coords"],
)


def table_of(columns: pd.MultiIndex) -> LabelTable:
    values = np.random.default_rng(3).normal(100, 30, (3, len(columns)))
    values[1] = NAN
    values[2, 1] = NAN
    return LabelTable(["img007.png", "img003.png", "img100.png"], columns.to_list(), values)


def frame_of(table: LabelTable, columns: pd.MultiIndex) -> pd.DataFrame:
    rows = pd.MultiIndex.from_tuples([("labeled-data", "Käfig 2", image) for image in table.images])
    return pd.DataFrame(table.values, rows, columns)


@pytest.mark.parametrize("columns", [SINGLE, MULTI, LIKELY], ids=["single", "multi", "likely"])
def test_pandas_reads_it_as_what_it_would_have_written(
    tmp_path: Path, columns: pd.MultiIndex
) -> None:
    table = table_of(columns)
    ours, theirs = tmp_path / "ours.h5", tmp_path / "theirs.h5"
    ours.write_bytes(to_h5(table, "Käfig 2"))
    frame_of(table, columns).to_hdf(theirs, key=KEY, mode="w")
    pd.testing.assert_frame_equal(read_by_pandas(ours), read_by_pandas(theirs))
    pd.testing.assert_frame_equal(pd.read_hdf(ours), read_by_pandas(theirs))
    assert same(read_h5(ours), read_h5(theirs))


@pytest.mark.parametrize("columns", [SINGLE, MULTI, LIKELY], ids=["single", "multi", "likely"])
def test_the_csv_is_byte_for_byte_what_pandas_writes(columns: pd.MultiIndex) -> None:
    table = table_of(columns)
    text = io.StringIO()
    frame_of(table, columns).to_csv(text)
    assert to_csv(table, "Käfig 2") == text.getvalue()


NAMES = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=8
)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_table_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    parts = data.draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    images = data.draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    columns = [("Ana", part, c) for part in parts for c in "xy"]
    numbers = st.floats(width=32, allow_infinity=False)
    size = len(images) * len(columns)
    values = np.array(data.draw(st.lists(numbers, min_size=size, max_size=size)))
    table = LabelTable(images, columns, values.reshape(len(images), -1))
    file = tmp_path_factory.mktemp("any") / "a.h5"
    file.write_bytes(to_h5(table, "cam"))
    assert same(read_h5(file), table)


def same(one: LabelTable, other: LabelTable) -> bool:
    return (
        list(one.images) == list(other.images)
        and list(one.columns) == list(other.columns)
        and np.array_equal(one.values, other.values, equal_nan=True)
    )
