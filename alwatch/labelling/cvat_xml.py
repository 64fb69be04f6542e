"""CVAT's annotations as `CVAT for images 1.1`: written for a queue, and read from an export.

CVAT measures from the edge of the image, half a pixel before the centre of the first pixel, which
is alwatch's 0.
"""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from alwatch.errors import ExportError
from alwatch.labelling.label_file import LARGEST_BYTES, read_label_file, size_of_file
from alwatch.labelling.prelabels import Group, groups_of, prelabels
from alwatch.records import LabelledPoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from alwatch.labelling.queue_record import QueuedImage
    from alwatch.records import Skeleton

ANNOTATIONS = "annotations.xml"
_NAMELESS = ("animal", "scene")
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


def annotations_of(images: Sequence[QueuedImage], skeleton: Skeleton) -> bytes:
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


def points_of(image: ElementTree.Element) -> Iterator[LabelledPoint]:
    """The points of all skeletons that are not outside; occluded ones are somewhere too."""
    for skeleton in image.iter("skeleton"):
        for point in skeleton.iter("points"):
            if point.get("outside", "0") != "1":
                names = skeleton.attrib["label"], point.attrib["label"]
                yield labelled_point(*names, *map(float, point.attrib["points"].split(",")))


def labelled_point(skeleton: str, bodypart: str, x: float, y: float) -> LabelledPoint:
    """A point of CVAT's.

    Raises
    ------
    ValueError
        It is nowhere.
    """
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"a point at {x}, {y}")
    individual = "" if skeleton in _NAMELESS else skeleton
    return LabelledPoint(individual, bodypart, x - 0.5, y - 0.5)


def read_annotations(file: Path) -> ElementTree.Element:
    """Read an export, as `.xml` or `.zip`.

    Raises
    ------
    ExportError
        It is no such export, or may harm: it is no file, too large, or declares entities.
    """
    try:
        content = _from_zip(file) if file.suffix == ".zip" else read_label_file(file)
        text = content.decode("utf-8-sig")  # whatever it declares: nothing hides in another coding
        if "<!DOCTYPE" in text:
            raise ValueError("it declares a type of document, which could hold anything")
        root = ElementTree.fromstring(text)
        if root.tag != "annotations":
            raise ValueError(f"it holds {root.tag}, not annotations")
    except _UNREADABLE as error:
        raise unreadable(file, error) from error
    return root


def _from_zip(file: Path) -> bytes:
    size_of_file(file)  # refuses a pipe; any size will do, because images may be in it
    with zipfile.ZipFile(file) as archive:
        member = archive.getinfo(ANNOTATIONS)
        if member.file_size > LARGEST_BYTES:
            raise ValueError(f"its {ANNOTATIONS} has {member.file_size} bytes")
        try:
            return archive.read(member)
        except OSError as error:  # of bzip2 too, and it names no file
            raise ValueError(str(error)) from error


def unreadable(file: Path, error: Exception) -> ExportError:
    """The one line about a file that is no such export."""
    return ExportError(
        f"{file} must be an export of CVAT in the format 'CVAT for images 1.1'; reading it gave "
        f"{error!r}. Export it again."
    )
