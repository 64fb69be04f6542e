"""Queues for, and labels from, a Lightning Pose project of one view.

The app labels what `CollectedData.unlabeled.jsonl` lists: images in `labeled-data/<folder>/`,
named after their index with eight digits, each with a model's predictions. What is labelled it
moves to `CollectedData.csv`. Lightning Pose itself is not needed.
"""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from alwatch.errors import ExportError, shown
from alwatch.labelling.folder_record import FRAME_NAME, RECORD_NAME, FolderRecord, digest
from alwatch.labelling.images import read_exactly, write_durably, write_png
from alwatch.labelling.label_table import LabelTable, read_csv
from alwatch.labelling.lightning_pose_list import (
    LIST,
    add_to_list,
    clear_stale_list,
    listed_frames,
    remove_from_list,
)
from alwatch.labelling.naming import frame_index
from alwatch.labelling.prelabels import drawn_points
from alwatch.labelling.project_folders import ProjectFolders
from alwatch.labelling.staging import (
    check_space,
    clear_stale,
    explained,
    only_run,
    put_in_place,
    put_over,
    staging_folder,
    sync_folder,
)
from alwatch.records import Exported, LabelledFrame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Set

    from alwatch.records import Queue, QueuedVideo, ReadFrames, Skeleton

_LABELS, _PROJECT = "CollectedData.csv", "project.yaml"
_SPARE_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class _Placement:
    """Where one video's frames are; `names` by index, `missing` those that are not there yet."""

    video: QueuedVideo
    folder: Path
    names: dict[int, str]
    missing: frozenset[int]

    def frame_path(self, index: int) -> str:
        return f"labeled-data/{self.folder.name}/{self.names[index]}"


class LightningPoseProject:
    """A Lightning Pose project of one view.

    Its pixels are counted as alwatch's: its files have DeepLabCut's form and meaning.

    Parameters
    ----------
    directory : Path
        The data directory, which holds `project.yaml` or `CollectedData.csv`; nothing is read
        before it is needed.
    """

    def __init__(self, directory: Path) -> None:
        self._root = Path(os.path.abspath(directory))
        self._labeled = self._root / "labeled-data"

    def write_queue(
        self,
        queue: Queue,
        videos: Sequence[QueuedVideo],
        read_frames: ReadFrames,
        skeleton: Skeleton,
    ) -> Exported:
        """Put the frames into `labeled-data` and list those that are not labelled.

        Nothing that is there is changed, apart from new lines at the end of the list. Every frame
        is written aside before the first one is put in place; a run that dies leaves a project
        that is valid and that the next run completes.

        Parameters
        ----------
        queue : Queue
        videos : sequence of QueuedVideo
        read_frames : callable
            Asked only for the frames that the project does not hold yet, by increasing index.
        skeleton : Skeleton
            Poses of several animals are not listed: Lightning Pose knows one.

        Raises
        ------
        ExportError
            There is no such project, it cannot be written, or it cannot take these frames.
        """
        videos = [video for video in videos if video.frames]
        remedy = "Whatever is in the project is whole; put this right and export again."
        with explained(f"Exporting queue {queue.id} to {self._root}", remedy):
            self._check()
            with only_run(self._root):
                self._labeled.mkdir(exist_ok=True)
                clear_stale(self._labeled)
                clear_stale_list(self._root)
                placements = self._place(videos)
                lines = self._new_lines(queue, placements, skeleton)
                self._add_images(placements, read_frames)
                if lines:
                    add_to_list(self._root, lines)
        written = sum(len(placement.missing) for placement in placements)
        return Exported(
            tool="lightning_pose",
            project=self._root,
            written=written,
            kept=sum(len(placement.names) for placement in placements) - written,
            folders=tuple((p.folder.name, p.video.content_hash) for p in placements),
        )

    def read_labels(self) -> list[LabelledFrame]:
        """List the frames that `CollectedData.csv` has a point for.

        A frame of a folder that alwatch has made is empty if the table has it without a point and
        it is not waiting in the list: the app has moved it there.

        Raises
        ------
        ExportError
            There is no such project, or its files cannot be read.
        """
        with explained(f"Reading the labels of {self._root}", "Make it readable and try again."):
            self._check_is_project()
            table = self._table()
            waiting = set(listed_frames(self._root)) if table else set()
            source = self._root / _LABELS
            points = dict(table.labelled()) if table else {}
            found: dict[tuple[str, int], LabelledFrame] = {}
            for image in table.images if table else ():
                folder, index = _key(image)
                if index is None:
                    continue
                if image in points:
                    label = LabelledFrame(self._root, folder, index, source, points[image])
                elif image not in waiting and (self._labeled / folder / RECORD_NAME).exists():
                    label = LabelledFrame(self._root, folder, index, source, state="empty")
                else:
                    continue
                found.setdefault((folder, index), label)
        return [found[key] for key in sorted(found)]

    def withdraw_queue(self, queue: Queue, videos: Sequence[QueuedVideo]) -> int:
        """Remove a queue's images and their lines in the list, as far as the export wrote them.

        Raises
        ------
        ExportError
            An image was changed, or is in the table of labels.
        """
        asked = f"Queue {queue.id} was to be taken out of {self._root}"
        with explained(f"Withdrawing queue {queue.id} from {self._root}", "Try again."):
            self._check()
            with only_run(self._root):
                clear_stale(self._labeled)
                clear_stale_list(self._root)
                placements = self._place([video for video in videos if video.frames])
                going = [image for placement in placements for image in _written(placement)]
                table = self._table()
                used = {_key(image) for image in table.images} if table else set()
                for path, written in going:
                    if digest(path) != written or _key(str(path)) in used:
                        raise ExportError(
                            f"{asked}; {shown(path)} is labelled or was changed, so it stays. "
                            "Move it elsewhere, and withdraw again."
                        )
                remove_from_list(self._root, _listed_by_us(placements, used))
                for path, _ in going:
                    path.unlink()
                for placement in placements:
                    _forget_images(placement)
        return len(going)

    # --- before anything is written ------------------------------------------------------------

    def _check_is_project(self) -> None:
        if not any((self._root / name).is_file() for name in (_PROJECT, _LABELS)):
            raise ExportError(
                f"A Lightning Pose project is named by its folder, which holds {_PROJECT} or "
                f"{_LABELS}; {self._root} holds neither. Correct the path."
            )

    def _check(self) -> None:
        self._check_is_project()
        try:
            project = yaml.safe_load((self._root / _PROJECT).read_bytes()) or {}
            views = project.get("view_names") or []
        except FileNotFoundError:
            views = []
        except (yaml.YAMLError, ValueError, AttributeError) as error:
            raise ExportError(
                f"{self._root / _PROJECT} is to be a Lightning Pose project; reading it gave "
                f"{str(error).splitlines()[0]!r}. Correct the path or the file."
            ) from error
        if views:
            raise ExportError(
                f"Queues go to projects of one view; {self._root} has {', '.join(map(str, views))}."
                " Export to another project, or to a folder."
            )
        for path in (self._root, self._labeled, self._root / LIST):
            if path.exists() and not os.access(path, os.W_OK):
                raise ExportError(
                    f"Exporting to {self._root} needs write permission for {path}, which the user "
                    f"with id {os.geteuid()} has not. Grant it, or run as another user."
                )

    def _place(self, videos: Sequence[QueuedVideo]) -> list[_Placement]:
        folder = self._root / "videos"
        there = sorted(map(str, folder.iterdir())) if folder.is_dir() else []
        folders = ProjectFolders(self._root, there)
        placements = []
        for video in videos:
            target = self._labeled / folders.folder_of(video)
            held = os.listdir(target) if target.is_dir() else []
            known = {int(found[1]): found[0] for found in map(FRAME_NAME.fullmatch, held) if found}
            queued = sorted({frame.frame for frame in video.frames})
            names = {index: known.get(index, f"img{index:08}.png") for index in queued}
            missing = frozenset(set(queued) - set(known))
            placements.append(_Placement(video, target, names, missing))
        return placements

    def _table(self) -> LabelTable | None:
        file = self._root / _LABELS
        if not file.exists():
            return None
        try:
            return read_csv(file)
        except (ValueError, csv.Error) as error:
            raise ExportError(
                f"The labels in {file} cannot be read ({str(error).strip()}). Open the project "
                "in the labelling tool and save it again."
            ) from error

    def _new_lines(
        self, queue: Queue, placements: Sequence[_Placement], skeleton: Skeleton
    ) -> list[str]:
        """The lines for frames that neither wait in the list nor are in the table, by rank."""
        table = self._table()
        labelled = {_key(image) for image in table.images} if table else set()
        known = labelled | {_key(path) for path in listed_frames(self._root)}
        frames = [(frame, p) for p in placements for frame in p.video.frames]
        lines = []
        for frame, placement in sorted(frames, key=lambda each: each[0].rank):
            path = placement.frame_path(frame.frame)
            if _key(path) not in known:
                entry = {
                    "frame_path": path,
                    "predictions": _predictions(queue, placement.video, frame.frame, skeleton),
                }
                lines.append(json.dumps(entry))
        return lines

    # --- writing -------------------------------------------------------------------------------

    def _add_images(self, placements: Sequence[_Placement], read_frames: ReadFrames) -> None:
        placements = [placement for placement in placements if placement.missing]
        if not placements:
            return
        raw_bytes = sum(
            len(p.missing) * p.video.width_px * p.video.height_px * 3 for p in placements
        )
        check_space(self._labeled, raw_bytes + _SPARE_BYTES)
        with staging_folder(self._labeled) as staging:
            for placement in placements:
                _stage(placement, staging / placement.folder.name, read_frames)
            for placement in placements:
                staged, folder = staging / placement.folder.name, placement.folder
                folder.mkdir(exist_ok=True)
                put_over(staged / RECORD_NAME, folder / RECORD_NAME)
                for index in sorted(placement.missing):
                    name = placement.names[index]
                    put_in_place(staged / name, folder / name)
                sync_folder(folder)
            sync_folder(self._labeled)


def _key(image: str) -> tuple[str, int | None]:
    """The folder and the frame index of an image, as any system writes its path."""
    *_, folder, name = ["", *re.split(r"[/\\]", image)]
    return folder, frame_index(name)


def _stage(placement: _Placement, staged: Path, read_frames: ReadFrames) -> None:
    """Write all files of one video that are missing to a folder of the staging folder."""
    staged.mkdir()
    video = placement.video
    record = FolderRecord.read(placement.folder)
    record = record or FolderRecord(video.content_hash, str(video.path))
    images = dict(record.images)
    for index, image in read_exactly(video, placement.missing, read_frames):
        name = placement.names[index]
        write_png(staged / name, image)
        images[name] = digest(staged / name)
    write_durably(staged / RECORD_NAME, replace(record, images=images).to_bytes())


def _written(placement: _Placement) -> Iterator[tuple[Path, str]]:
    """The queue's images that an export has written, with what it wrote."""
    record = FolderRecord.read(placement.folder)
    written = record.images if record else {}
    for name in placement.names.values():
        if name in written and (placement.folder / name).exists():
            yield placement.folder / name, written[name]


def _listed_by_us(placements: Sequence[_Placement], used: Set[tuple[str, int | None]]) -> set[str]:
    """The paths of what an export has written, also where a person has thrown the image away."""
    return {
        path
        for placement in placements
        if (record := FolderRecord.read(placement.folder))
        for index, name in placement.names.items()
        if name in record.images and _key(path := placement.frame_path(index)) not in used
    }


def _forget_images(placement: _Placement) -> None:
    """Drop the queue's images that are gone from the record; an empty folder goes with them."""
    folder, record = placement.folder, FolderRecord.read(placement.folder)
    there = set(os.listdir(folder)) if record else set()
    gone = set(placement.names.values()) & set(record.images) - there if record else set()
    if record is None or not gone:
        return
    images = {name: written for name, written in record.images.items() if name not in gone}
    with staging_folder(folder.parent) as staging:
        if there == {RECORD_NAME} and not images:
            folder.rename(staging / folder.name)
            return
        write_durably(staging / RECORD_NAME, replace(record, images=images).to_bytes())
        put_over(staging / RECORD_NAME, folder / RECORD_NAME)


def _predictions(
    queue: Queue, video: QueuedVideo, index: int, skeleton: Skeleton
) -> dict[str, Any] | None:
    """What the app draws in a frame; nothing where it could not say which animal's it is."""
    points = drawn_points(video.poses.get(index), skeleton)
    if not points or skeleton.n_individuals > 1:
        return None
    return {
        "model_name": skeleton.source,
        "date_time": int(queue.created_at.timestamp() * 1000),
        "predictions": [
            {"keypoint_name": p.bodypart, "x": round(p.x_px, 3), "y": round(p.y_px, 3)}
            for p in points
        ],
    }
