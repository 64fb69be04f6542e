"""What is kept of a queue in its folder, and whether the folder still is what was written."""

from __future__ import annotations

import json
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, Any

from alwatch.errors import ExportError, shown
from alwatch.labelling.folder_record import digest
from alwatch.labelling.prelabels import drawn_points
from alwatch.records import LabelledPoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from alwatch.records import FloatArray, Queue, QueuedVideo, QueueFrame, Skeleton

RECORD = "queue.json"


@dataclass(frozen=True, slots=True)
class QueuedImage:
    """One frame of a queue, and the name of its file."""

    name: str
    video: QueuedVideo
    frame: QueueFrame

    @property
    def pose(self) -> FloatArray | None:
        """The model's pose, of shape (individuals, bodyparts, 3), if there is one."""
        return self.video.poses.get(self.frame.frame)


@dataclass(frozen=True, slots=True)
class FolderRecord:
    """What reading labels needs to know of a queue's folder.

    `drawn` has every image, with the points that the export has drawn in it; `files` the sha256
    of every file that it wrote.
    """

    n_individuals: int
    drawn: dict[str, tuple[LabelledPoint, ...]]
    files: dict[str, str]


def record_of_queue(
    folder: Path, tool: str, queue: Queue, images: Sequence[QueuedImage], skeleton: Skeleton
) -> bytes:
    """Everything known of a queue, with a digest of every file that lies in the folder."""
    content = {
        "tool": tool,
        "queue": queue.id,
        "season": queue.season,
        "strategy": queue.strategy,
        "seed": queue.seed,
        "budget": queue.budget,
        "created_at": queue.created_at.isoformat(),
        "manifest": queue.manifest,
        "skeleton": asdict(skeleton),
        "frames": frame_rows(images),
        "drawn": {
            image.name: [astuple(point) for point in drawn_points(image.pose, skeleton)]
            for image in images
        },
        "files": {path.name: digest(path) for path in sorted(folder.iterdir())},
    }
    return (json.dumps(content, indent=1) + "\n").encode()


def check_same(target: Path, tool: str, images: Sequence[QueuedImage]) -> dict[str, str]:
    """Accept a folder that holds these very frames; two states may both have a queue 1.

    It must have been written for the same tool: another one would not find its documents.

    Returns the sha256 of every file that the export has written there.
    """
    files: dict[str, str] = {}
    try:
        record = json.loads((target / RECORD).read_bytes())
        files = dict(record.get("files", {}))
        same = record.get("tool", tool) == tool and {
            (row["content_hash"], row["frame"]) for row in record["frames"]
        } == {(image.video.content_hash, image.frame.frame) for image in images}
    except (FileNotFoundError, ValueError, TypeError, LookupError, AttributeError):
        same = False
    if not same:
        raise ExportError(
            f"{target} is to hold {len(images)} frames of this queue for {tool}; it is there and "
            "holds something else. Move it elsewhere, or export to another folder."
        )
    return files


def check_untouched(target: Path, tool: str, queue: Queue, images: Sequence[QueuedImage]) -> None:
    """Refuse a folder in which anything is new or changed since the export."""
    files = check_same(target, tool, images)
    others = [
        path.name
        for path in sorted(target.iterdir())
        if path.name != RECORD and not (path.is_file() and files.get(path.name) == digest(path))
    ]
    if others:
        raise ExportError(
            f"Queue {queue.id} was to be taken out of {target}, which by now also holds "
            f"{', '.join(map(shown, others[:3]))}, new or changed. Move that elsewhere, and "
            "withdraw again."
        )


def read_record(folder: Path) -> FolderRecord:
    """What the export has kept of a queue's folder.

    Raises
    ------
    ExportError
        The record is not as the export wrote it.
    """
    try:
        record = json.loads((folder / RECORD).read_bytes())
        drawn = {
            str(image): tuple(LabelledPoint(*point) for point in points)
            for image, points in record["drawn"].items()
        }
        n_individuals = int(record["skeleton"]["n_individuals"])
        return FolderRecord(n_individuals, drawn, dict(record.get("files", {})))
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise ExportError(
            f"{folder / RECORD} is to say what was exported; reading it gave {error!r}. Put it "
            "back, or move the folder elsewhere."
        ) from error


def frame_rows(images: Iterable[QueuedImage]) -> list[dict[str, Any]]:
    """Where each image is from, and why it was chosen."""
    return [
        {
            "image": image.name,
            "video": str(image.video.path),
            "content_hash": image.video.content_hash,
            "frame": image.frame.frame,
            "rank": image.frame.rank,
            "score": image.frame.score,
            "reason": image.frame.reason,
        }
        for image in images
    ]
