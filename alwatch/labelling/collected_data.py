"""Which frames DeepLabCut's label files hold labels for, and where these are.

The labelling GUI saves `CollectedData_<scorer>.h5` and then the same as `.csv`. The newer one is
read, the `.csv` if they are equally new, and the other one if it cannot be read.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from alwatch.errors import ExportError
from alwatch.labelling.label_h5 import read_h5
from alwatch.labelling.label_table import LabelTable, read_csv
from alwatch.labelling.naming import frame_index
from alwatch.records import LabelledFrame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alwatch.records import LabelledPoint

    OffsetPx = Callable[[Path], tuple[int, int]]

_PREFIX = "CollectedData_"
_SUFFIXES = {".csv", ".h5"}
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    MemoryError,
    csv.Error,
)


@dataclass(frozen=True, slots=True)
class ScorersLabels:
    """One scorer's labels of one folder, and the file that they were read from."""

    scorer: str
    source: Path
    table: LabelTable

    def listed(self) -> set[int]:
        """Frame indices that have a row, with or without labels."""
        indices = {_index_of(image) for image in self.table.images}
        return {index for index in indices if index is not None}

    def labelled(self) -> dict[int, tuple[str, tuple[LabelledPoint, ...]]]:
        """Image and points of the frames with a label; the first row of a frame counts."""
        found: dict[int, tuple[str, tuple[LabelledPoint, ...]]] = {}
        for image, points in self.table.labelled():
            index = _index_of(image)
            if index is not None:
                found.setdefault(index, (image_name(image), points))
        return found


def scorers_labels(folder: Path) -> list[ScorersLabels]:
    """What each scorer has saved in a folder, by name.

    Raises
    ------
    ExportError
        If label files cannot be read: to go on would look as if their labels were gone.
    """
    files = sorted(file for file in folder.glob(f"{_PREFIX}*") if file.suffix in _SUFFIXES)
    found = []
    for stem, pair in groupby(files, key=lambda file: file.stem):
        newest_first = sorted(pair, key=lambda file: file.stat().st_mtime_ns, reverse=True)
        found.append(ScorersLabels(stem.removeprefix(_PREFIX), *_read_first(newest_first)))
    return found


def labelled_frames(
    project: Path, folder: Path, offset_px: OffsetPx | None = None
) -> list[LabelledFrame]:
    """Frames of one folder of a project that carry a label, by index and then by scorer.

    A frame is labelled if any coordinate in its row is finite: the GUI writes a row without
    coordinates for every frame that it shows. A point is given if both its coordinates are
    finite, so a labelled frame may have none. Points stand in the order of the file's columns.
    The labeller is the scorer in the file's name, also where there is just one: a second one must
    not make the first one's labels look new.

    Parameters
    ----------
    project, folder : Path
    offset_px : callable, optional
        Says of an image where it lies in the whole frame; without it, points are in pixels of
        the image.

    Raises
    ------
    ExportError
        If label files cannot be read: to go on would look as if their labels were gone.
    """
    found = {
        (index, labels.scorer): LabelledFrame(
            *(project, folder.name, index, labels.source),
            _moved(points, offset_px(folder / image)) if offset_px else points,
            labels.scorer,
        )
        for labels in scorers_labels(folder)
        for index, (image, points) in labels.labelled().items()
    }
    return [found[key] for key in sorted(found)]


def _moved(points: tuple[LabelledPoint, ...], by_px: tuple[int, int]) -> tuple[LabelledPoint, ...]:
    return tuple(replace(p, x_px=p.x_px + by_px[0], y_px=p.y_px + by_px[1]) for p in points)


def image_name(row: str) -> str:
    """The file name in a row's label, which may be a path of any system."""
    return re.split(r"[/\\]", row)[-1]


def _index_of(row: str) -> int | None:
    return frame_index(image_name(row))


def _read_first(files: list[Path]) -> tuple[Path, LabelTable]:
    """Read the first file that can be read; the GUI may be writing the newest just now."""
    reasons = []
    for file in files:
        try:
            return file, read_csv(file) if file.suffix == ".csv" else read_h5(file)
        except UNREADABLE as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reasons.append(f"{file} ({lines[-1].strip()})")
    raise ExportError(
        f"The labels in {' and '.join(reasons)} cannot be read. Open the folder in the "
        "labelling tool and save it again."
    )
