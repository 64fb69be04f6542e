from __future__ import annotations

import os
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alwatch.errors import ExportError
from alwatch.labelling.collected_data import labelled_frames
from alwatch.labelling.label_table import LabelTable, read_csv
from alwatch.records import LabelledFrame, LabelledPoint
from tests.labelling.label_files import KEY, NAN, points_by_pandas, read_by_pandas, table

ROWS = {
    "img003.png": [1.0, 2.0, 3.0, 4.0],
    "img004.png": [NAN] * 4,
    "img010.png": [NAN, NAN, NAN, 0.0],
    "img100.png": [np.inf, NAN, NAN, NAN],
}


def sources(folder: Path) -> dict[int, Path]:
    """Which frames are labelled, and the file that says so."""
    return {label.frame: label.source for label in labelled_frames(folder, folder)}


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
        rows.to_hdf(file, key=KEY, mode="w", format=layout)
    assert sources(tmp_path) == {3: file, 10: file}


def test_a_point_needs_both_coordinates_and_a_label_just_one(tmp_path: Path) -> None:
    file = tmp_path / "CollectedData_Ana.csv"
    table(ROWS | {"img007.png": [NAN, 2.0, 0.1, -4.0]}).to_csv(file)
    assert labelled_frames(Path("/p"), tmp_path) == [
        LabelledFrame(
            *(Path("/p"), tmp_path.name, 3, file),
            (LabelledPoint("", "tail", 1.0, 2.0), LabelledPoint("", "nose", 3.0, 4.0)),
            "Ana",
        ),
        LabelledFrame(
            *(Path("/p"), tmp_path.name, 7, file), (LabelledPoint("", "nose", 0.1, -4.0),), "Ana"
        ),
        LabelledFrame(Path("/p"), tmp_path.name, 10, file, (), "Ana"),
    ]


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
        frames = sources(tmp_path / folder.name)
        images = {int(image.stem.removeprefix("img")) for image in folder.glob("*.png")}
        assert set(frames) <= images
        found[folder.name] = len(frames)
    assert found == counts


REAL = {
    "dlc-openfield/openfield-Pranav-2018-10-30/labeled-data/m4s1/CollectedData_Pranav.csv": 464,
    "dlc-openfield/openfield-Pranav-2018-10-30/labeled-data/m4s1/CollectedData_Pranav.h5": 464,
    "dlc-openfield/trained/training-datasets/iteration-0/UnaugmentedDataSet_openfieldOct30/"
    "CollectedData_Pranav.h5": 464,
    "dlc-reaching/Reaching-Mackenzie-2018-08-30/labeled-data/reachingvideo1/"
    "CollectedData_Mackenzie.csv": 233,
    "dlc-reaching/Reaching-Mackenzie-2018-08-30/labeled-data/reachingvideo1/"
    "CollectedData_Mackenzie.h5": 233,
    "dlc-primer/mouse_m7s3/CollectedData_Pranav.h5": 8,
    **{
        f"flies-dlc/labeled-data/{folder}/CollectedData_sleap{suffix}": n
        for folder, n in {
            **{"clip_a": 1615, "clip_b": 1637, "cpair_a": 1518, "cpair_b": 1589},
            **{"fly20190128_a": 1623, "fly20190128_b": 1598},
        }.items()
        for suffix in (".csv", ".h5")
    },
    "sleap/tests/data/dlc/labeled-data/video/CollectedData_LM.csv": 17,
    "sleap/tests/data/dlc/labeled-data/video/dlc_testdata.csv": 8,
    "sleap/tests/data/dlc/labeled-data/video/dlc_testdata_v2.csv": 8,
    "sleap/tests/data/dlc/labeled-data/video/madlc_testdata.csv": 13,
    "sleap/tests/data/dlc/labeled-data/video/madlc_testdata_v2.csv": 13,
    "sleap/tests/data/dlc/labeled-data/video/maudlc_testdata_v2.csv": 17,
    "sleap/tests/data/dlc/dlc_testdata.csv": 8,
    "sleap/tests/data/dlc/madlc_testdata_v2.csv": 13,
    "lp-mirror-mouse/mirror-mouse-example/CollectedData.csv": 1396,
}


@pytest.mark.parametrize(("name", "n_points"), REAL.items())
def test_the_points_of_real_labels_are_exactly_those_that_pandas_reads(
    data_dir: Path, tmp_path: Path, name: str, n_points: int
) -> None:
    file = tmp_path / f"CollectedData_Ana{Path(name).suffix}"
    shutil.copy(data_dir / name, file)
    labels = labelled_frames(tmp_path, tmp_path)
    assert {x.frame: x.points for x in labels} == points_by_pandas(read_by_pandas(file))
    assert sum(len(label.points) for label in labels) == n_points


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
    assert sorted(sources(tmp_path)) == [0, 1, 3]


def test_scorers_that_are_not_named_in_every_column_do_not_matter(
    data_dir: Path, tmp_path: Path
) -> None:
    # pandas refuses this file: its row of scorers is shorter than the rows below it.
    file = "sleap/tests/data/dlc/labeled-data/video/maudlc_testdata.csv"
    shutil.copy(data_dir / file, tmp_path / "CollectedData_LM.csv")
    short, last = labelled_frames(tmp_path, tmp_path)[::2]
    assert last.points[3:] == (LabelledPoint("", "D", 32, 33), LabelledPoint("", "E", 34, 35))
    assert [(p.individual, p.bodypart) for p in short.points] == [
        *product(["Animal1", "Animal2"], "ABC")
    ]


def test_the_csv_is_read_where_it_is_as_new_and_else_the_h5(tmp_path: Path) -> None:
    csv, h5 = tmp_path / "CollectedData_Ana.csv", tmp_path / "CollectedData_Ana.h5"
    table({"img001.png": [1.0] * 4}).to_csv(csv)
    table({"img002.png": [1.0] * 4}).to_hdf(h5, key=KEY, mode="w")
    os.utime(csv, ns=(h5.stat().st_mtime_ns,) * 2)
    assert sources(tmp_path) == {1: csv}
    older(csv, h5)
    assert sources(tmp_path) == {2: h5}
    older(h5, csv)
    assert sources(tmp_path) == {1: csv}


@pytest.mark.parametrize("newer", [".csv", ".h5"])
def test_points_are_those_of_the_newer_file_where_the_two_differ(
    tmp_path: Path, newer: str
) -> None:
    csv, h5 = tmp_path / "CollectedData_Ana.csv", tmp_path / "CollectedData_Ana.h5"
    table({"img001.png": [1.0, 2.0, NAN, NAN]}).to_csv(csv)
    table({"img001.png": [NAN, NAN, 3.0, 4.0]}).to_hdf(h5, key=KEY, mode="w")
    if newer == ".csv":
        older(h5, csv)
        points = [LabelledPoint("", "tail", 1.0, 2.0)]
    else:
        older(csv, h5)
        points = [LabelledPoint("", "nose", 3.0, 4.0)]
    assert [p for label in labelled_frames(tmp_path, tmp_path) for p in label.points] == points


def test_a_frame_that_two_people_labelled_is_there_for_each_of_them(tmp_path: Path) -> None:
    rows = {"img002.png": [1.0] * 4, "img001.png": [1.0] * 4}
    table(rows).to_csv(tmp_path / "CollectedData_Ana.csv")
    table({"img01.png": [2.0] * 4}).to_hdf(tmp_path / "CollectedData_B.o.b.h5", key=KEY, mode="w")
    labels = labelled_frames(tmp_path, tmp_path)
    assert [(x.frame, x.labeller, x.source.name) for x in labels] == [
        (1, "Ana", "CollectedData_Ana.csv"),
        (1, "B.o.b", "CollectedData_B.o.b.h5"),
        (2, "Ana", "CollectedData_Ana.csv"),
    ]
    assert [{point.x_px for point in label.points} for label in labels] == [{1.0}, {2.0}, {1.0}]


@pytest.mark.parametrize("cut", [0, 1, 40, 130, -3])
def test_a_csv_that_is_being_written_gives_way_to_the_h5(tmp_path: Path, cut: int) -> None:
    csv, h5 = tmp_path / "CollectedData_Ana.csv", tmp_path / "CollectedData_Ana.h5"
    rows = table({"img001.png": [1.0] * 4, "img002.png": [NAN, NAN, NAN, NAN]})
    rows.to_hdf(h5, key=KEY, mode="w")
    rows.to_csv(csv)
    csv.write_bytes(csv.read_bytes()[:cut])
    assert sources(tmp_path) == {1: h5}


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
        sources(tmp_path)


def test_labels_that_memory_does_not_suffice_for_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(file: Path) -> LabelTable:
        np.empty((10**8, 10**8))
        return read_csv(file)

    (tmp_path / "CollectedData_Ana.csv").write_bytes(b"coords,x,y\nimg001.png,1,2\n")
    monkeypatch.setattr("alwatch.labelling.collected_data.read_csv", hungry)
    with pytest.raises(ExportError, match=r"CollectedData_Ana\.csv \(Unable to allocate .* cannot"):
        sources(tmp_path)


def test_what_the_gui_is_about_to_save_and_what_a_machine_labelled_do_not_count(
    tmp_path: Path,
) -> None:
    for name in (".CollectedData_Ana.tmp.h5", "machinelabels-iter0.h5"):
        table(ROWS).to_hdf(tmp_path / name, key=KEY, mode="w")
    (tmp_path / "CollectedData_Ana.xlsx").write_bytes(b"")
    assert sources(tmp_path) == {}


def test_rows_without_a_single_one_are_not_labelled(tmp_path: Path) -> None:
    table({name: [NAN] * 4 for name in ROWS}).to_hdf(
        tmp_path / "CollectedData_Ana.h5", key=KEY, mode="w"
    )
    assert sources(tmp_path) == {}
