"""The tools that take a queue as a folder of images, and how a person labels in each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from alwatch.labelling.coco import CocoFolder
from alwatch.labelling.cvat import CvatFolder
from alwatch.labelling.folder import FrameFolder
from alwatch.labelling.label_studio import LabelStudioFolder
from alwatch.labelling.queue_folder import QueueFolder
from alwatch.records import QueuedVideo, Skeleton
from tests.labelling.helpers import make_video

ANIMALS = Skeleton(("nose", "tail", "door"), n_individuals=2, n_unique=1, source="snapshot-7")
NAN = float("nan")
POSE = np.array(
    [
        [[10.25, 20.5, 0.9], [30.0, 8.125, 0.5], [0.0, 0.0, 0.8]],
        [[3.0, 4.0, 0.04], [63.0, 47.0, 0.05], [NAN, NAN, NAN]],
    ],
    np.float32,
)
"""Two animals in a frame of 64 x 48, the second one's nose too unsure to be drawn."""
DRAWN = {
    ("individual1", "nose", 10.25, 20.5),
    ("individual1", "tail", 30.0, 8.125),
    ("individual2", "tail", 63.0, 47.0),
    ("", "door", 0.0, 0.0),
}
IMAGE_TOOLS: dict[str, type[QueueFolder]] = {
    "folder": FrameFolder,
    "coco": CocoFolder,
    "label_studio": LabelStudioFolder,
    "cvat": CvatFolder,
}


def posed_video(path: Path, *, frames: tuple[int, ...] = (5, 7)) -> QueuedVideo:
    """A video of which the model has found something in the first frame only."""
    video = make_video(path, frames)
    return QueuedVideo(
        video.path, video.content_hash, 64, 48, 500, video.frames, {frames[0]: POSE}, 30.0
    )


def queue_folder(project: Path, folder: str) -> Path:
    """The queue that holds images of a video."""
    return next(each for each in sorted(project.glob("queue-*")) if any(each.glob(f"{folder}_*")))


def label_folder(project: Path, folder: str, frames: list[int]) -> None:
    target = queue_folder(project, folder) / "labels.csv"
    there = target.read_text() if target.exists() else "image,nose x,nose y\n"
    rows = [f"{folder}_img{index:03}.png,1.0,2.0\n" for index in frames]
    target.write_text(there + "".join(rows))


def label_coco(project: Path, folder: str, frames: list[int]) -> None:
    target = queue_folder(project, folder) / "labels.json"
    content = json_of(target if target.exists() else target.with_name("annotations.json"))
    ids = {image["file_name"]: image["id"] for image in content["images"]}
    content["annotations"] += [
        {
            "id": 1000 + index,
            "image_id": ids[f"{folder}_img{index:03}.png"],
            "category_id": 1,
            "keypoints": [1.0, 2.0, 2, 0, 0, 0],
        }
        for index in frames
    ]
    target.write_text(json.dumps(content))


def label_label_studio(project: Path, folder: str, frames: list[int]) -> None:
    target = queue_folder(project, folder) / "project-1-at-labels.json"
    tasks = json_of(target) if target.exists() else []
    tasks += [
        {
            "data": {"image": f"/data/upload/1/0a1b2c3d-{folder}_img{index:03}.png"}
            | {"alwatch": f"{folder}_img{index:03}.png"},
            "annotations": [{"completed_by": 1, "result": [ls_region("nose", 1.0, 2.0)]}],
        }
        for index in frames
    ]
    target.write_text(json.dumps(tasks))


def label_cvat(project: Path, folder: str, frames: list[int]) -> None:
    target = queue_folder(project, folder) / "labels.xml"
    there = target.read_text() if target.exists() else "<annotations>\n</annotations>"
    images = "".join(
        f'<image id="{index}" name="images/{folder}_img{index:03}.png" width="64" height="48">'
        '<skeleton label="animal" source="manual"><points label="nose" outside="0" occluded="0" '
        'points="1.50,2.50"></points></skeleton></image>\n'
        for index in frames
    )
    target.write_text(there.replace("</annotations>", images + "</annotations>"))


def ls_region(bodypart: str, x: float, y: float, *, name: str = "animal") -> dict[str, Any]:
    """A point of Label Studio, in percent of a frame of 64 x 48."""
    return {
        "from_name": name,
        "to_name": "image",
        "type": "keypointlabels",
        "original_width": 64,
        "original_height": 48,
        "value": {"x": x, "y": y, "width": 1, "keypointlabels": [bodypart]},
    }


LABEL: dict[str, Callable[[Path, str, list[int]], None]] = {
    "folder": label_folder,
    "coco": label_coco,
    "label_studio": label_label_studio,
    "cvat": label_cvat,
}


def json_of(file: Path) -> Any:
    return json.loads(file.read_bytes())
