"""Queues for any other labelling tool: a plain folder of images, with tables beside them.

Beside the images lie `frames.csv`, one row per image, and `poses.csv`, one row per bodypart that
the model has found. Labels come back through a `labels.csv` that is put there: a column `image`,
and columns that `frames.csv` has not; a frame is labelled if one of these holds a finite number.
In a table with the columns `bodypart`, `x` and `y`, as `poses.csv` has them, the rows also say
where the points are; a frame whose points are just those of `poses.csv` is not labelled.
"""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any, ClassVar

from alwatch.errors import ExportError, shown
from alwatch.labelling.label_file import read_label_file
from alwatch.labelling.prelabels import groups_of, is_touched, prelabels
from alwatch.labelling.queue_folder import QueueFolder, file_name, image_key
from alwatch.labelling.queue_record import RECORD, QueuedImage, frame_rows, read_record
from alwatch.records import LabelledFrame, LabelledPoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from alwatch.records import Skeleton

_COLUMNS = ("image", "video", "content_hash", "frame", "rank", "score", "reason")
_POSE_COLUMNS = ("image", "individual", "bodypart", "x", "y", "likelihood")
_SHOWN_CHARACTERS = 100


class FrameFolder(QueueFolder):
    """A folder that takes queues as images and tables."""

    tool: ClassVar[str] = "folder"

    def _documents(
        self, folder: Path, images: Sequence[QueuedImage], skeleton: Skeleton
    ) -> dict[str, bytes]:
        return {
            "frames.csv": _table(_COLUMNS, frame_rows(images)),
            "poses.csv": _table(_POSE_COLUMNS, _pose_rows(images, skeleton)),
        }

    def _labels_in(self, folder: Path) -> Iterable[LabelledFrame]:
        source = folder / "labels.csv"
        if not source.exists():
            return
        drawn = read_record(folder).drawn if (folder / RECORD).exists() else {}
        for image, points in _labelled_images(source).items():
            key = image_key(image)
            is_seen = not points or is_touched(points, drawn.get(file_name(image), ()))
            if key and is_seen:
                yield LabelledFrame(self._directory, *key, source, tuple(points))


def _pose_rows(images: Sequence[QueuedImage], skeleton: Skeleton) -> list[dict[str, Any]]:
    return [
        {
            "image": image.name,
            "individual": group.individual,
            "bodypart": point.bodypart,
            "x": round(point.x_px, 3),
            "y": round(point.y_px, 3),
            "likelihood": round(point.likelihood, 4),
        }
        for image in images
        for group in groups_of(skeleton)
        for point in prelabels(image.pose, group)
    ]


def _table(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode(errors="backslashreplace")


def _labelled_images(source: Path) -> dict[str, list[LabelledPoint]]:
    """The images that have a finite number, with their points where the table gives any."""
    found: dict[str, list[LabelledPoint]] = {}
    try:
        text = read_label_file(source).decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(text, newline=""))
        columns = rows.fieldnames or ()
        if "image" not in columns and ";" in "".join(columns):
            raise ExportError(
                f"{source} must have its columns parted by commas, and numbers with a point; its "
                f"first row is {shown(';'.join(columns)[:_SHOWN_CHARACTERS])!r}. Save it so."
            )
        labels = [name for name in columns if name not in _COLUMNS]
        for row in rows:
            image = row["image"] or ""
            if any(_is_finite(row[name]) for name in labels):
                found.setdefault(image, []).extend(_point(row))
    except (OSError, ValueError, LookupError, csv.Error) as error:
        raise ExportError(
            f"{source} must be a table with a column 'image' and one row per frame; reading it "
            f"gave {error!r}. Write it again."
        ) from error
    return found


def _point(row: dict[str, Any]) -> list[LabelledPoint]:
    if not row.get("bodypart") or not (_is_finite(row.get("x")) and _is_finite(row.get("y"))):
        return []
    x_px, y_px = float(row["x"]), float(row["y"])
    return [LabelledPoint(row.get("individual") or "", row["bodypart"], x_px, y_px)]


def _is_finite(cell: Any) -> bool:
    try:
        return math.isfinite(float(cell))
    except (TypeError, ValueError):
        return False
