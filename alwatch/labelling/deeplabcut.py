"""Queues for, and labels from, a DeepLabCut project.

The labelling GUI opens `labeled-data/<folder>/img<index>.png`; training takes the folders whose
names are the stems of the paths in config.yaml's `video_sets`. Written for DeepLabCut 2.2 to 3.0.
"""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alwatch.errors import ExportError
from alwatch.labelling.collected_data import labelled_frames
from alwatch.labelling.images import write_durably, write_png
from alwatch.labelling.naming import frame_index, index_digits
from alwatch.labelling.project_folders import (
    RECORD_NAME,
    ProjectFolders,
    image_sizes_px,
    record_of,
)
from alwatch.labelling.staging import (
    check_space,
    clear_stale,
    explained,
    only_run,
    put_in_place,
    staging_folder,
    sync_folder,
)
from alwatch.labelling.video_sets import add_video_sets, parse_config
from alwatch.records import Exported, LabelledFrame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from alwatch.records import ImageArray, Queue, QueuedVideo

_NEW_CONFIG = ".config.yaml.alwatch"


@dataclass(frozen=True, slots=True)
class _Placement:
    """Where one video's frames go; `names` holds the frames that are not there yet."""

    video: QueuedVideo
    folder: Path
    names: dict[int, str]


class DeepLabCutProject:
    """A DeepLabCut project, single- or multi-animal.

    Parameters
    ----------
    config_path : Path
        The project's config.yaml; nothing is read before it is needed.
    """

    def __init__(self, config_path: Path) -> None:
        self._config = Path(os.path.abspath(config_path))
        self._root = self._config.parent
        self._labeled = self._root / "labeled-data"
        self._videos = self._root / "videos"

    def write_queue(
        self,
        queue: Queue,
        videos: Sequence[QueuedVideo],
        read_frames: Callable[[QueuedVideo], Iterator[tuple[int, ImageArray]]],
    ) -> Exported:
        """Put the frames into `labeled-data` and list their videos in config.yaml.

        Nothing that is there is changed, apart from new lines under `video_sets`. Every frame is
        written aside before the first one is put in place; a run that dies leaves a project that
        is valid and that the next run completes.

        Parameters
        ----------
        queue : Queue
        videos : sequence of QueuedVideo
        read_frames : callable
            Asked only for the frames that the project does not hold yet, by increasing index.

        Returns
        -------
        Exported
            `project` is the project's folder; `folders` has one pair for each video with frames.

        Raises
        ------
        ExportError
            There is no project, it cannot be written, or it cannot take these frames.
        """
        asked = f"Exporting queue {queue.id} to {self._root}"
        remedy = "Whatever is in the project is whole; put this right and export again."
        videos = [video for video in videos if video.frames]
        with explained(asked, remedy):
            self._check()
            with only_run(self._root):
                self._labeled.mkdir(exist_ok=True)
                clear_stale(self._labeled)
                placements = self._place(videos)
                missing = sum(len(placement.names) for placement in placements)
                if missing:
                    self._add_images(placements, read_frames)
                self._list_videos(placements)
        return Exported(
            tool="deeplabcut",
            project=self._root,
            written=missing,
            kept=sum(len({frame.frame for frame in video.frames}) for video in videos) - missing,
            folders=tuple((p.folder.name, p.video.content_hash) for p in placements),
        )

    def read_labels(self) -> list[LabelledFrame]:
        """List every frame of the project that carries at least one label.

        Raises
        ------
        ExportError
            There is no project, or a label file cannot be read.
        """
        self._read_config()
        asked = f"Reading the labels of {self._root}"
        with explained(asked, "Make the project readable and try again."):
            folders = sorted(self._labeled.iterdir()) if self._labeled.is_dir() else []
            return [
                LabelledFrame(self._root, folder.name, index, source)
                for folder in folders
                if folder.is_dir() and not folder.name.startswith(".")
                for index, source in sorted(labelled_frames(folder).items())
            ]

    def folder_of(self, video: QueuedVideo) -> str:
        """Name the folder of `labeled-data` that holds this video's frames, or will.

        Raises
        ------
        ExportError
            There is no project, or no folder of it can hold this video's frames.
        """
        return ProjectFolders(self._root, self._video_sets()).folder_of(video)
