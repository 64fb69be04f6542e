from __future__ import annotations

import os
import pickle
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tables

from alwatch.errors import ExportError
from alwatch.labelling.collected_data import labelled_frames

NAN = np.nan


def table(rows: dict[str, list[float]], *, index: str = "three parts") -> pd.DataFrame:
    columns = pd.MultiIndex.from_product(
        [["Ana"], ["nose", "tail"], ["x", "y"]], names=["scorer", "bodyparts", "coords"]
    )
    paths = [("labeled-data", "cam", image) for image in rows]
    labels = {
        "three parts": pd.MultiIndex.from_tuples(paths),
        "one path": pd.Index(["/".join(path) for path in paths]),
        "one Windows path": pd.Index(["\\".join(path) for path in paths]),
        "number for a folder": pd.MultiIndex.from_tuples([(a, 20190128, c) for a, _, c in paths]),
    }[index]
    return pd.DataFrame(list(rows.values()), labels, columns)


ROWS = {
    "img003.png": [1.0, 2.0, 3.0, 4.0],
    "img004.png": [NAN] * 4,
    "img010.png": [NAN, NAN, NAN, 0.0],
    "img100.png": [np.inf, NAN, NAN, NAN],
}


def older(path: Path, than: Path) -> None:
    """Set a file's time to a second before another's."""
    time_ns = than.stat().st_mtime_ns - 10**9
    os.utime(path, ns=(time_ns, time_ns))


@pytest.mark.parametrize(
    ("kind", "index"),
    [
        *product(["csv", "h5"], ["three parts", "number for a folder"]),
        *product(["csv", "h5", "h5 table"], ["one path", "one Windows path"]),
    ],
)
def test_labelled_means_any_finite_coordinate(tmp_path: Path, kind: str, index: str) -> None:
    rows = table(ROWS, index=index)
    file = tmp_path / f"CollectedData_Ana.{kind[:3].strip()}"
    if kind == "csv":
        rows.to_csv(file)
    else:
        layout: Any = "table" if kind == "h5 table" else "fixed"
        rows.to_hdf(file, key="df_with_missing", mode="w", format=layout)
    assert labelled_frames(tmp_path) == {3: file, 10: file}


@pytest.mark.parametrize(
    ("project", "counts"),
    [
        (
            "flies-dlc",
            {"clip_a": 150, "clip_b": 150, "cpair_a": 158, "cpair_b": 156}
            | {"fly20190128_a": 150, "fly20190128_b": 149},
        ),
        ("dlc-openfield/openfield-Pranav-2018-10-30", {"m4s1": 116}),
        ("dlc-reaching/Reaching-Mackenzie-2018-08-30", {"reachingvideo1": 55}),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".h5"])
def test_the_labels_of_real_projects_are_counted_from_either_file(
    data_dir: Path, tmp_path: Path, project: str, counts: dict[str, int], suffix: str
) -> None:
    found = {}
    for folder in sorted((data_dir / project / "labeled-data").iterdir()):
        (tmp_path / folder.name).mkdir()
        for file in folder.glob(f"CollectedData_*{suffix}"):
            shutil.copy(file, tmp_path / folder.name)
        frames = labelled_frames(tmp_path / folder.name)
        images = {int(image.stem.removeprefix("img")) for image in folder.glob("*.png")}
        assert set(frames) <= images
        found[folder.name] = len(frames)
    assert found == counts


@pytest.mark.parametrize(
    "name",
    [
        *("dlc_testdata", "madlc_testdata", "maudlc_testdata"),
        *("dlc_testdata_v2", "madlc_testdata_v2", "maudlc_testdata_v2"),
    ],
)
def test_single_multi_animal_and_unique_bodyparts_are_read(
    data_dir: Path, tmp_path: Path, name: str
) -> None:
    source = data_dir / "sleap" / "tests" / "data" / "dlc" / "labeled-data" / "video"
    shutil.copy(source / f"{name}.csv", tmp_path / "CollectedData_LM.csv")
    assert sorted(labelled_frames(tmp_path)) == [0, 1, 3]


def test_the_csv_is_read_where_it_is_as_new_and_else_the_h5(tmp_path: Path) -> None:
    csv, h5 = tmp_path / "CollectedData_Ana.csv", tmp_path / "CollectedData_Ana.h5"
    table({"img001.png": [1.0] * 4}).to_csv(csv)
    table({"img002.png": [1.0] * 4}).to_hdf(h5, key="df_with_missing", mode="w")
    os.utime(csv, ns=(h5.stat().st_mtime_ns,) * 2)
    assert labelled_frames(tmp_path) == {1: csv}
    older(csv, h5)
    assert labelled_frames(tmp_path) == {2: h5}
    older(h5, csv)
    assert labelled_frames(tmp_path) == {1: csv}


@pytest.mark.parametrize("cut", [0, 1, 40, 130, -3])
def test_a_csv_that_is_being_written_gives_way_to_the_h5(tmp_path: Path, cut: int) -> None:
    csv, h5 = tmp_path / "CollectedData_Ana.csv", tmp_path / "CollectedData_Ana.h5"
    rows = table({"img001.png": [1.0] * 4, "img002.png": [NAN, NAN, NAN, NAN]})
    rows.to_hdf(h5, key="df_with_missing", mode="w")
    rows.to_csv(csv)
    csv.write_bytes(csv.read_bytes()[:cut])
    assert labelled_frames(tmp_path) == {1: h5}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("CollectedData_Ana.csv", b"scorer,Ana\nbodyparts,nose\n"),
        ("CollectedData_Ana.csv", b"coords,x,y\nimg001.png,one,2\n"),
        ("CollectedData_Ana.csv", b"coords,,\nimg001.png,1,2\n"),
        ("CollectedData_Ana.csv", b"\xff\xfe\x00"),
        ("CollectedData_Ana.h5", b""),
        ("CollectedData_Ana.h5", b"not HDF5 at all"),
    ],
)
def test_labels_that_cannot_be_read_are_reported_and_not_taken_for_gone(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ExportError, match=rf"{name} \(.+\) cannot be read\. Open the folder"):
        labelled_frames(tmp_path)


def test_what_the_gui_is_about_to_save_and_what_a_machine_labelled_do_not_count(
    tmp_path: Path,
) -> None:
    for name in (".CollectedData_Ana.tmp.h5", "machinelabels-iter0.h5"):
        table(ROWS).to_hdf(tmp_path / name, key="df_with_missing", mode="w")
    (tmp_path / "CollectedData_Ana.xlsx").write_bytes(b"")
    assert labelled_frames(tmp_path) == {}


def test_labels_of_several_people_are_put_together(tmp_path: Path) -> None:
    table({"img001.png": [1.0] * 4}).to_csv(tmp_path / "CollectedData_Ana.csv")
    table({"img001.png": [1.0] * 4, "img2.png": [1.0] * 4}).to_csv(
        tmp_path / "CollectedData_B.o.b.csv"
    )
    assert sorted(labelled_frames(tmp_path)) == [1, 2]


def test_rows_without_a_single_one_are_not_labelled(tmp_path: Path) -> None:
    table({name: [NAN] * 4 for name in ROWS}).to_hdf(
        tmp_path / "CollectedData_Ana.h5", key="df_with_missing", mode="w"
    )
    assert labelled_frames(tmp_path) == {}


class Bomb:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self._mark,))


@pytest.mark.parametrize("layout", ["fixed", "table"])
def test_no_pickle_of_an_h5_file_is_ever_loaded(tmp_path: Path, layout: Any) -> None:
    mark, file = tmp_path / "went off", tmp_path / "CollectedData_Ana.h5"
    rows = table(ROWS, index="one path")
    rows.to_hdf(file, key="df_with_missing", mode="w", format=layout)
    bomb = np.bytes_(pickle.dumps(Bomb(mark), protocol=0))
    with tables.open_file(file, "a") as h5:
        for node in list(h5.walk_nodes("/")):
            for name in ("CLASS", "VERSION", "FLAVOR", "TITLE", "info", "name"):
                node._f_setattr(name, bomb)
    assert sorted(labelled_frames(tmp_path)) == [3, 10]
    assert not mark.exists()

    with tables.open_file(file) as h5:  # the bomb is a live one
        assert h5.root._v_attrs.info is None
    assert mark.exists()


def test_a_row_index_that_is_a_pickle_is_refused(tmp_path: Path) -> None:
    mark, file = tmp_path / "went off", tmp_path / "CollectedData_Ana.h5"
    table(ROWS, index="one path").to_hdf(file, key="df_with_missing", mode="w")
    with tables.open_file(file, "a") as h5:
        h5.remove_node("/df_with_missing/axis1")
        array = h5.create_vlarray("/df_with_missing", "axis1", tables.ObjectAtom())
        array.append(Bomb(mark))
    with pytest.raises(ExportError, match="axis1 is not a plain array"):
        labelled_frames(tmp_path)
    assert not mark.exists()
