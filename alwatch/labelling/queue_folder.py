"""What all tools share that take a queue as a folder of images with documents beside them.

A queue becomes `queue-<id>/` in the project's folder: one PNG per frame, whose name names the
video and ends in the frame index; `queue.json`, everything known of the queue; and the documents
of the tool. The folder appears as a whole or not at all.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from alwatch.errors import ExportError
from alwatch.labelling.images import read_exactly, write_durably, write_png
from alwatch.labelling.naming import index_digits, own_names
from alwatch.labelling.queue_record import (
    RECORD,
    QueuedImage,
    check_same,
    check_untouched,
    record_of_queue,
)
from alwatch.labelling.staging import (
    check_space,
    clear_stale,
    explained,
    only_run,
    staging_folder,
    sync_folder,
)
from alwatch.records import Exported

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alwatch.records import (
        LabelledFrame,
        Queue,
        QueuedVideo,
        ReadFrames,
        Skeleton,
    )

_IMAGE_NAME = re.compile(r"(.+)_img(\d{1,18})\.png")
_QUEUE_NAME = re.compile(r"queue-\d{4,}")
_SPARE_BYTES = 16_000_000
UNREADABLE_JSON = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What reading JSON of any content may raise."""


class QueueFolder(ABC):
    """A folder that takes queues, each as a folder of its own.

    Parameters
    ----------
    directory : Path
        Made if only its last part is missing; nothing is read before it is needed.
    """

    tool: ClassVar[str]

    def __init__(self, directory: Path) -> None:
        self._directory = Path(os.path.abspath(directory))

    @abstractmethod
    def _documents(
        self, folder: Path, images: Sequence[QueuedImage], skeleton: Skeleton
    ) -> dict[str, bytes]:
        """What lies beside the images, by file name; `folder` is where that is going to be."""

    @abstractmethod
    def _labels_in(self, folder: Path) -> Iterable[LabelledFrame]:
        """What people have labelled in one queue's folder, the most recent first."""

    def _labels(self, folders: Sequence[Path]) -> Iterable[LabelledFrame]:
        """What people have labelled in all queues' folders."""
        return (label for folder in folders for label in self._labels_in(folder))

    def _send(self, folder: Path) -> None:
        """Tell a server of a queue's folder that is written; twice changes nothing."""
        return

    def _take_back(self, queue: Queue, folder: Path) -> None:
        """Make a server forget a queue's folder, or refuse."""
        return

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
        skeleton : Skeleton

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
        images = _images(videos)
        with explained(f"Exporting queue {queue.id} to {self._directory}", remedy):
            self._check_rights()
            self._directory.mkdir(exist_ok=True)
            with only_run(self._directory):
                clear_stale(self._directory)
                target = self._folder(queue)
                is_new = not target.exists()
                if is_new:
                    self._write(target, queue, videos, read_frames, skeleton)
                else:
                    check_same(target, self.tool, images)
                self._send(target)
        return Exported(
            tool=self.tool,
            project=self._directory,
            written=len(images) if is_new else 0,
            kept=0 if is_new else len(images),
            folders=tuple((self.folder_of(v), v.content_hash) for v in videos if v.frames),
        )

    def read_labels(self) -> list[LabelledFrame]:
        """List the frames that people are done with, by video and index, once for each person.

        Raises
        ------
        ExportError
            The folder cannot be there, or labels in it cannot be read.
        """
        self._existing()
        found: dict[tuple[str, int, str], LabelledFrame] = {}
        with explained(f"Reading the labels of {self._directory}", "Make it readable."):
            for label in self._labels(self._queues()):
                found.setdefault((label.folder, label.frame, label.labeller), label)
        return [found[key] for key in sorted(found)]

    def withdraw_queue(self, queue: Queue, videos: Sequence[QueuedVideo]) -> int:
        """Remove a queue's folder, if nothing but what the export wrote is in it.

        Raises
        ------
        ExportError
            The folder holds something else, or cannot be removed.
        """
        target = self._folder(queue)
        if not self._directory.exists():
            raise ExportError(
                f"Queue {queue.id} was to be taken out of {self._directory}, which is not there. "
                "Mount its drive, or make the folder if it was removed on purpose."
            )
        images = _images(videos)
        asked = f"Withdrawing queue {queue.id} from {self._directory}"
        with explained(asked, "Try again."), only_run(self._directory):
            clear_stale(self._directory)
            if not target.exists():
                return 0
            check_untouched(target, self.tool, queue, images)
            self._take_back(queue, target)
            check_untouched(target, self.tool, queue, images)  # a server takes its time
            there = sum((target / image.name).exists() for image in images)
            with staging_folder(self._directory) as aside:
                target.rename(aside / target.name)
                sync_folder(self._directory)
        return there

    def folder_of(self, video: QueuedVideo) -> str:
        """Name a video as its images are named: `<stem>-<start of the content hash>`."""
        return own_names(video.path, video.content_hash)[0]

    def _queues(self) -> list[Path]:
        """The folders that are named as an export names them."""
        found = sorted(self._directory.glob("queue-*"))
        return [path for path in found if _QUEUE_NAME.fullmatch(path.name) and path.is_dir()]

    def _folder(self, queue: Queue) -> Path:
        return self._directory / f"queue-{queue.id:04d}"

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
        videos: Sequence[QueuedVideo],
        read_frames: ReadFrames,
        skeleton: Skeleton,
    ) -> None:
        images = _images(videos)
        raw_bytes = sum(image.video.width_px * image.video.height_px * 3 for image in images)
        check_space(self._directory, raw_bytes + _SPARE_BYTES)
        with staging_folder(self._directory) as staging:
            folder = staging / target.name
            folder.mkdir()
            for video in videos:
                indices = {frame.frame for frame in video.frames}
                for index, image in read_exactly(video, indices, read_frames):
                    write_png(folder / _image_name(video, index), image)
            for name, content in self._documents(target, images, skeleton).items():
                write_durably(folder / name, content)
            record = record_of_queue(folder, self.tool, queue, images, skeleton)
            write_durably(folder / RECORD, record)
            sync_folder(folder)
            folder.rename(target)
            sync_folder(self._directory)


def file_name(path: str) -> str:
    """The last part of a path or an address, as any system writes it."""
    return re.split(r"[/\\]", path)[-1]


def image_key(path: str) -> tuple[str, int] | None:
    """The video's folder and the frame index that an image's path or address ends in."""
    name = _IMAGE_NAME.fullmatch(file_name(path))
    return (name[1], int(name[2])) if name else None


def _images(videos: Sequence[QueuedVideo]) -> list[QueuedImage]:
    """One image per frame, by rank."""
    images = [
        QueuedImage(_image_name(video, frame.frame), video, frame)
        for video in videos
        for frame in video.frames
    ]
    return sorted(images, key=lambda image: image.frame.rank)


def _image_name(video: QueuedVideo, index: int) -> str:
    name = own_names(video.path, video.content_hash)[0]
    return f"{name}_img{index:0{index_digits(video.n_frames)}}.png"
