"""Queues for, and labels from, CVAT.

Beside the images lie `labels.json`, for the raw editor of a task's labels: a skeleton for each
animal, named after it, and the tags `checked` and `skipped`; and `annotations.xml` in the format
`CVAT for images 1.1`, with the model's poses. With `url` and `token_file` a task is made of each
queue on the server, images and poses included; without, a person uploads them.

Labels come from the server: all frames of a job that is completed, without a point those where
nothing is there; frames that are deleted are passed over. Without a server they come from exports
in the same format, as `.xml` or `.zip`, put into the queue's folder, where of one person's the
newest that has the image counts; there a frame is labelled if a point of it is not where the model
had put it. In both, the tag `checked` says that a frame is right as it is, and `skipped` passes it
over.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar
from xml.sax.saxutils import quoteattr

from alwatch.errors import ExportError
from alwatch.labelling.cvat_server import CvatServer
from alwatch.labelling.cvat_xml import (
    ANNOTATIONS,
    annotations_of,
    points_of,
    read_annotations,
    unreadable,
)
from alwatch.labelling.folder_record import digest
from alwatch.labelling.label_file import read_label_file
from alwatch.labelling.prelabels import Group, groups_of, is_touched
from alwatch.labelling.queue_folder import QueueFolder, file_name, image_key
from alwatch.labelling.queue_record import QueuedImage, read_record
from alwatch.records import LabelledFrame, LabelledPoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from xml.etree import ElementTree

    from alwatch.labelling.cvat_task import TaskFrame
    from alwatch.records import Queue, Skeleton

_LABELS = "labels.json"
_CHECKED, _SKIPPED = "checked", "skipped"
_COLUMNS = 4


class CvatFolder(QueueFolder):
    """A folder that takes queues for CVAT.

    Parameters
    ----------
    directory : Path
    url : str, optional
        The server to make tasks on.
    token_file : Path, optional
        A file that holds the token of a person there.
    """

    tool: ClassVar[str] = "cvat"

    def __init__(
        self, directory: Path, *, url: str | None = None, token_file: Path | None = None
    ) -> None:
        super().__init__(directory)
        self._server = None
        if url is not None and token_file is not None:
            self._server = CvatServer(url, token_file)

    def _documents(
        self, folder: Path, images: Sequence[QueuedImage], skeleton: Skeleton
    ) -> dict[str, bytes]:
        return {
            _LABELS: (json.dumps(_label_specs(skeleton), indent=1) + "\n").encode(),
            ANNOTATIONS: annotations_of(images, skeleton),
        }

    def _send(self, folder: Path) -> None:
        if self._server is not None:
            labels = _read_specs(folder / _LABELS)
            self._server.add(folder, labels, read_annotations(folder / ANNOTATIONS))

    def _take_back(self, queue: Queue, folder: Path) -> None:
        if self._server is not None:
            asked = f"Queue {queue.id} was to be taken out of {folder}"
            self._server.remove(folder, read_record(folder).drawn, asked)

    def _labels(self, folders: Sequence[Path]) -> Iterable[LabelledFrame]:
        if self._server is None:
            yield from super()._labels(folders)
            return
        for folder, frame in self._server.frames(folders):
            yield from self._of_frame(frame, folder / ANNOTATIONS)

    def _of_frame(self, frame: TaskFrame, source: Path) -> Iterator[LabelledFrame]:
        key = image_key(frame.name)
        if key is None:
            return
        who = frame.labeller
        if frame.is_deleted or _SKIPPED in frame.tags:
            yield LabelledFrame(self._directory, *key, source, (), who, "skipped")
        elif frame.is_done or _CHECKED in frame.tags:
            points = frame.points
            seen = LabelledFrame(self._directory, *key, source, points, who)
            yield seen if points else replace(seen, state="empty")

    def _labels_in(self, folder: Path) -> Iterable[LabelledFrame]:
        files = [file for kind in ("*.xml", "*.zip") for file in folder.glob(kind)]
        record = read_record(folder) if files else None
        drawn = record.drawn if record else {}
        own = record.files if record else {}
        files = [f for f in files if f.name not in own or own[f.name] != digest(f)]
        newest_first = sorted(files, key=lambda file: (-file.stat().st_mtime_ns, file.name))
        told: set[tuple[str, str]] = set()
        for source in newest_first:
            root = read_annotations(source)
            who = root.findtext("meta/*/assignee/username") or ""
            try:
                names = {(who, file_name(image.attrib["name"])) for image in root.iter("image")}
                for image in root.iter("image"):
                    if (who, file_name(image.attrib["name"])) not in told:
                        yield from self._of_image(image, source, who, drawn)
                told |= names
            except (ValueError, LookupError) as error:
                raise unreadable(source, error) from error

    def _of_image(
        self,
        image: ElementTree.Element,
        source: Path,
        who: str,
        drawn: dict[str, tuple[LabelledPoint, ...]],
    ) -> Iterator[LabelledFrame]:
        name = file_name(image.attrib["name"])
        key = image_key(name)
        if key is None or name not in drawn:
            return
        tags = {tag.attrib["label"] for tag in image.iter("tag")}
        points = tuple(points_of(image))
        has_skeletons = image.find("skeleton") is not None
        is_seen = _CHECKED in tags or (has_skeletons and is_touched(points, drawn[name]))
        if _SKIPPED in tags:
            yield LabelledFrame(self._directory, *key, source, (), who, "skipped")
        elif is_seen and points:
            yield LabelledFrame(self._directory, *key, source, points, who)
        elif is_seen:
            yield LabelledFrame(self._directory, *key, source, (), who, "empty")


def _label_specs(skeleton: Skeleton) -> list[dict[str, Any]]:
    """The labels of a task, as CVAT's raw editor takes them."""
    skeletons = [
        {
            "name": group.name,
            "type": "skeleton",
            "attributes": [],
            "sublabels": [
                {"name": bodypart, "type": "points", "attributes": []}
                for bodypart in group.bodyparts
            ],
            "svg": _svg(group),
        }
        for group in groups_of(skeleton)
        if group.bodyparts
    ]
    tags = [{"name": name, "type": "tag", "attributes": []} for name in (_CHECKED, _SKIPPED)]
    return [*skeletons, *tags]


def _read_specs(file: Path) -> list[dict[str, Any]]:
    try:
        specs: list[dict[str, Any]] = json.loads(read_label_file(file))
    except (ValueError, RecursionError) as error:
        raise ExportError(
            f"{file} must be as it was exported, for the labels of a task; reading it gave "
            f"{error!r}. Put it back, or move the folder elsewhere and export again."
        ) from error
    return specs


def _svg(group: Group) -> str:
    """The skeleton's template: its points on a grid, in percent."""
    rows = -(-len(group.bodyparts) // _COLUMNS)
    return "".join(
        f'<circle r="1.5" stroke="black" fill="#b3b3b3" '
        f'cx="{(number % _COLUMNS + 0.5) * 100 / _COLUMNS}" '
        f'cy="{(number // _COLUMNS + 0.5) * 100 / rows}" stroke-width="0.1" '
        f'data-type="element node" data-element-id="{number + 1}" data-node-id="{number + 1}" '
        f"data-label-name={quoteattr(bodypart)}></circle>"
        for number, bodypart in enumerate(group.bodyparts)
    )
