"""Queues for, and labels from, CVAT, by files.

Beside the images lie `labels.json`, for the raw editor of a task's labels: a skeleton for each
animal, named after it, and the tags `checked` and `skipped`; and `annotations.xml` in the format
`CVAT for images 1.1`, with the model's poses, to upload to the task.

Labels come back through exports in the same format, as `.xml` or `.zip`, put into the queue's
folder; of one person's the newest that has the image counts. A frame is labelled if a point of it
is not where the model had put it, or if it bears the tag `checked`; it is empty if it then has no
point. The tag `skipped` passes it over.
"""

from __future__ import annotations

import json
import lzma
import math
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, ClassVar
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from alwatch.errors import ExportError
from alwatch.labelling.folder_record import digest
from alwatch.labelling.prelabels import Group, groups_of, is_touched, prelabels
from alwatch.labelling.queue_folder import QueueFolder, file_name, image_key
from alwatch.labelling.queue_record import QueuedImage, read_record
from alwatch.records import LabelledFrame, LabelledPoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from alwatch.records import Skeleton

_ANNOTATIONS = "annotations.xml"
_CHECKED, _SKIPPED = "checked", "skipped"
_NAMELESS = ("animal", "scene")
_LARGEST_BYTES = 1 << 28
_COLUMNS = 4
_UNREADABLE = (
    ValueError,
    LookupError,
    SyntaxError,
    RuntimeError,
    EOFError,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)


class CvatFolder(QueueFolder):
    """A folder that takes queues for CVAT.

    CVAT measures from the edge of the image, half a pixel before the centre of the first pixel,
    which is alwatch's 0.
    """

    tool: ClassVar[str] = "cvat"

    def _documents(
        self, folder: Path, images: Sequence[QueuedImage], skeleton: Skeleton
    ) -> dict[str, bytes]:
        return {
            "labels.json": (json.dumps(_labels(skeleton), indent=1) + "\n").encode(),
            _ANNOTATIONS: _annotations(images, skeleton),
        }

    def _labels_in(self, folder: Path) -> Iterable[LabelledFrame]:
        files = [file for kind in ("*.xml", "*.zip") for file in folder.glob(kind)]
        record = read_record(folder) if files else None
        drawn = record.drawn if record else {}
        own = record.files if record else {}
        files = [f for f in files if f.name not in own or own[f.name] != digest(f)]
        newest_first = sorted(files, key=lambda file: (-file.stat().st_mtime_ns, file.name))
        told: set[tuple[str, str]] = set()
        for source in newest_first:
            root = _read(source)
            who = root.findtext("meta/*/assignee/username") or ""
            try:
                names = {(who, file_name(image.attrib["name"])) for image in root.iter("image")}
                for image in root.iter("image"):
                    if (who, file_name(image.attrib["name"])) not in told:
                        yield from self._of_image(image, source, who, drawn)
                told |= names
            except (ValueError, LookupError) as error:
                raise _unreadable(source, error) from error

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
        points = tuple(_points(image))
        has_skeletons = image.find("skeleton") is not None
        is_seen = _CHECKED in tags or (has_skeletons and is_touched(points, drawn[name]))
        if _SKIPPED in tags:
            yield LabelledFrame(self._directory, *key, source, (), who, "skipped")
        elif is_seen and points:
            yield LabelledFrame(self._directory, *key, source, points, who)
        elif is_seen:
            yield LabelledFrame(self._directory, *key, source, (), who, "empty")


def _labels(skeleton: Skeleton) -> list[dict[str, Any]]:
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


def _annotations(images: Sequence[QueuedImage], skeleton: Skeleton) -> bytes:
    """CVAT numbers images by name; bodyparts that are not drawn are outside, and can be put in."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    for number, image in enumerate(sorted(images, key=lambda image: image.name)):
        size = {"width": str(image.video.width_px), "height": str(image.video.height_px)}
        attributes = {"id": str(number), "name": image.name} | size
        element = ElementTree.SubElement(root, "image", attributes)
        for group in groups_of(skeleton):
            _add_skeleton(element, image, group)
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _add_skeleton(element: ElementTree.Element, image: QueuedImage, group: Group) -> None:
    found = {point.bodypart: (point.x_px, point.y_px) for point in prelabels(image.pose, group)}
    if not found:
        return
    attributes = {"label": group.name, "source": "auto", "z_order": "0"}
    skeleton = ElementTree.SubElement(element, "skeleton", attributes)
    middle = tuple(sum(values) / len(found) for values in zip(*found.values(), strict=True))
    for bodypart in group.bodyparts:
        x_px, y_px = found.get(bodypart, middle)
        ElementTree.SubElement(
            skeleton,
            "points",
            {
                "label": bodypart,
                "source": "auto",
                "outside": str(int(bodypart not in found)),
                "occluded": "0",
                "points": f"{x_px + 0.5:.3f},{y_px + 0.5:.3f}",
            },
        )


def _points(image: ElementTree.Element) -> Iterator[LabelledPoint]:
    """The points of all skeletons that are not outside; occluded ones are somewhere too."""
    for skeleton in image.iter("skeleton"):
        name = skeleton.attrib["label"]
        individual = "" if name in _NAMELESS else name
        for point in skeleton.iter("points"):
            if point.get("outside", "0") != "1":
                x, y = map(float, point.attrib["points"].split(","))
                if not (math.isfinite(x) and math.isfinite(y)):
                    raise ValueError(f"a point at {x}, {y}")
                yield LabelledPoint(individual, point.attrib["label"], x - 0.5, y - 0.5)


def _read(file: Path) -> ElementTree.Element:
    try:
        content = _from_zip(file) if file.suffix == ".zip" else file.read_bytes()
        if b"<!DOCTYPE" in content:
            raise ValueError("it declares a type of document of its own")
        root = ElementTree.fromstring(content)
        if root.tag != "annotations":
            raise ValueError(f"it holds {root.tag}, not annotations")
    except _UNREADABLE as error:
        raise _unreadable(file, error) from error
    return root


def _from_zip(file: Path) -> bytes:
    with zipfile.ZipFile(file) as archive:
        member = archive.getinfo(_ANNOTATIONS)
        if member.file_size > _LARGEST_BYTES:
            raise ValueError(f"its {_ANNOTATIONS} has {member.file_size} bytes")
        try:
            return archive.read(member)
        except OSError as error:  # of bzip2 too, and it names no file
            raise ValueError(str(error)) from error


def _unreadable(file: Path, error: Exception) -> ExportError:
    return ExportError(
        f"{file} must be an export of CVAT in the format 'CVAT for images 1.1'; reading it gave "
        f"{error!r}. Export it again."
    )
