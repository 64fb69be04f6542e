"""Which frames DeepLabCut's label files hold labels for.

The labelling GUI saves `CollectedData_<scorer>.h5` and then the same as `.csv`. The newer one is
read, the `.csv` if they are equally new, and the other one if it cannot be read. What pandas
writes to an `.h5` holds pickles, in attributes always and in row labels at times, and reading one
can run code (PyTables loads every attribute of what it opens). So only its plain arrays are
read, through h5py, which loads no pickles.
"""

from __future__ import annotations

import csv
import io
import math
import re
from itertools import groupby
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from alwatch.errors import ExportError
from alwatch.labelling.naming import frame_index

if TYPE_CHECKING:
    from pathlib import Path

_KEY = "/df_with_missing"
_COORDINATES = {"x", "y"}
_SUFFIXES = {".csv", ".h5"}
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    csv.Error,
)


def labelled_frames(folder: Path) -> dict[int, Path]:
    """Frame indices of a folder that carry a label, each with the file that says so.

    A frame is labelled if any coordinate in its row is finite: the GUI writes a row without
    coordinates for every frame that it shows.

    Raises
    ------
    ExportError
        If label files cannot be read: to go on would look as if their labels were gone.
    """
    found: dict[int, Path] = {}
    files = sorted(file for file in folder.glob("CollectedData_*") if file.suffix in _SUFFIXES)
    for _, pair in groupby(files, key=lambda file: file.stem):
        newest_first = sorted(pair, key=lambda file: file.stat().st_mtime_ns, reverse=True)
        source, images = _labelled_images(newest_first)
        for image in images:
            index = frame_index(re.split(r"[/\\]", image)[-1])
            if index is not None:
                found.setdefault(index, source)
    return found


def _labelled_images(files: list[Path]) -> tuple[Path, list[str]]:
    """Read the first file that can be read; the GUI may be writing the newest just now."""
    reasons = []
    for file in files:
        try:
            return file, _read_csv(file) if file.suffix == ".csv" else _read_h5(file)
        except _UNREADABLE as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reasons.append(f"{file} ({lines[-1].strip()})")
    raise ExportError(
        f"The labels in {' and '.join(reasons)} cannot be read. Open the folder in the "
        "labelling tool and save it again."
    )


def _read_csv(file: Path) -> list[str]:
    """Rows below the header that ends with `coords`; the image's path fills 1 or 3 columns."""
    text = file.read_text(encoding="utf-8")
    rows = csv.reader(io.StringIO(text, newline=""))
    header = next((row for row in rows if row and row[0] == "coords"), None)
    if header is None:
        raise ValueError("it has no row that begins with 'coords'")
    columns = [i for i, name in enumerate(header) if name in _COORDINATES]
    if not columns:
        raise ValueError("its row 'coords' names no x and y")
    images = []
    row: list[str] = header
    for row in rows:
        cells = [row[i] for i in columns if i < len(row)]
        if any(math.isfinite(float(cell or "nan")) for cell in cells):
            images.append(row[columns[0] - 1])
    if len(row) < len(header) and not text.endswith(("\n", "\r")):
        raise ValueError("its last row is cut off")
    return images


def _read_h5(file: Path) -> list[str]:
    # From memory, so that no lock is held while the GUI saves.
    with h5py.File(io.BytesIO(file.read_bytes()), "r") as h5:
        group = h5[_KEY]
        if "table" in group:
            rows = group["table"][()]
            images = rows["index"]
            values = [rows[name] for name in rows.dtype.names if name.startswith("values_")]
        else:
            images = _fixed_index(group)
            values = _arrays(group, r"block\d+_values", "fiu")
    if images.dtype.kind != "S":
        raise ValueError("its rows are not named after images")
    labelled = np.zeros(len(images), bool)
    for block in values:
        labelled |= np.isfinite(block).reshape(len(images), -1).any(axis=1)
    return [image.decode() for image in images[labelled]]


def _fixed_index(group: h5py.Group) -> Any:
    """The last part of the row labels of a frame that pandas wrote in its fixed format."""
    if "axis1" in group:
        return _arrays(group, "axis1", "S")[0]
    levels = _arrays(group, r"axis1_level\d+", "Siu")
    codes = _arrays(group, r"axis1_label\d+", "iu")
    return levels[-1][codes[-1]]


def _arrays(group: h5py.Group, pattern: str, kinds: str) -> list[Any]:
    """Read the arrays of these names; one of another kind may be a pickle."""
    arrays = [group[name] for name in sorted(group) if re.fullmatch(pattern, name)]
    for array in arrays:
        if array.dtype.kind not in kinds:
            raise ValueError(f"{array.name} is not a plain array")
    return [array[()] for array in arrays]
