"""Queues for, and labels from, a DeepLabCut project.

The labelling GUI opens `labeled-data/<folder>/img<index>.png`; training takes the folders whose
names are the stems of the paths in config.yaml's `video_sets`. DeepLabCut itself is not needed.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alwatch.errors import ExportError
from alwatch.labelling.collected_data import labelled_frames
from alwatch.labelling.images import read_exactly, write_durably, write_png
from alwatch.labelling.naming import index_digits
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
from alwatch.records import Exported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alwatch.records import LabelledFrame, Queue, QueuedVideo, ReadFrames, Skeleton

_NEW_CONFIG = ".config.yaml.alwatch"


_FRAME_NAME = re.compile(r"img(\d+)\.png")
_SPARE_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class _Placement:
    """Where one video's frames go; `names` are the images that are not there yet, by index."""

    video: QueuedVideo
    folder: Path
    names: dict[int, str]

    @property
    def is_complete(self) -> bool:
        return not self.names and (self.folder / RECORD_NAME).exists()


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
        read_frames: ReadFrames,
        skeleton: Skeleton,
    ) -> Exported:
        """Put the frames into `labeled-data` and list their videos in config.yaml.

        Nothing that is there is changed, apart from new lines under `video_sets`. Every frame is
        written aside before the first one is put in place; a run that dies leaves a project that
        is valid and that the next run completes. A video that cannot be listed by its own path
        gets a link in the project's `videos`.

        DeepLabCut trains on every labelled folder as long as no listed video has labels (in a
        project made on another system, or with placeholder paths), and without a word on those
        of listed videos only once one has. So the labelled folders of such a project are listed
        along with the new videos.

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
                self._config.resolve().with_name(_NEW_CONFIG).unlink(missing_ok=True)
                placements = self._place(videos)
                self._add_images(placements, read_frames)
                self._list_videos(placements)
        written = sum(len(placement.names) for placement in placements)
        return Exported(
            tool="deeplabcut",
            project=self._root,
            written=written,
            kept=sum(len({frame.frame for frame in video.frames}) for video in videos) - written,
            folders=tuple((p.folder.name, p.video.content_hash) for p in placements),
        )

    def read_labels(self) -> list[LabelledFrame]:
        """List every frame of the project that carries at least one label, with its points.

        Raises
        ------
        ExportError
            There is no project, or a label file cannot be read.
        """
        with explained(f"Reading the labels of {self._root}", "Make it readable and try again."):
            self._read_config()
            folders = sorted(self._labeled.iterdir()) if self._labeled.is_dir() else []
            return [
                label
                for folder in folders
                if folder.is_dir() and not folder.name.startswith(".")
                for label in labelled_frames(self._root, folder)
            ]

    def folder_of(self, video: QueuedVideo) -> str:
        """Name the folder of `labeled-data` that holds this video's frames, or will.

        Raises
        ------
        ExportError
            There is no project, or no folder of it can hold this video's frames.
        """
        with explained(f"Reading the project {self._root}", "Make it readable and try again."):
            return self._folders().folder_of(video)

    # --- before anything is written ------------------------------------------------------------

    def _read_config(self) -> tuple[bytes, dict[str, Any]]:
        if not self._config.is_file():
            raise ExportError(
                f"A DeepLabCut project is named by its config.yaml; {self._config} is "
                f"{'a folder' if self._config.is_dir() else 'not there'}. Correct the path."
            )
        content = self._config.read_bytes()
        try:
            return content, parse_config(content)
        except ValueError as error:
            raise ExportError(
                f"{self._config} is not the config.yaml of a DeepLabCut project: {error}. "
                "Correct the path or the file."
            ) from None

    def _folders(self) -> ProjectFolders:
        return ProjectFolders(self._root, _listed(self._read_config()[1]))

    def _check(self) -> None:
        config = self._read_config()[1]
        stated = self._root / str(config.get("project_path") or "")
        if (stated / "config.yaml").is_file() and not stated.samefile(self._root):
            raise ExportError(
                f"The project_path of {self._config} is {stated}, which is another project. Set "
                f"it to {self._root}, or export to the other one."
            )
        for path in (self._config.resolve(), self._root, self._labeled, self._videos):
            if path.exists() and not os.access(path, os.W_OK):
                raise ExportError(
                    f"Exporting to {self._root} needs write permission for {path}, which the user "
                    f"with id {os.geteuid()} has not. Grant it, or run as another user."
                )

    def _place(self, videos: Sequence[QueuedVideo]) -> list[_Placement]:
        folders = self._folders()
        placements = []
        for video in videos:
            folder = self._labeled / folders.folder_of(video)
            there = [found[1] for found in map(_FRAME_NAME.fullmatch, _names(folder)) if found]
            digits = max(map(len, there), default=index_digits(video.n_frames))
            missing = {frame.frame for frame in video.frames} - {int(index) for index in there}
            names = {index: f"img{index:0{digits}}.png" for index in sorted(missing)}
            placements.append(_Placement(video, folder, names))
        return placements

    # --- writing -------------------------------------------------------------------------------

    def _add_images(
        self,
        placements: Sequence[_Placement],
        read_frames: ReadFrames,
    ) -> None:
        placements = [placement for placement in placements if not placement.is_complete]
        if not placements:
            return
        raw_bytes = sum(len(p.names) * p.video.width_px * p.video.height_px * 3 for p in placements)
        check_space(self._labeled, raw_bytes + _SPARE_BYTES)
        with staging_folder(self._labeled) as staging:
            for placement in placements:
                _stage(placement, staging / placement.folder.name, read_frames)
            for placement in placements:
                placement.folder.mkdir(exist_ok=True)
                for name in (RECORD_NAME, *placement.names.values()):
                    put_in_place(staging / placement.folder.name / name, placement.folder / name)
                sync_folder(placement.folder)
            sync_folder(self._labeled)

    def _list_videos(self, placements: Sequence[_Placement]) -> None:
        content, config = self._read_config()
        stems = {Path(key).stem for key in _listed(config)}
        crops = {}
        for placement in placements:
            if placement.folder.name not in stems:
                size = (placement.video.width_px, placement.video.height_px)
                crops[self._key_for(placement)] = _crop(size)
        crops |= self._unlisted_labels(config, stems, {p.folder.name for p in placements})
        if crops:
            self._replace_config(content, add_video_sets(content, crops))

    def _key_for(self, placement: _Placement) -> str:
        """A path whose stem is the folder's name, because DeepLabCut goes from one to the other."""
        path = Path(os.path.abspath(placement.video.path))
        if path.stem == placement.folder.name and str(path).isprintable():
            return str(path)
        link = self._videos / f"{placement.folder.name}{path.suffix or '.mp4'}"
        if not os.path.lexists(link):
            self._videos.mkdir(exist_ok=True)
            link.symlink_to(path)
            sync_folder(self._videos)
        return str(link)

    def _unlisted_labels(
        self, config: dict[str, Any], stems: set[str], placed: set[str]
    ) -> dict[str, str]:
        """Entries for labelled folders that DeepLabCut uses now, and would not after this."""
        labels = f"CollectedData_{config['scorer']}.h5"
        labelled = {
            name for name in _names(self._labeled) if (self._labeled / name / labels).exists()
        }
        if labelled & stems:
            return {}
        videos = {Path(name).stem: name for name in _names(self._videos)}
        crops = {}
        for name in sorted(labelled - placed):
            sizes = image_sizes_px(self._labeled / name)
            if sizes:
                crops[str(self._videos / videos.get(name, f"{name}.mp4"))] = _crop(max(sizes))
        return crops

    def _replace_config(self, content: bytes, grown: bytes) -> None:
        config = self._config.resolve()
        new = config.with_name(_NEW_CONFIG)
        try:
            write_durably(new, grown)
            status = config.stat()
            with suppress(OSError):  # not every network drive has groups and modes
                os.chown(new, -1, status.st_gid)
                new.chmod(stat.S_IMODE(status.st_mode))
            if config.read_bytes() != content:
                raise ExportError(
                    f"{config} was edited during the export; the frames are in place, the list "
                    "of videos is as it was edited. Export again to complete it."
                )
            new.replace(config)
            sync_folder(config.parent)
        finally:
            new.unlink(missing_ok=True)


def _stage(
    placement: _Placement,
    folder: Path,
    read_frames: ReadFrames,
) -> None:
    """Write all files of one video that are missing to a folder of the staging folder."""
    video, names = placement.video, placement.names
    folder.mkdir(exist_ok=True)
    write_durably(folder / RECORD_NAME, record_of(video))
    for index, image in read_exactly(video, names, read_frames):
        write_png(folder / names[index], image)


def _listed(config: dict[str, Any]) -> list[str]:
    return [str(key) for key in config["video_sets"] or {}]


def _names(folder: Path) -> list[str]:
    """Names in a folder that are not hidden; none if there is no such folder."""
    return [name for name in os.listdir(folder) if name[0] != "."] if folder.is_dir() else []


def _crop(size_px: tuple[int, int]) -> str:
    return f"0, {size_px[0]}, 0, {size_px[1]}"
