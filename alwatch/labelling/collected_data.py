"""Which frames DeepLabCut's label files hold labels for, and where these are.

The labelling GUI saves `CollectedData_<scorer>.h5` and then the same as `.csv`. The newer one is
read, the `.csv` if they are equally new, and the other one if it cannot be read.
"""

from __future__ import annotations

import csv
import re
from itertools import groupby
from typing import TYPE_CHECKING

from alwatch.errors import ExportError
from alwatch.labelling.label_h5 import read_h5
from alwatch.labelling.label_table import LabelTable, read_csv
from alwatch.labelling.naming import frame_index
from alwatch.records import LabelledFrame

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIXES = {".csv", ".h5"}
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    MemoryError,
    csv.Error,
)


def labelled_frames(project: Path, folder: Path) -> list[LabelledFrame]:
    """Frames of one folder of a project that carry a label, with their points, by index.

    A frame is labelled if any coordinate in its row is finite: the GUI writes a row without
    coordinates for every frame that it shows. A point is given if both its coordinates are
    finite, so a labelled frame may have none. Points stand in the order of the file's columns.
    If several rows or people have labelled one frame, the first file by name and its first
    labelled row count.

    Raises
    ------
    ExportError
        If label files cannot be read: to go on would look as if their labels were gone.
    """
    found: dict[int, LabelledFrame] = {}
    files = sorted(file for file in folder.glob("CollectedData_*") if file.suffix in _SUFFIXES)
    for _, pair in groupby(files, key=lambda file: file.stem):
        newest_first = sorted(pair, key=lambda file: file.stat().st_mtime_ns, reverse=True)
        source, table = _read_first(newest_first)
        for image, points in table.labelled():
            index = frame_index(re.split(r"[/\\]", image)[-1])
            if index is not None and index not in found:
                found[index] = LabelledFrame(project, folder.name, index, source, points)
    return [found[index] for index in sorted(found)]


def _read_first(files: list[Path]) -> tuple[Path, LabelTable]:
    """Read the first file that can be read; the GUI may be writing the newest just now."""
    reasons = []
    for file in files:
        try:
            return file, read_csv(file) if file.suffix == ".csv" else read_h5(file)
        except _UNREADABLE as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reasons.append(f"{file} ({lines[-1].strip()})")
    raise ExportError(
        f"The labels in {' and '.join(reasons)} cannot be read. Open the folder in the "
        "labelling tool and save it again."
    )
