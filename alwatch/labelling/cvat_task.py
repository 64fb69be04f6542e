"""A CVAT task's shapes: drawn of a queue's annotations, and read from what people made of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alwatch.errors import ExportError
from alwatch.labelling.cvat_xml import labelled_point

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
    from xml.etree import ElementTree

    from alwatch.records import LabelledPoint


@dataclass(frozen=True, slots=True)
class TaskFrame:
    """What people have made of one frame of a task.

    Parameters
    ----------
    name : str
        Of its image.
    labeller : str
        Whom its job is assigned to; empty if nobody.
    is_done, is_begun, is_deleted : bool
        Its job is done; somebody has done something; it was deleted.
    tags : frozenset of str
    points : tuple of LabelledPoint
        Of skeletons, untouched ones included.
    """

    name: str
    labeller: str
    is_done: bool
    is_begun: bool
    is_deleted: bool
    tags: frozenset[str]
    points: tuple[LabelledPoint, ...]


def frames_of_job(
    job: dict[str, Any],
    found: dict[str, Any],
    names: Sequence[str],
    deleted: Set[int],
    labels: Mapping[int, str],
) -> Iterator[TaskFrame]:
    """The frames of a job.

    Parameters
    ----------
    job, found : dict
        The job and its annotations, as the server gives them.
    names : sequence of str
        Of the task's images, by frame.
    deleted : set of int
        Frames of the task.
    labels : mapping of int to str
        The names of labels, those within skeletons included.

    Raises
    ------
    ExportError
        It has tracks.
    """
    if found["tracks"]:
        raise ExportError(
            f"Job {int(job['id'])} of CVAT has tracks, from frame "
            f"{int(found['tracks'][0]['frame'])} on; queues are single frames. Draw them as "
            "shapes."
        )
    shapes, all_tags = _by_frame(found["shapes"]), _by_frame(found["tags"])
    is_new = (job["stage"], job["state"]) == ("annotation", "new")
    for index in range(int(job["start_frame"]), min(int(job["stop_frame"]) + 1, len(names))):
        tags = frozenset(labels[int(tag["label_id"])] for tag in all_tags[index])
        skeletons = [shape for shape in shapes[index] if shape["type"] == "skeleton"]
        has_others = len(skeletons) < len(shapes[index])
        yield TaskFrame(
            name=names[index],
            labeller=str(job["assignee"]["username"]) if job["assignee"] else "",
            is_done=_is_done(job),
            is_begun=not is_new or index in deleted or has_others or bool(tags),
            is_deleted=index in deleted,
            tags=tags,
            points=tuple(_points(skeletons, labels)),
        )


def _is_done(job: dict[str, Any]) -> bool:
    """Whether a job is completed, or was handed on to be checked and has not come back."""
    is_handed_on = job["stage"] != "annotation" and job["state"] != "rejected"
    return bool(is_handed_on or job["state"] == "completed")


def skeleton_shape(drawn: ElementTree.Element, frame: int, label: dict[str, Any]) -> dict[str, Any]:
    """A skeleton of an annotation file, for the server; `label` is its label there."""
    parts = {part["name"]: int(part["id"]) for part in label["sublabels"]}
    elements = [
        _shape("points", parts[point.attrib["label"]], frame)
        | {
            "points": [float(value) for value in point.attrib["points"].split(",")],
            "outside": point.attrib["outside"] == "1",
        }
        for point in drawn.iter("points")
    ]
    return _shape("skeleton", int(label["id"]), frame) | {"elements": elements}


def _shape(kind: str, label: int, frame: int) -> dict[str, Any]:
    return {
        "type": kind,
        "label_id": label,
        "frame": frame,
        "points": [],
        "outside": False,
        "occluded": False,
        "z_order": 0,
        "source": "auto",
        "attributes": [],
    }


def _by_frame(items: Iterable[dict[str, Any]]) -> defaultdict[int, list[dict[str, Any]]]:
    found: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for item in items:
        found[int(item["frame"])].append(item)
    return found


def _points(
    skeletons: Iterable[dict[str, Any]], labels: Mapping[int, str]
) -> Iterator[LabelledPoint]:
    for skeleton in skeletons:
        for part in skeleton["elements"]:
            if not part["outside"]:
                x, y = map(float, part["points"])
                names = labels[int(skeleton["label_id"])], labels[int(part["label_id"])]
                yield labelled_point(*names, x, y)
