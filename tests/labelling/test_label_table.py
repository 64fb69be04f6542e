from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alwatch.labelling.label_table import LabelTable, read_csv
from alwatch.records import LabelledPoint
from tests.labelling.label_files import (
    MULTI,
    NAN,
    SINGLE,
    points_by_pandas,
    read_by_pandas,
    sparse_table,
    table,
)

COLUMNS = {"single": SINGLE, "multi": MULTI}


def points_by_frame(read: LabelTable) -> dict[int, tuple[LabelledPoint, ...]]:
    return {int(image[-len("000.png") : -len(".png")]): points for image, points in read.labelled()}


@pytest.mark.parametrize(
    ("animals", "index"),
    [*product(COLUMNS, ["three parts", "one path", "one Windows path", "number for a folder"])],
)
def test_a_csv_holds_what_pandas_reads_from_it(tmp_path: Path, animals: str, index: str) -> None:
    sparse_table(COLUMNS[animals], index, mixed=True).to_csv(tmp_path / "a.csv")
    by_pandas = read_by_pandas(tmp_path / "a.csv")
    read = read_csv(tmp_path / "a.csv")
    assert points_by_frame(read) == points_by_pandas(by_pandas)
    assert read.columns == by_pandas.columns.to_list() == COLUMNS[animals].to_list()
    np.testing.assert_array_equal(read.values, by_pandas.to_numpy(float))


def test_unique_bodyparts_belong_to_no_individual() -> None:
    columns = [("Ana", who, "a", c) for who in ("m1", "single") for c in "xy"]
    read = LabelTable(["img1.png"], columns, np.array([[1.0, 2.0, 3.0, 4.0]]))
    assert list(read.labelled()) == [
        ("img1.png", (LabelledPoint("m1", "a", 1.0, 2.0), LabelledPoint("", "a", 3.0, 4.0)))
    ]


def test_columns_may_stand_in_any_order_and_be_of_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "scorer,Ana,Ana,Ana,Ana,Ana\n"
        "bodyparts,nose,tail,nose,nose,tail\n"
        "coords,y,likelihood,likelihood,x,y\n"
        "img1.png,1.5,far,0.9,2.5,3\n"
        "img2.png,,0.9,0.9,,\n"
    )
    assert list(read_csv(tmp_path / "a.csv").labelled()) == [
        ("img1.png", (LabelledPoint("", "nose", 2.5, 1.5),))
    ]


def test_a_likelihood_alone_is_no_label() -> None:
    columns = [("Ana", "nose", c) for c in ("x", "y", "likelihood")]
    values = np.array([[NAN, NAN, 0.9], [1.0, 2.0, NAN]])
    read = LabelTable(["img1.png", "img2.png"], columns, values)
    assert list(read.labelled()) == [("img2.png", (LabelledPoint("", "nose", 1.0, 2.0),))]


def test_the_first_of_several_scorers_counts() -> None:
    columns = [(who, "nose", c) for who in ("Ana", "Bob") for c in "xy"]
    read = LabelTable(["img1.png"], columns, np.array([[1.0, 2.0, 3.0, 4.0]]))
    assert list(read.labelled()) == [("img1.png", (LabelledPoint("", "nose", 1.0, 2.0),))]


def test_rows_that_end_early_lack_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "scorer,Ana\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n\nimg1.png\nimg2.png,1,2,3\n"
    )
    assert list(read_csv(tmp_path / "a.csv").labelled()) == [
        ("img2.png", (LabelledPoint("", "nose", 1.0, 2.0),))
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.floats() | st.just(NAN), min_size=4, max_size=4), max_size=5))
def test_every_finite_number_comes_back_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]]
) -> None:
    file = tmp_path_factory.mktemp("labels") / "a.csv"
    frame = table({f"img{i:03}.png": row for i, row in enumerate(rows)} | {"img999.png": [1.0] * 4})
    frame.to_csv(file)
    expected = {999: (LabelledPoint("", "tail", 1, 1), LabelledPoint("", "nose", 1, 1))}
    for i, row in enumerate(rows):
        if any(map(math.isfinite, row)):
            expected[i] = tuple(
                LabelledPoint("", name, x, y)
                for name, x, y in (("tail", *row[:2]), ("nose", *row[2:]))
                if math.isfinite(x) and math.isfinite(y)
            )
    assert points_by_frame(read_csv(file)) == expected


@pytest.mark.parametrize(
    ("columns", "shape", "why"),
    [
        ([("nose", "x"), ("nose", "y")], (1, 2), r"columns have \[2\] names each, not 3 or 4"),
        ([("Ana", "nose", "x"), ("nose", "y")], (1, 2), r"columns have \[2, 3\] names each"),
        ([("Ana", "nose", "likelihood")], (1, 1), "names no x and y"),
        ([("Ana", "nose", "x")], (2, 1), r"values of shape \(2, 1\) for 1 images and 1 columns"),
        ([], (1, 0), r"columns have \[\] names each"),
    ],
)
def test_a_table_of_another_shape_is_refused(
    columns: list[tuple[str, ...]], shape: tuple[int, ...], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        LabelTable(["img1.png"], columns, np.zeros(shape))


def test_a_table_without_rows_has_no_labels(tmp_path: Path) -> None:
    table({"img001.png": [1.0] * 4}).iloc[:0].to_csv(tmp_path / "a.csv")
    assert list(read_csv(tmp_path / "a.csv").labelled()) == []
