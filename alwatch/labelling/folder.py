"""Queues for any other labelling tool: a plain folder of images, with tables beside them.

A queue becomes `queue-<id>/` in the folder: one PNG per frame, whose name names the video and ends
in the frame index; `frames.csv`, one row per image; `queue.json`, everything known of the queue.
Labels come back through a `labels.csv` that is put there: a column `image`, and columns that
`frames.csv` has not; a frame is labelled if one of these holds a finite number.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alwatch.errors import ExportError, shown
from alwatch.labelling.images import read_exactly, write_durably, write_png
from alwatch.labelling.naming import index_digits, own_names
from alwatch.labelling.staging import (
    check_space,
    clear_stale,
    explained,
    only_run,
    staging_folder,
    sync_folder,
)
from alwatch.records import Exported, LabelledFrame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alwatch.records import Queue, QueuedVideo, ReadFrames, Skeleton

_IMAGE_NAME = re.compile(r"(.+)_img(\d+)\.png")
_COLUMNS = ("image", "video", "content_hash", "frame", "rank", "score", "reason")
_SPARE_BYTES = 16_000_000


class FrameFolder:
    """A folder that takes queues as images and tables.

    Parameters
    ----------
    directory : Path
        Made if only its last part is missing; nothing is read before it is needed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = Path(os.path.abspath(directory))

    def write_queue(
        self,
        queue: Queue,
        videos: Sequence[QueuedVideo],
        read_frames: ReadFrames,
        skeleton: Skeleton,
    ) -> Exported:
        """Write a queue's folder; it appears as a whole or not at all, and twice changes nothing.

        Parameters
        ----------
        queue : Queue
        videos : sequence of QueuedVideo
        read_frames : callable
            Asked for the frames of each video, by increasing index.

        Returns
        -------
        Exported
            `folders` holds what `folder_of` says, although all images lie in one folder.

        Raises
        ------
        ExportError
            The folder cannot be written, or holds another queue under this one's name.
        """
        remedy = "Nothing was changed; put this right and export again."
        with explained(f"Exporting queue {queue.id} to {self._directory}", remedy):
            self._check_rights()
            self._directory.mkdir(exist_ok=True)
            with only_run(self._directory):
                clear_stale(self._directory)
                rows = _rows(videos)
                target = self._directory / _folder_name(queue)
                is_new = not target.exists()
                if is_new:
                    self._write(target, queue, rows, videos, read_frames)
                else:
                    _check_same(target, rows)
        return Exported(
            tool="folder",
            project=self._directory,
            written=len(rows) if is_new else 0,
            kept=0 if is_new else len(rows),
            folders=tuple((self.folder_of(v), v.content_hash) for v in videos if v.frames),
        )

    def read_labels(self) -> list[LabelledFrame]:
        """List the frames that a `labels.csv` of a queue's folder has a finite number for.

        Raises
        ------
        ExportError
            The folder cannot be there, or a `labels.csv` cannot be read.
        """
        self._existing()
        found: dict[tuple[str, int], LabelledFrame] = {}
        for source in sorted(self._directory.glob("queue-*/labels.csv")):
            for image in _labelled_images(source):
                name = _IMAGE_NAME.fullmatch(re.split(r"[/\\]", image)[-1])
                if name:
                    key = (name[1], int(name[2]))
                    found.setdefault(key, LabelledFrame(self._directory, *key, source))
        return [found[key] for key in sorted(found)]

    def withdraw_queue(self, queue: Queue, videos: Sequence[QueuedVideo]) -> int:
        """Remove a queue's folder, if nothing but what the export wrote is in it.

        Raises
        ------
        ExportError
            The folder holds something else, or cannot be removed.
        """
        target = self._directory / _folder_name(queue)
        if not self._directory.is_dir():
            return 0
        rows = _rows(videos)
        asked = f"Withdrawing queue {queue.id} from {self._directory}"
        with explained(asked, "Try again."), only_run(self._directory):
            clear_stale(self._directory)
            if not target.exists():
                return 0
            _check_same(target, rows)
            own = {row["image"] for row in rows} | {"frames.csv", "queue.json"}
            others = sorted(set(os.listdir(target)) - own)
            if others:
                raise ExportError(
                    f"Queue {queue.id} was to be taken out of {target}, which by now also holds "
                    f"{', '.join(map(shown, others[:3]))}. Move that elsewhere, and withdraw again."
                )
            with staging_folder(self._directory) as aside:
                target.rename(aside / target.name)
                sync_folder(self._directory)
        return len(rows)

    def folder_of(self, video: QueuedVideo) -> str:
        """Name a video as its images are named: `<stem>-<start of the content hash>`."""
        return own_names(video.path, video.content_hash)[0]

    def _existing(self) -> Path:
        """The folder, or the one that it is going to be made in."""
        folder = self._directory if self._directory.exists() else self._directory.parent
        if not folder.is_dir():
            raise ExportError(
                f"Queues are to be written to {self._directory}; {folder} is not a folder. "
                "Correct the path."
            )
        return folder

    def _check_rights(self) -> None:
        folder = self._existing()
        if not os.access(folder, os.W_OK):
            raise ExportError(
                f"Exporting to {self._directory} needs write permission for {folder}, which the "
                f"user with id {os.geteuid()} has not. Grant it, or run as another user."
            )

    def _write(
        self,
        target: Path,
        queue: Queue,
        rows: list[dict[str, Any]],
        videos: Sequence[QueuedVideo],
        read_frames: ReadFrames,
    ) -> None:
        raw_bytes = sum(len(v.frames) * v.width_px * v.height_px * 3 for v in videos)
        check_space(self._directory, raw_bytes + _SPARE_BYTES)
        with staging_folder(self._directory) as staging:
            folder = staging / target.name
            folder.mkdir()
            for video in videos:
                indices = {frame.frame for frame in video.frames}
                for index, image in read_exactly(video, indices, read_frames):
                    write_png(folder / _image_name(video, index), image)
            write_durably(folder / "frames.csv", _table(rows))
            write_durably(folder / "queue.json", _manifest(queue, rows))
            sync_folder(folder)
            folder.rename(target)
            sync_folder(self._directory)


def _folder_name(queue: Queue) -> str:
    return f"queue-{queue.id:04d}"


def _image_name(video: QueuedVideo, index: int) -> str:
    name = own_names(video.path, video.content_hash)[0]
    return f"{name}_img{index:0{index_digits(video.n_frames)}}.png"


def _rows(videos: Sequence[QueuedVideo]) -> list[dict[str, Any]]:
    """One row per image, by rank."""
    rows = [
        {
            "image": _image_name(video, frame.frame),
            "video": str(video.path),
            "content_hash": video.content_hash,
            "frame": frame.frame,
            "rank": frame.rank,
            "score": frame.score,
            "reason": frame.reason,
        }
        for video in videos
        for frame in video.frames
    ]
    return sorted(rows, key=lambda row: row["rank"])


def _table(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode(errors="backslashreplace")


def _manifest(queue: Queue, rows: list[dict[str, Any]]) -> bytes:
    content = {
        "queue": queue.id,
        "season": queue.season,
        "strategy": queue.strategy,
        "seed": queue.seed,
        "budget": queue.budget,
        "created_at": queue.created_at.isoformat(),
        "manifest": queue.manifest,
        "frames": rows,
    }
    return (json.dumps(content, indent=1) + "\n").encode()


def _check_same(target: Path, rows: list[dict[str, Any]]) -> None:
    """Accept a folder that holds these very frames; two states may both have a queue 1."""
    try:
        there = json.loads((target / "queue.json").read_bytes())["frames"]
        same = {(row["content_hash"], row["frame"]) for row in there} == {
            (row["content_hash"], row["frame"]) for row in rows
        }
    except (FileNotFoundError, ValueError, TypeError, LookupError):
        same = False
    if not same:
        raise ExportError(
            f"{target} is to hold {len(rows)} frames of this queue; it is there and holds "
            "something else. Move it elsewhere, or export to another folder."
        )


def _labelled_images(source: Path) -> list[str]:
    try:
        with source.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        labels = [name for name in (rows[0] if rows else ()) if name not in _COLUMNS]
        return [row["image"] for row in rows if any(_is_finite(row[name]) for name in labels)]
    except (OSError, ValueError, LookupError, csv.Error) as error:
        raise ExportError(
            f"{source} must be a table with a column 'image' and one row per frame; reading it "
            f"gave {error!r}. Write it again."
        ) from error


def _is_finite(cell: Any) -> bool:
    try:
        return math.isfinite(float(cell))
    except (TypeError, ValueError):
        return False
