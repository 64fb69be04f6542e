"""Queues for, and labels from, a DeepLabCut project.

The labelling GUI opens `labeled-data/<folder>/img<index>.png`; training takes the folders whose
names are the stems of the paths in config.yaml's `video_sets`. DeepLabCut itself is not needed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from alwatch.errors import ExportError
from alwatch.labelling.collected_data import labelled_frames
from alwatch.labelling.labeled_folder import Placement, Plan, plan, visible
from alwatch.labelling.machine_labels import Layout
from alwatch.labelling.project_config import ProjectConfig, crop_text
from alwatch.labelling.project_folders import ProjectFolders, image_sizes_px
from alwatch.labelling.staging import (
    check_space,
    clear_stale,
    explained,
    only_run,
    staging_folder,
    sync_folder,
)
from alwatch.labelling.withdrawal import Withdrawal, withdrawal_from
from alwatch.records import Exported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alwatch.records import LabelledFrame, Queue, QueuedVideo, ReadFrames, Skeleton

_SPARE_BYTES = 16_000_000


class DeepLabCutProject:
    """A DeepLabCut project, single- or multi-animal.

    Parameters
    ----------
    config_path : Path
        The project's config.yaml; nothing is read before it is needed.
    """

    def __init__(self, config_path: Path) -> None:
        self._config = ProjectConfig(config_path)
        self._root = self._config.path.parent
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

        Nothing that is there is changed, apart from new lines under `video_sets` and points in
        pre-labels, for frames that have none yet and that nobody has labelled. Every frame is
        written aside before the first one is put in place; a run that dies leaves a project that
        is valid and that the next run completes. A video that cannot be listed by its own path
        gets a link in the project's `videos`. Images are whole frames, also of videos that the
        config crops; a folder of cut images is not added to.

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
        skeleton : Skeleton
            Of the poses; bodyparts that the project does not have are left out.

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
            self._check(asked)
            with only_run(self._root):
                self._labeled.mkdir(exist_ok=True)
                self._clear_stale()
                plans = self._plans(queue, videos, skeleton)
                self._add_images([each for each in plans if each.is_due], read_frames)
                self._list_videos([each.placement for each in plans])
        written = sum(len(each.placement.missing) for each in plans)
        return Exported(
            tool="deeplabcut",
            project=self._root,
            written=written,
            kept=sum(len({frame.frame for frame in video.frames}) for video in videos) - written,
            folders=tuple(
                (each.placement.folder.name, each.placement.video.content_hash) for each in plans
            ),
        )

    def read_labels(self) -> list[LabelledFrame]:
        """List the frames of the project that carry a label, with points, once for each scorer.

        DeepLabCut may cut images out as config.yaml crops their video, and its labels are then
        in pixels of the cut image; points are given in pixels of the whole frame.

        Raises
        ------
        ExportError
            There is no project, or a label file cannot be read.
        """
        with explained(f"Reading the labels of {self._root}", "Make it readable and try again."):
            offsets_px = self._config.offsets()
            is_there = os.path.lexists(self._labeled)  # a link to a drive may lead nowhere
            folders = sorted(self._labeled.iterdir()) if is_there else []
            return [
                label
                for folder in folders
                if folder.is_dir() and not folder.name.startswith(".")
                for label in labelled_frames(self._root, folder, offsets_px.get(folder.name))
            ]

    def withdraw_queue(self, queue: Queue, videos: Sequence[QueuedVideo]) -> int:
        """Take a queue's images, pre-labels, folders and entries out, if nobody touched them.

        Images stay that were there before the export, that were changed, or that a scorer's
        labels list, if only by an empty row: DeepLabCut opens the image of every row.

        Raises
        ------
        ExportError
            A frame of it is labelled, or the project cannot be written; nothing was changed.
        """
        asked = f"Withdrawing queue {queue.id} from {self._root}"
        with explained(asked, "Whatever is in the project is whole; try again."):
            self._check(asked)
            with only_run(self._root):
                self._clear_stale()
                found = self._withdrawals(queue, videos)
                if found:
                    with staging_folder(self._labeled) as staging:
                        for withdrawal in found:
                            withdrawal.clear(staging)
                        self._unlist([each for each in found if each.empties])
                        for withdrawal in found:
                            withdrawal.forget(staging)
        return sum(len(withdrawal.images) for withdrawal in found)

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

    def _folders(self) -> ProjectFolders:
        return ProjectFolders(self._root, self._config.listed())

    def _check(self, asked: str) -> None:
        config = self._config.read()
        stated = self._root / str(config.get("project_path") or "")
        if (stated / "config.yaml").is_file() and not stated.samefile(self._root):
            raise ExportError(
                f"The project_path of {self._config.path} is {stated}, which is another project. "
                f"Set it to {self._root}, or name the other one."
            )
        for path in (self._config.path.resolve(), self._root, self._labeled, self._videos):
            if path.exists() and not os.access(path, os.W_OK):
                raise ExportError(
                    f"{asked} needs write permission for {path}, which the user with id "
                    f" {os.geteuid()} has not. Grant it, or run as another user."
                )

    def _clear_stale(self) -> None:
        clear_stale(self._labeled)
        self._config.clear_stale()

    def _plans(self, queue: Queue, videos: Sequence[QueuedVideo], skeleton: Skeleton) -> list[Plan]:
        folders = self._folders()
        layout = Layout.of(self._config.read())
        stems = self._stems()
        plans = []
        for video in videos:
            placement = Placement.of(video, self._labeled / folders.folder_of(video))
            key, link = self._key_for(placement)
            is_new = placement.folder.name not in stems
            plans.append(
                plan(
                    placement,
                    queue,
                    skeleton,
                    layout,
                    link=link.name if is_new and link and not os.path.lexists(link) else "",
                    listed={key: _whole(video)} if is_new else {},
                )
            )
        return plans

    def _withdrawals(self, queue: Queue, videos: Sequence[QueuedVideo]) -> list[Withdrawal]:
        folders = self._folders()
        found = [
            withdrawal_from(
                [self._labeled / name for name in folders.known(video)],
                queue,
                {frame.frame for frame in video.frames},
            )
            for video in videos
        ]
        return [withdrawal for withdrawal in found if withdrawal is not None]

    # --- writing -------------------------------------------------------------------------------

    def _add_images(self, plans: Sequence[Plan], read_frames: ReadFrames) -> None:
        if not plans:
            return
        raw_bytes = sum(
            len(p.missing) * p.video.width_px * p.video.height_px * 3
            for p in (each.placement for each in plans)
        )
        check_space(self._labeled, raw_bytes + _SPARE_BYTES)
        with staging_folder(self._labeled) as staging:
            for each in plans:
                each.stage(staging, read_frames)
            for each in plans:
                each.put(staging)
            sync_folder(self._labeled)

    def _list_videos(self, placements: Sequence[Placement]) -> None:
        stems = self._stems()
        crops = {}
        for placement in placements:
            if placement.folder.name not in stems:
                key, link = self._key_for(placement)
                crops[key] = _whole(placement.video)
                if link and not os.path.lexists(link):
                    self._videos.mkdir(exist_ok=True)
                    link.symlink_to(os.path.abspath(placement.video.path))
                    sync_folder(self._videos)
        crops |= self._unlisted_labels(stems, {p.folder.name for p in placements})
        self._config.add(crops)

    def _stems(self) -> set[str]:
        """The folders of the listed videos, as DeepLabCut finds them on this system."""
        return {Path(key).stem for key in self._config.listed()}

    def _key_for(self, placement: Placement) -> tuple[str, Path | None]:
        """A path whose stem is the folder's name, because DeepLabCut goes from one to the other.

        It is the video's own, or that of a link, which is given too.
        """
        path = Path(os.path.abspath(placement.video.path))
        if path.stem == placement.folder.name and str(path).isprintable():
            return str(path), None
        link = self._videos / f"{placement.folder.name}{path.suffix or '.mp4'}"
        return str(link), link

    def _unlisted_labels(self, stems: set[str], placed: set[str]) -> dict[str, str]:
        """Entries for labelled folders that DeepLabCut uses now, and would not after this."""
        labels = f"CollectedData_{self._config.read()['scorer']}.h5"
        labelled = {
            name for name in visible(self._labeled) if (self._labeled / name / labels).exists()
        }
        if labelled & stems:
            return {}
        videos = {Path(name).stem: name for name in visible(self._videos)}
        crops = {}
        for name in sorted(labelled - placed):
            sizes = image_sizes_px(self._labeled / name)
            if sizes:
                key = str(self._videos / videos.get(name, f"{name}.mp4"))
                crops[key] = crop_text(*max(sizes))
        return crops

    def _unlist(self, withdrawals: Sequence[Withdrawal]) -> None:
        """Undo what the export did in config.yaml and `videos` for some folders."""
        self._config.remove({k: crop for each in withdrawals for k, crop in each.listed.items()})
        listed = self._config.listed()
        for link in (self._videos / each.link for each in withdrawals if each.link):
            if link.is_symlink() and str(link) not in listed:
                link.unlink()


def _whole(video: QueuedVideo) -> str:
    return crop_text(video.width_px, video.height_px)
