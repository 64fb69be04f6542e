"""DeepLabCut's table of labels in memory, and its `.csv` form."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from alwatch.labelling.label_file import read_label_file
from alwatch.records import LabelledPoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_COORDINATES = ("x", "y")
_LEVELS = ("scorer", "bodyparts", "coords")
UNIQUE = "single"
"""What DeepLabCut calls the individual that has the scene's bodyparts."""


@dataclass(frozen=True, slots=True)
class LabelTable:
    """One row per image, one column per coordinate.

    Parameters
    ----------
    images : sequence of str, length n
        Paths or names, as the file spells them.
    columns : sequence of tuple of str, length k
        (scorer, bodypart, coordinate) or (scorer, individual, bodypart, coordinate).
    values : float64 array of shape (n, k)
        Pixels; NaN where there is no label.

    Raises
    ------
    ValueError
        If the columns have other names than these, or there is no coordinate among them.
    """

    images: Sequence[str]
    columns: Sequence[tuple[str, ...]]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        depths = {len(column) for column in self.columns}
        if depths not in ({3}, {4}):
            raise ValueError(f"its columns have {sorted(depths)} names each, not 3 or 4")
        if not {column[-1] for column in self.columns} & set(_COORDINATES):
            raise ValueError("its row 'coords' names no x and y")
        if self.values.shape != (len(self.images), len(self.columns)):
            raise ValueError(
                f"it has values of shape {self.values.shape} for {len(self.images)} images and "
                f"{len(self.columns)} columns"
            )

    def labelled(self) -> Iterator[tuple[str, tuple[LabelledPoint, ...]]]:
        """Every image with a finite coordinate, and its points that have both of them finite.

        A point of several scorers, which DeepLabCut's own files have not, is the first one's.
        """
        is_coordinate = [column[-1] in _COORDINATES for column in self.columns]
        finite = np.isfinite(self.values)
        places = self._places()
        for row in np.flatnonzero(finite[:, is_coordinate].any(axis=1)).tolist():
            points = tuple(
                LabelledPoint(*names, float(self.values[row, x]), float(self.values[row, y]))
                for names, x, y in places
                if finite[row, x] and finite[row, y]
            )
            yield self.images[row], points

    def _places(self) -> list[tuple[tuple[str, str], int, int]]:
        """Each bodypart's (individual, bodypart) and its columns of x and y."""
        columns: dict[tuple[str, str], dict[str, int]] = {}
        for i, column in enumerate(self.columns):
            columns.setdefault(point_names(column), {}).setdefault(column[-1], i)
        return [
            (names, at["x"], at["y"]) for names, at in columns.items() if {"x", "y"} <= at.keys()
        ]


def point_names(column: tuple[str, ...]) -> tuple[str, str]:
    """(individual, bodypart) of a column; individual as in `LabelledPoint`."""
    _, *individual, bodypart, _ = column
    return "" if individual in ([], [UNIQUE]) else individual[0], bodypart


def read_csv(file: Path) -> LabelTable:
    """Read a `.csv`: a header that ends with `coords`; the image's path fills 1 or 3 columns.

    Raises
    ------
    OSError
        The file cannot be opened.
    ValueError, csv.Error
        It does not hold such a table, or only the beginning of one.
    """
    text = read_label_file(file).decode()
    rows = csv.reader(io.StringIO(text, newline=""))
    header = _header(rows)
    used = [i for i, name in enumerate(header[-1]) if name in _COORDINATES]
    if not used:
        raise ValueError("its row 'coords' names no x and y")
    images: list[str] = []
    values: list[list[float]] = []
    row = header[-1]
    for row in rows:
        cells = [row[i] for i in used if i < len(row)]
        if cells:
            images.append(row[used[0] - 1])
            values.append([float(cell or "nan") for cell in cells])
            values[-1] += [math.nan] * (len(used) - len(cells))
    if len(row) < len(header[-1]) and not text.endswith(("\n", "\r")):
        raise ValueError("its last row is cut off")
    every_column = list(zip_longest(*header, fillvalue=""))
    columns = [every_column[i] for i in used]
    return LabelTable(images, columns, np.array(values).reshape(len(images), len(used)))


def to_csv(table: LabelTable, folder: str) -> str:
    """A table as pandas writes it to a `.csv`, rows named after images of `folder`."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    names = level_names(table.columns)
    for name, level in zip(names, zip(*table.columns, strict=True), strict=True):
        rows.writerow([name, "", "", *level])
    for image, values in zip(table.images, table.values.tolist(), strict=True):
        cells = ["" if math.isnan(value) else repr(value) for value in values]
        rows.writerow([*row_path(folder, image), *cells])
    return text.getvalue()


def row_path(folder: str, image: str) -> tuple[str, str, str]:
    """How DeepLabCut names a row: by the image's path in the project."""
    return "labeled-data", folder, image


def level_names(columns: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """What the names of a column stand for, outermost first."""
    individuals = ("individuals",) if len(columns[0]) == len(_LEVELS) + 1 else ()
    return (_LEVELS[0], *individuals, *_LEVELS[1:])


def _header(rows: Iterator[list[str]]) -> list[list[str]]:
    """The rows that name the columns, outermost first."""
    header = []
    for row in filter(None, rows):
        header.append(row)
        if row[0] == "coords":
            return header
    raise ValueError("it has no row that begins with 'coords'")
