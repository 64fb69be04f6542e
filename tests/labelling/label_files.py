"""Label files as pandas writes them, and what pandas says stands in them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alwatch.records import LabelledPoint

KEY = "df_with_missing"
NAN = math.nan

SINGLE = pd.MultiIndex.from_product(
    [["Ana"], ["tail", "nose"], ["x", "y"]], names=["scorer", "bodyparts", "coords"]
)
MULTI = pd.MultiIndex.from_tuples(
    [("Ana", animal, part, c) for animal in ("m2", "m1") for part in ("tail", "nose") for c in "xy"]
    + [("Ana", "single", "box", c) for c in "xy"],
    names=["scorer", "individuals", "bodyparts", "coords"],
)


def row_labels(images: list[str], kind: str) -> pd.Index:
    """Row labels as DeepLabCut has written them over the years."""
    paths = [("labeled-data", "cam", image) for image in images]
    return {
        "three parts": lambda: pd.MultiIndex.from_tuples(paths),
        "one path": lambda: pd.Index(["/".join(path) for path in paths]),
        "one Windows path": lambda: pd.Index(["\\".join(path) for path in paths]),
        "number for a folder": lambda: pd.MultiIndex.from_tuples(
            [(a, 20190128, image) for a, _, image in paths]
        ),
    }[kind]()


def table(rows: dict[str, list[float]], *, index: str = "three parts") -> pd.DataFrame:
    """A single-animal table of two bodyparts."""
    return pd.DataFrame(list(rows.values()), row_labels(list(rows), index), SINGLE)


def sparse_table(columns: pd.MultiIndex, index: str, *, mixed: bool) -> pd.DataFrame:
    """Rows full, empty and in part labelled; `mixed` has columns of three types of number."""
    values = np.random.default_rng(5).normal(100, 30, (4, len(columns)))
    values[1] = NAN
    values[2, 0] = NAN  # the first bodypart lacks x
    values[3, 1:3] = NAN  # the first lacks y, the second lacks x
    images = [f"img{10 * i:03}.png" for i in range(4)]
    frame = pd.DataFrame(values, row_labels(images, index), columns)
    if mixed:
        frame = frame.astype({columns[1]: np.float32})
        frame[columns[-2]] = np.arange(4)
    return frame


def read_by_pandas(file: Path) -> pd.DataFrame:
    if file.suffix == ".h5":
        frame = pd.read_hdf(file, KEY)
        assert isinstance(frame, pd.DataFrame)
        return frame
    lines = [line.split(",") for line in file.read_text(encoding="utf-8").splitlines()]
    header = next(i for i, line in enumerate(lines) if line[0] == "coords")
    return pd.read_csv(
        file,
        header=list(range(header + 1)),
        index_col=list(range(lines[header].index("x"))),
        float_precision="round_trip",
    )


def points_by_pandas(frame: pd.DataFrame) -> dict[int, tuple[LabelledPoint, ...]]:
    """Points by frame index, in the plainest way: cell by cell."""
    found = {}
    for label, row in frame.iterrows():
        points: dict[tuple[str, str], dict[str, float]] = {}
        for column, value in row.items():
            names: Any = column
            individual = names[1] if len(names) == 4 and names[1] != "single" else ""
            if math.isfinite(value):
                points.setdefault((individual, names[-2]), {})[names[-1]] = float(value)
        image = re.split(r"[/\\]", str(label[-1] if isinstance(label, tuple) else label))[-1]
        if points:
            found[int(re.sub(r"\D", "", image))] = tuple(
                LabelledPoint(*names, at["x"], at["y"])
                for names, at in points.items()
                if at.keys() == {"x", "y"}
            )
    return found
