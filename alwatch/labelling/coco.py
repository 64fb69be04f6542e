"""Queues for tools that read and write COCO keypoints, and labels from them.

Beside the images lies `annotations.json`: one category for the animals and, where the model has
such bodyparts, one for the scene; the model's poses are annotations with a `score`. Labels come
back through a `labels.json` that is put there, in the same format; images are matched by the name
of their file.

A frame is labelled if an annotation of it has a keypoint of visibility 1 or 2, and empty if it
has annotations, all without one. An image without annotations is not labelled, because tools
also list what nobody has looked at; nor is one whose points all lie where the model had put them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from alwatch.errors import ExportError
from alwatch.labelling.label_file import read_label_file
from alwatch.labelling.prelabels import Group, PreLabel, groups_of, is_touched, prelabels
from alwatch.labelling.queue_folder import UNREADABLE_JSON, QueueFolder, file_name, image_key
from alwatch.labelling.queue_record import QueuedImage, read_record
from alwatch.records import LabelledFrame, LabelledPoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from alwatch.records import Skeleton

_SCENE = "scene"


@dataclass(frozen=True, slots=True)
class _Annotation:
    """One annotation of an image: `individual` is what the file says it is, if it does."""

    category: str
    individual: str | None
    points: dict[str, tuple[float, float]]


class CocoFolder(QueueFolder):
    """A folder that takes queues as images with COCO keypoints.

    COCO counts pixels as alwatch does: the first one is at 0, and so is its centre (Detectron2
    adds 0.5 to COCO's keypoints where it needs distances from the image's edge).
    """

    tool: ClassVar[str] = "coco"

    def _documents(
        self, folder: Path, images: Sequence[QueuedImage], skeleton: Skeleton
    ) -> dict[str, bytes]:
        return {"annotations.json": _document(images, skeleton)}

    def _labels_in(self, folder: Path) -> Iterable[LabelledFrame]:
        source = folder / "labels.json"
        if not source.exists():
            return
        record = read_record(folder)
        for image, found in _annotations(source).items():
            key = image_key(image)
            if key is None or image not in record.drawn or not found:
                continue
            points = _points(found, record.n_individuals)
            if not points:
                yield LabelledFrame(self._directory, *key, source, state="empty")
            elif is_touched(points, record.drawn[image]):
                yield LabelledFrame(self._directory, *key, source, points)


def _document(images: Sequence[QueuedImage], skeleton: Skeleton) -> bytes:
    groups = groups_of(skeleton)
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images, start=1):
        for group in groups:
            points = prelabels(image.pose, group)
            if points:
                annotation = _annotation(points, group)
                annotations.append({"id": len(annotations) + 1, "image_id": number} | annotation)
    content = {
        "info": {"description": f"Poses: {skeleton.source or 'none'}"},
        "images": [
            {
                "id": number,
                "file_name": image.name,
                "width": image.video.width_px,
                "height": image.video.height_px,
            }
            for number, image in enumerate(images, start=1)
        ],
        "categories": [
            {
                "id": _category(group),
                "name": _SCENE if group.name == _SCENE else "animal",
                "supercategory": "animal",
                "keypoints": group.bodyparts,
                "skeleton": [],
            }
            for group in {_category(group): group for group in groups}.values()
        ],
        "annotations": annotations,
    }
    return (json.dumps(content, indent=1) + "\n").encode()


def _category(group: Group) -> int:
    return 2 if group.name == _SCENE else 1


def _annotation(points: list[PreLabel], group: Group) -> dict[str, Any]:
    keypoints = {name: [0.0, 0.0, 0] for name in group.bodyparts}
    for point in points:
        keypoints[point.bodypart] = [round(point.x_px, 3), round(point.y_px, 3), 2]
    x, y = [p.x_px for p in points], [p.y_px for p in points]
    width, height = max(x) - min(x), max(y) - min(y)
    return {
        "category_id": _category(group),
        "individual": group.individual,
        "keypoints": [value for keypoint in keypoints.values() for value in keypoint],
        "num_keypoints": len(points),
        "bbox": [round(value, 3) for value in (min(x), min(y), width, height)],
        "area": round(width * height, 3),
        "iscrowd": 0,
        "score": round(sum(p.likelihood for p in points) / len(points), 4),
    }


def _annotations(file: Path) -> dict[str, list[_Annotation]]:
    """The annotations of every image that a file lists, by the name of the image's file."""
    try:
        content = json.loads(read_label_file(file))
        names = {image["id"]: file_name(image["file_name"]) for image in content["images"]}
        categories = {category["id"]: category for category in content["categories"]}
        found: dict[str, list[_Annotation]] = {name: [] for name in names.values()}
        for annotation in content.get("annotations", []):
            category = categories[annotation["category_id"]]
            found[names[annotation["image_id"]]].append(_read_annotation(annotation, category))
    except UNREADABLE_JSON as error:
        raise ExportError(
            f"{file} must hold COCO keypoints, with images, categories and annotations; reading "
            f"it gave {error!r}. Write it again."
        ) from error
    return found


def _read_annotation(annotation: dict[str, Any], category: dict[str, Any]) -> _Annotation:
    bodyparts = category.get("keypoints") or []
    values = np.array(annotation.get("keypoints") or [], np.float64).reshape(-1, 3)
    if len(values) not in (0, len(bodyparts)):
        raise ValueError(f"{len(values)} keypoints, not {len(bodyparts)}, in {annotation['id']}")
    points = {
        str(bodypart): (x, y)
        for bodypart, (x, y, visibility) in zip(bodyparts, values.tolist(), strict=False)
        if visibility > 0 and np.isfinite((x, y)).all()
    }
    individual = annotation.get("individual")
    return _Annotation(
        str(category["name"]), individual if isinstance(individual, str) else None, points
    )


def _points(annotations: list[_Annotation], n_individuals: int) -> tuple[LabelledPoint, ...]:
    """The points of an image; animals that bear no name are named in the order of the file."""
    animals = [a for a in annotations if a.category != _SCENE]
    taken = {a.individual for a in animals}
    names = [""] if n_individuals == len(animals) == 1 else []
    names += [f"individual{n + 1}" for n in range(len(animals) + 1)]
    free = iter([name for name in names if name not in taken])
    return tuple(
        LabelledPoint(individual, bodypart, x, y)
        for annotation in annotations
        for individual in [_name(annotation, free)]
        for bodypart, (x, y) in annotation.points.items()
    )


def _name(annotation: _Annotation, free: Iterator[str]) -> str:
    if annotation.category == _SCENE:
        return ""
    return next(free) if annotation.individual is None else annotation.individual
