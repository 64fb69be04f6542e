from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alwatch.errors import ExportError
from alwatch.labelling.label_table import LabelTable
from alwatch.labelling.machine_labels import (
    Layout,
    add_points,
    images_with_points,
    read_machine_labels,
    take_away,
)
from alwatch.records import Skeleton

NAN = np.nan
SINGLE = Layout("Ana", 2, (), ("tail", "nose"))
MULTI = Layout("Ana", 0, ("m1", "m2"), ("tail", "nose"), ("box",))


def pose(*animals: list[tuple[float, float, float]]) -> np.ndarray:
    return np.array(animals, np.float32)


def rounded(points: dict[tuple[str, str], np.ndarray]) -> dict[tuple[str, str], list[float]]:
    return {names: [round(float(v), 3) for v in point] for names, point in points.items()}


def test_the_layout_is_read_from_either_kind_of_config() -> None:
    single = {"scorer": "Ana", "iteration": 2, "bodyparts": ["tail", 1]}
    assert Layout.of(single) == Layout("Ana", 2, (), ("tail", "1"))
    multi = {
        **{"scorer": "Ana", "iteration": 0, "multianimalproject": True, "bodyparts": "MULTI!"},
        **{"individuals": ["m1", "m2"], "multianimalbodyparts": ["tail", "nose"]},
        **{"uniquebodyparts": ["box"]},
    }
    assert Layout.of(multi) == MULTI
    assert Layout.of({"scorer": 7, "iteration": None, "bodyparts": "?"}) == Layout("7", 0, (), ())


def test_columns_stand_in_deeplabcuts_order_and_only_single_animals_have_a_likelihood() -> None:
    assert SINGLE.columns("S") == [
        ("S", part, c) for part in ("tail", "nose") for c in ("x", "y", "likelihood")
    ]
    assert MULTI.columns("S") == [
        *(("S", animal, part, c) for animal in ("m1", "m2") for part in ("tail", "nose")
          for c in "xy"),
        ("S", "single", "box", "x"),
        ("S", "single", "box", "y"),
    ]  # fmt: skip


def test_bodyparts_are_matched_by_name_and_faint_ones_left_out() -> None:
    skeleton = Skeleton(("ear", "nose", "tail"))
    found = SINGLE.points(pose([(9, 9, 0.9), (1, 2, 0.05), (3, 4, 0.0499)]), skeleton)
    assert rounded(found) == {("", "nose"): [1, 2, 0.05]}
    assert SINGLE.points(pose([(9, 9, 0.9), (NAN, 2, 0.9), (NAN, NAN, NAN)]), skeleton) == {}


def test_individuals_are_in_order_and_the_scenes_bodyparts_are_the_first_ones() -> None:
    skeleton = Skeleton(("nose", "tail", "box"), n_individuals=3, n_unique=1)
    three = pose(
        [(1, 1, 1), (2, 2, 1), (3, 3, 1)],
        [(4, 4, 1), (NAN, NAN, NAN), (NAN, NAN, NAN)],
        [(6, 6, 1), (7, 7, 1), (NAN, NAN, NAN)],
    )
    assert rounded(MULTI.points(three, skeleton)) == {
        ("m1", "nose"): [1, 1, 1],
        ("m1", "tail"): [2, 2, 1],
        ("m2", "nose"): [4, 4, 1],
        ("", "box"): [3, 3, 1],
    }


def test_a_single_animal_project_gets_the_animal_that_the_model_is_surest_of() -> None:
    skeleton = Skeleton(("nose", "tail"), n_individuals=2)
    two = pose([(1, 1, 0.9), (NAN, NAN, NAN)], [(3, 3, 0.6), (4, 4, 0.6)])
    assert rounded(SINGLE.points(two, skeleton)) == {
        ("", "nose"): [3, 3, 0.6],
        ("", "tail"): [4, 4, 0.6],
    }


def points_at(x: float) -> dict[tuple[str, str], np.ndarray]:
    return {("", "nose"): np.array([x, x + 1, 0.5])}


def test_every_image_has_a_row_and_every_bodypart_its_columns() -> None:
    table, filled = add_points(None, SINGLE, ["b.png", "a.png"], {"b.png": points_at(5)})
    assert table.images == ["a.png", "b.png"]
    assert table.columns == SINGLE.columns("Ana")
    np.testing.assert_array_equal(table.values, [[NAN] * 6, [NAN, NAN, NAN, 5, 6, 0.5]])
    assert filled == ["b.png"]


def test_rows_and_columns_that_are_there_stay_and_come_first() -> None:
    columns = [("DLC_net", part, c) for part in ("nose", "ear") for c in ("x", "y", "likelihood")]
    there = LabelTable(["z.png", "b.png", "c.png"], columns, np.full((3, 6), NAN))
    there.values[0] = np.arange(6)
    there.values[1, 4] = 8
    points = {name: points_at(5) for name in ("z.png", "b.png", "c.png", "d.png")}
    table, filled = add_points(there, SINGLE, ["a.png", "d.png"], points)
    assert table.images == ["z.png", "b.png", "c.png", "a.png", "d.png"]
    tail = [("DLC_net", "tail", c) for c in ("x", "y", "likelihood")]
    assert table.columns == [*columns, *tail]
    np.testing.assert_array_equal(table.values[:2, :6], there.values[:2])
    assert np.isnan(table.values[:2, 6:]).all()
    for row, wanted in ((2, [5, 6, 0.5]), (3, [NAN] * 3), (4, [5, 6, 0.5])):
        np.testing.assert_array_equal(table.values[row], [*wanted, *[NAN] * 6])
    assert filled == ["c.png", "d.png"]
    again, filled = add_points(table, SINGLE, ["a.png", "d.png"], points)
    assert filled == []
    np.testing.assert_array_equal(again.values, table.values)


def test_pre_labels_of_another_layout_take_no_points() -> None:
    there = LabelTable(["a.png"], MULTI.columns("Ana"), np.full((1, 10), NAN))
    table, filled = add_points(there, SINGLE, ["a.png"], {"a.png": points_at(5)})
    assert (table.columns, filled) == (MULTI.columns("Ana"), [])


def test_points_are_taken_away_and_rows_left_out() -> None:
    images = ["a.png", "b.png", "c.png"]
    table, _ = add_points(None, SINGLE, images, {name: points_at(5) for name in images})
    less = take_away(table, points={"b.png"}, rows={"a.png"})
    assert less.images == ["b.png", "c.png"]
    assert images_with_points(less) == {"c.png"}
    assert images_with_points(table) == {"a.png", "b.png", "c.png"}


def test_pre_labels_that_cannot_be_read_are_not_taken_for_none(tmp_path: Path) -> None:
    file = tmp_path / "machinelabels-iter0.h5"
    assert read_machine_labels(file) is None
    file.write_bytes(b"not HDF5")
    with pytest.raises(ExportError, match=r"machinelabels-iter0\.h5, which cannot be read \(.+\)"):
        read_machine_labels(file)
