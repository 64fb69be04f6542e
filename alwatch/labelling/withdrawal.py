"""Taking a queue's images out of a folder of `labeled-data` again, and nothing else.

An image goes if its export wrote it, no other queue asked for it, its content is still that, and
nobody has worked on it: DeepLabCut must not have a row for it in anybody's labels, even an empty
one, as it opens the image of every row; and no pre-label that is another program's.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from alwatch.errors import ExportError
from alwatch.labelling.collected_data import ScorersLabels, scorers_labels
from alwatch.labelling.folder_record import RECORD_NAME, FolderRecord, digest, queue_key
from alwatch.labelling.images import write_durably
from alwatch.labelling.labeled_folder import put_labels, stage_labels
from alwatch.labelling.machine_labels import (
    CSV_NAME,
    images_with_points,
    read_machine_labels,
    take_away,
)
from alwatch.labelling.naming import frame_index
from alwatch.labelling.staging import put_over, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Set
    from pathlib import Path

    from alwatch.labelling.label_table import LabelTable
    from alwatch.records import Queue


class Withdrawal:
    """What withdrawing a queue takes out of one folder; nothing is changed before `clear`.

    Parameters
    ----------
    folder : Path
    record : FolderRecord
        The folder's, in which the queue is.
    queue : Queue
    frames : set of int
        Only these frames are taken out.

    Raises
    ------
    ExportError
        One of the frames is labelled, or labels or pre-labels cannot be read.
    """

    def __init__(self, folder: Path, record: FolderRecord, queue: Queue, frames: Set[int]) -> None:
        self.folder = folder
        self._record = record
        rest, names = record.without(queue)
        self._names = {name for name in names if frame_index(name) in frames}
        people = scorers_labels(folder)
        self._refuse_labelled(queue, people)
        self._labels = {
            file.name: table
            for file in sorted(folder.glob("machinelabels-iter*.h5"))
            if (table := read_machine_labels(file)) is not None
        }
        self.images = sorted(self._removable(people))
        self._spent = {name for name, table in self._labels.items() if self._is_spent(name, table)}
        if self._spent == self._labels.keys() and CSV_NAME in record.made:
            self._spent.add(CSV_NAME)
        self._rest = replace(
            rest,
            images={k: v for k, v in rest.images.items() if k not in self._names},
            poses=_without(rest.poses, self._names),
            made=[name for name in rest.made if name not in self._spent],
        )

    @property
    def empties(self) -> bool:
        """Whether nothing is in the folder then but the record of this queue."""
        own = {RECORD_NAME, *self.images, *self._spent}
        return not self._rest.queues and set(os.listdir(self.folder)) <= own

    @property
    def listed(self) -> dict[str, str]:
        """The entries of config.yaml that alwatch made for the folder."""
        return self._record.listed

    @property
    def link(self) -> str:
        """The link in `videos` that alwatch made for it; empty if none."""
        return self._record.link

    def clear(self, staging: Path) -> None:
        """Take pre-labels and images away."""
        for name, table in self._labels.items():
            less = self._less(name, table)
            if name not in self._spent and less is not table:
                staged = staging / self.folder.name
                staged.mkdir(exist_ok=True)
                stage_labels(staged, self.folder, less, name)
                put_labels(staged, self.folder, name)
        for name in (*sorted(self._spent), *self.images):
            (self.folder / name).unlink(missing_ok=True)
        sync_folder(self.folder)

    def forget(self, staging: Path) -> None:
        """Take the queue out of the record, and with the last one the record and its folder."""
        if self._rest.queues:
            staged = staging / f"{self.folder.name}.json"
            write_durably(staged, self._rest.to_bytes())
            put_over(staged, self.folder / RECORD_NAME)
        elif "." in self._record.made and set(os.listdir(self.folder)) == {RECORD_NAME}:
            self._remove_folder(staging / f"{self.folder.name}.gone")
        else:
            (self.folder / RECORD_NAME).unlink(missing_ok=True)
        sync_folder(self.folder.parent)

    # --- what goes, and what stays --------------------------------------------------------------

    def _refuse_labelled(self, queue: Queue, people: Iterable[ScorersLabels]) -> None:
        for labels in people:
            done = {frame_index(name) for name in self._names} & labels.labelled().keys()
            if done:
                raise ExportError(
                    f"Queue {queue.id} was to be taken out of {self.folder}, but {labels.scorer} "
                    f"has labelled {len(done)} of its frames there, so it stays. Take the labels "
                    "out first if they are not wanted."
                )

    def _removable(self, people: Iterable[ScorersLabels]) -> Iterable[str]:
        rows = {index for labels in people for index in labels.listed()}
        others = {
            image
            for name, table in self._labels.items()
            for image in images_with_points(table) - set(self._record.poses.get(name, ()))
        }
        for name in self._names - others:
            file = self.folder / name
            is_listed = frame_index(name) in rows
            if not is_listed and file.is_file() and digest(file) == self._record.images.get(name):
                yield name

    def _less(self, name: str, table: LabelTable) -> LabelTable:
        """Pre-labels without this queue's; the same table if they hold none."""
        there = set(os.listdir(self.folder)) - set(self.images)
        rows = {
            image for image in self._names & self._record.images.keys() if image not in there
        } & set(table.images)
        points = self._names & set(self._record.poses.get(name, ())) & images_with_points(table)
        return take_away(table, points=points, rows=rows) if rows or points else table

    def _is_spent(self, name: str, table: LabelTable) -> bool:
        """Whether pre-labels that alwatch made hold no number without this queue's."""
        return name in self._record.made and not np.isfinite(self._less(name, table).values).any()

    def _remove_folder(self, aside: Path) -> None:
        self.folder.rename(aside)
        if set(os.listdir(aside)) != {RECORD_NAME}:  # something has come in just now
            aside.rename(self.folder)


def withdrawal_from(folders: Iterable[Path], queue: Queue, frames: Set[int]) -> Withdrawal | None:
    """The withdrawal from the first of these folders whose record has the queue."""
    for folder in folders:
        record = FolderRecord.read(folder)
        if record is not None and queue_key(queue) in record.queues:
            return Withdrawal(folder, record, queue, frames)
    return None


def _without(poses: dict[str, list[str]], names: Set[str]) -> dict[str, list[str]]:
    left = {file: [image for image in of if image not in names] for file, of in poses.items()}
    return {file: images for file, images in left.items() if images}
