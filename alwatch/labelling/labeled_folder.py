"""One folder of a DeepLabCut project's `labeled-data`: a queue's images go in, and out again.

What an export brings is planned from what is there, staged as a whole, and then put in place: the
record first, so that a run that dies leaves no image that nobody knows the origin of.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from alwatch.labelling.collected_data import scorers_labels
from alwatch.labelling.folder_record import (
    FRAME_NAME,
    RECORD_NAME,
    FolderRecord,
    digest,
    queue_key,
)
from alwatch.labelling.images import read_exactly, write_durably, write_png
from alwatch.labelling.label_h5_writer import to_h5
from alwatch.labelling.label_table import to_csv
from alwatch.labelling.machine_labels import CSV_NAME, add_points, read_machine_labels
from alwatch.labelling.naming import index_digits
from alwatch.labelling.staging import put_in_place, put_over, sync_folder

if TYPE_CHECKING:
    from pathlib import Path

    from alwatch.labelling.label_table import LabelTable
    from alwatch.labelling.machine_labels import Layout
    from alwatch.records import Queue, QueuedVideo, ReadFrames, Skeleton


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one video's frames go.

    `names` are the images of all its queued frames, by index; those of `missing` are not there.
    """

    video: QueuedVideo
    folder: Path
    names: dict[int, str]
    missing: frozenset[int]

    @classmethod
    def of(cls, video: QueuedVideo, folder: Path) -> Placement:
        """Frames that are there keep their names, new ones get as many digits as those have."""
        found = [match for match in map(FRAME_NAME.fullmatch, visible(folder)) if match]
        there = {int(match[1]): match[0] for match in sorted(found, key=lambda match: match[0])}
        digits = max((len(match[1]) for match in found), default=index_digits(video.n_frames))
        indices = sorted({frame.frame for frame in video.frames})
        names = {index: there.get(index, f"img{index:0{digits}}.png") for index in indices}
        return cls(video, folder, names, frozenset(names.keys() - there.keys()))


@dataclass(frozen=True, slots=True)
class Plan:
    """What an export brings to a folder; `labels` are None where the pre-labels stay as they are.

    The record lacks the digests of the images that are not staged yet.
    """

    placement: Placement
    record: FolderRecord
    labels: LabelTable | None
    labels_name: str

    @property
    def is_due(self) -> bool:
        """Whether it changes anything."""
        there = FolderRecord.read(self.placement.folder)
        return bool(self.placement.missing) or self.labels is not None or there != self.record

    def stage(self, staging: Path, read_frames: ReadFrames) -> None:
        """Write all its files to a folder of the staging folder."""
        placement = self.placement
        staged = staging / placement.folder.name
        staged.mkdir()
        images = dict(self.record.images)
        for index, image in read_exactly(placement.video, placement.missing, read_frames):
            file = staged / placement.names[index]
            write_png(file, image)
            images[file.name] = digest(file)
        record = replace(self.record, images=dict(sorted(images.items())))
        write_durably(staged / RECORD_NAME, record.to_bytes())
        if self.labels is not None:
            stage_labels(staged, placement.folder, self.labels, self.labels_name)

    def put(self, staging: Path) -> None:
        """Put what was staged in place; images that are there by now stay as they are."""
        folder = self.placement.folder
        staged = staging / folder.name
        if not folder.exists():
            sync_folder(staged)
            staged.rename(folder)
            return
        put_over(staged / RECORD_NAME, folder / RECORD_NAME)
        for index in sorted(self.placement.missing):
            name = self.placement.names[index]
            put_in_place(staged / name, folder / name)
        put_labels(staged, folder, self.labels_name)
        sync_folder(folder)


def plan(
    placement: Placement,
    queue: Queue,
    skeleton: Skeleton,
    layout: Layout,
    *,
    link: str,
    listed: dict[str, str],
) -> Plan:
    """Plan what an export brings to a folder; nothing is written.

    Parameters
    ----------
    placement : Placement
    queue : Queue
    skeleton : Skeleton
        Of the video's poses.
    layout : Layout
    link, listed
        What the export is going to do in `videos` and in config.yaml for this folder.

    Raises
    ------
    ExportError
        Labels or pre-labels of the folder cannot be read.
    """
    folder, video = placement.folder, placement.video
    old = FolderRecord.read(folder) or FolderRecord(video.content_hash, str(video.path))
    names = {*old.queues.get(queue_key(queue), ()), *placement.names.values()}
    made = set(old.made) | ({"."} if not folder.exists() else set())
    labels, filled = _plan_labels(placement, skeleton, layout, is_own=layout.file_name in made)
    if labels is not None:
        made |= {name for name in (layout.file_name, CSV_NAME) if not (folder / name).exists()}
    poses = dict(old.poses)
    if filled:
        poses[layout.file_name] = sorted({*poses.get(layout.file_name, ()), *filled})
    record = replace(
        old,
        queues=old.queues | {queue_key(queue): sorted(names)},
        poses=poses,
        made=sorted(made),
        listed=old.listed | listed,
        link=link or old.link,
    )
    return Plan(placement, record, labels, layout.file_name)


def _plan_labels(
    placement: Placement, skeleton: Skeleton, layout: Layout, *, is_own: bool
) -> tuple[LabelTable | None, list[str]]:
    """The pre-labels if they change, and the images whose points are new."""
    folder, video = placement.folder, placement.video
    shown = {index: name for index, name in placement.names.items() if index in video.poses}
    points = {name: layout.points(video.poses[i], skeleton) for i, name in shown.items()}
    points = {name: found for name, found in points.items() if found}
    if not points and not is_own:
        return None, []
    labelled = {index for labels in scorers_labels(folder) for index in labels.labelled()}
    points = {shown[i]: points[shown[i]] for i in shown.keys() - labelled if shown[i] in points}
    there = read_machine_labels(folder / layout.file_name)
    if there is None and not points:
        return None, []
    images = [name for name in visible(folder) if name.lower().endswith(".png")]
    labels, filled = add_points(there, layout, [*images, *placement.names.values()], points)
    is_grown = is_own and there is not None and labels.values.shape != there.values.shape
    return (labels, filled) if filled or is_grown else (None, [])


def stage_labels(staged: Path, folder: Path, labels: LabelTable, name: str) -> None:
    """Write pre-labels to `staged`, as they are to be in `folder`.

    A `.csv` without its `.h5` is of an earlier iteration, or a person's, and stays as it is.
    """
    write_durably(staged / name, to_h5(labels, folder.name))
    if (folder / name).exists() or not (folder / CSV_NAME).exists():
        text = to_csv(labels, folder.name).encode(errors="backslashreplace")
        write_durably(staged / CSV_NAME, text)


def put_labels(staged: Path, folder: Path, name: str) -> None:
    """Put pre-labels in place, the `.h5` last: by it the next run sees what is still to do."""
    for file in (staged / CSV_NAME, staged / name):
        if file.exists():
            put_over(file, folder / file.name)


def visible(folder: Path) -> list[str]:
    """Names in a folder that are not hidden; none if there is no such folder."""
    return [name for name in os.listdir(folder) if name[0] != "."] if folder.is_dir() else []
