"""Projects of every tool but DeepLabCut with a person's work in them, written as the tool does.

A `SharedProject` is told all that a person has labelled so far, and writes it down as the tool
does when that person saves: what nobody has touched is written along with it.
"""

from __future__ import annotations

import csv
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import sleap_io

from alwatch.labelling.lightning_pose import LightningPoseProject
from alwatch.labelling.lightning_pose_list import LIST
from alwatch.labelling.queue_folder import image_key
from alwatch.labelling.sleap import SleapProject
from alwatch.labelling.sleap_file import new_video
from alwatch.protocols import LabellingTool
from alwatch.records import QueuedVideo
from tests.labelling.helpers import make_lightning_project, make_sleap_project, shown_frames
from tests.labelling.image_tools import IMAGE_TOOLS, json_of, ls_region

OWN = None
"""What a person's own lines in the list of Lightning Pose's app have as predictions."""
Place = tuple[float, float]
Labels = Mapping[int, "Place | None"]
"""By frame: where the nose is, in alwatch's pixels; None where nothing is there."""
WIDTH_PX, HEIGHT_PX = 64, 48


class SharedProject(ABC):
    """A project that a person and alwatch work on; no frame is in two of its queues."""

    can_be_empty = True
    """Whether a person can say that nothing is there."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.added: set[int] = set()
        """The frames that are in it by the person."""

    @abstractmethod
    def tool(self) -> LabellingTool:
        """The tool at where the project is now."""

    @abstractmethod
    def shown(self) -> set[int]:
        """The queued frames that the tool shows a person, labelled or not."""

    @abstractmethod
    def save(self, labels: Labels) -> None:
        """A person has changed labels, all of which are given, and saves."""

    @abstractmethod
    def own(self) -> object:
        """All that a person made, to be compared."""

    @abstractmethod
    def remove(self, frame: int) -> None:
        """A person throws a frame that is not labelled away."""

    @abstractmethod
    def add(self, frame: int, video: QueuedVideo) -> None:
        """A person puts in a frame of the video, or something else of their own."""

    @abstractmethod
    def traces(self) -> set[int]:
        """The frames of which anything is in the project but what is the person's."""

    @property
    def folder(self) -> Path:
        """The project's folder."""
        return self.project

    def move(self, target: Path) -> None:
        """The project's folder gets another name."""
        inside = self.project.relative_to(self.folder)
        self.folder.rename(target)
        self.project = target / inside


class SharedFolder(SharedProject):
    """A folder of queues; the person's exports of the tool are put into them."""

    def __init__(self, kind: str, root: Path) -> None:
        super().__init__(root)
        root.mkdir()
        (root / "notes.txt").write_text("of a person")
        self._kind, self._saved = kind, 0
        self.can_be_empty = kind != "folder"

    def tool(self) -> LabellingTool:
        return IMAGE_TOOLS[self._kind](self.project)

    def shown(self) -> set[int]:
        return {
            index for image in self.project.glob("queue-*/*.png") for index in [_index(image.name)]
        }

    def own(self) -> object:
        files = [*self.project.rglob("notes.txt"), *self._exports(self.project.glob("queue-*"))]
        return {path.relative_to(self.project): path.read_bytes() for path in files}

    def remove(self, frame: int) -> None:
        for image in self.project.glob(f"queue-*/*_img{frame:03}.png"):
            image.unlink()

    def add(self, frame: int, video: QueuedVideo) -> None:
        for image in self.project.glob(f"queue-*/*_img{frame:03}.png"):
            image.with_name("notes.txt").write_text(f"of frame {frame}")

    def traces(self) -> set[int]:
        records = self.project.glob("queue-*/queue.json")
        return {_index(name) for record in records for name in json_of(record)["drawn"]}

    def save(self, labels: Labels) -> None:
        for queue in self.project.glob("queue-*"):
            images = {_index(name): name for name in json_of(queue / "queue.json")["drawn"]}
            here = {images[frame]: place for frame, place in labels.items() if frame in images}
            before = sorted(self._exports([queue]), key=lambda path: path.stat().st_mtime_ns)
            content = WRITERS[self._kind](queue, here)
            if before and before[-1].read_bytes() == content:
                continue
            is_kept = self._kind in ("label_studio", "cvat") and self._saved % 2
            for path in [] if is_kept and here else before:
                path.unlink()
            if here:
                self._saved += 1
                file = queue / EXPORTS[self._kind].replace("*", str(self._saved))
                file.write_bytes(content)
                os.utime(file, ns=(self._saved * 10**9, self._saved * 10**9))

    def _exports(self, queues: Iterable[Path]) -> list[Path]:
        return [path for queue in queues for path in sorted(queue.glob(EXPORTS[self._kind]))]


def folder_table(queue: Path, labels: Mapping[str, Place | None]) -> bytes:
    """`labels.csv`: the rows of `poses.csv`, those of labelled frames replaced."""
    poses = list(csv.DictReader((queue / "poses.csv").open()))
    rows = [row for row in poses if row["image"] not in labels]
    rows += [
        {"image": image, "bodypart": "nose", "x": str(place[0]), "y": str(place[1])}
        for image, place in labels.items()
        if place is not None
    ]
    text = io.StringIO()
    table = csv.DictWriter(text, ["image", "bodypart", "x", "y"], extrasaction="ignore")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()


def coco_export(queue: Path, labels: Mapping[str, Place | None]) -> bytes:
    """`labels.json`: all images with their annotations, those of labelled frames replaced."""
    content = json_of(queue / "annotations.json")
    names = {image["id"]: image["file_name"] for image in content["images"]}
    ids = {name: number for number, name in names.items()}
    kept = [each for each in content["annotations"] if names[each["image_id"]] not in labels]
    for image, place in labels.items():
        points = [*place, 2, 0, 0, 0] if place else [0] * 6
        kept.append({"image_id": ids[image], "category_id": 1, "keypoints": points})
    content["annotations"] = [each | {"id": n} for n, each in enumerate(kept, start=1)]
    return json.dumps(content).encode()


def label_studio_export(queue: Path, labels: Mapping[str, Place | None]) -> bytes:
    """An export as JSON of all tasks, with their predictions."""
    tasks = json_of(queue / "tasks.json")
    for task in tasks:
        image = task["data"]["alwatch"]
        task["annotations"] = []
        if image in labels:
            place = labels[image]
            x, y = place or (0.0, 0.0)
            percent = ((x + 0.5) / WIDTH_PX * 100, (y + 0.5) / HEIGHT_PX * 100)
            result = [ls_region("nose", *percent)] if place else []
            task["annotations"] = [{"completed_by": 1, "result": result}]
    return json.dumps(tasks).encode()


def cvat_export(queue: Path, labels: Mapping[str, Place | None]) -> bytes:
    """An export of the task with all its images, those with labels seen by a person."""
    root = ElementTree.fromstring((queue / "annotations.xml").read_bytes())
    for image in root.iter("image"):
        if image.attrib["name"] not in labels:
            continue
        for skeleton in list(image):
            image.remove(skeleton)
        place = labels[image.attrib["name"]]
        if place is None:
            ElementTree.SubElement(image, "tag", {"label": "checked", "source": "manual"})
            continue
        skeleton = ElementTree.SubElement(image, "skeleton", {"label": "animal"})
        for name, outside in (("nose", "0"), ("tail", "1")):
            points = f"{place[0] + 0.5:.2f},{place[1] + 0.5:.2f}"
            attributes = {"label": name, "outside": outside, "occluded": "0", "points": points}
            ElementTree.SubElement(skeleton, "points", attributes)
    return ElementTree.tostring(root)


EXPORTS = {
    "folder": "labels.csv",
    "coco": "labels.json",
    "label_studio": "project-*-at-noon.json",
    "cvat": "job-*.xml",
}
WRITERS = {
    "folder": folder_table,
    "coco": coco_export,
    "label_studio": label_studio_export,
    "cvat": cvat_export,
}


class SharedLightningProject(SharedProject):
    """A Lightning Pose project; its app moves what is labelled from the list to the table."""

    def __init__(self, root: Path) -> None:
        super().__init__(make_lightning_project(root))
        self._header = (root / "CollectedData.csv").read_text()

    def tool(self) -> LabellingTool:
        return LightningPoseProject(self.project)

    def shown(self) -> set[int]:
        listed = {entry["frame_path"] for entry in self._list()}
        listed |= {line.split(",")[0] for line in self._table().splitlines()[3:]}
        return {
            _index(path)
            for path in listed
            if "/old/" not in path and (self.project / path).exists()
        }

    def own(self) -> object:
        old = self.project / "labeled-data" / "old"
        images = [*old.iterdir(), *(self._image(frame) for frame in self.added)]
        return (
            self._table(),
            [entry for entry in self._list() if entry["predictions"] == OWN],
            {path.relative_to(self.project): path.read_bytes() for path in images},
            (self.project / "project.yaml").read_bytes(),
        )

    def remove(self, frame: int) -> None:
        image = self._image(frame)
        image.unlink()
        if frame in self.added:
            self.added.remove(frame)
            self._keep([e for e in self._list() if Path(e["frame_path"]).name != image.name])

    def add(self, frame: int, video: QueuedVideo) -> None:
        """An image, in place of one of that frame that is there."""
        folders = [path for path in (self.project / "labeled-data").glob("[!.]*")]
        folder = next((path for path in folders if path.name != "old"), folders[0].parent / "cam")
        folder.mkdir(exist_ok=True)
        image = folder / f"img{frame:08}.png"
        grey = np.full((HEIGHT_PX, WIDTH_PX, 3), 200, np.uint8)
        image.write_bytes(cv2.imencode(".png", grey)[1].tobytes())
        self.added.add(frame)
        path = str(image.relative_to(self.project))
        if path not in self._table() and path not in [e["frame_path"] for e in self._list()]:
            self._keep([*self._list(), {"frame_path": path, "predictions": OWN}])

    def traces(self) -> set[int]:
        listed = {e["frame_path"] for e in self._list() if e["predictions"] != OWN}
        images = self.project.glob("labeled-data/*/*.png")
        there = {_index(path.name) for path in images if path.parent.name != "old"}
        return (there | {_index(path) for path in listed}) - self.added

    def save(self, labels: Labels) -> None:
        rows = {
            str(self._image(frame).relative_to(self.project)): place
            for frame, place in labels.items()
        }
        table = self._header + "".join(
            f"{path},{place[0]},{place[1]},,\n" if place else f"{path},,,,\n"
            for path, place in rows.items()
        )
        (self.project / "CollectedData.csv").write_text(table)
        self._keep([entry for entry in self._list() if entry["frame_path"] not in rows])

    def _keep(self, entries: list[dict[str, Any]]) -> None:
        (self.project / LIST).write_text("".join(json.dumps(entry) + "\n" for entry in entries))

    def _table(self) -> str:
        return (self.project / "CollectedData.csv").read_text()

    def _list(self) -> list[dict[str, Any]]:
        file = self.project / LIST
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def _image(self, frame: int) -> Path:
        found = self.project.glob(f"labeled-data/*/img{frame:08}.png")
        return next(path for path in found if path.parent.name != "old")


class SharedSleapProject(SharedProject):
    """A project of SLEAP, which saves it as a whole."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        super().__init__(make_sleap_project(root / "labels.slp"))

    @property
    def folder(self) -> Path:
        return self.project.parent

    def tool(self) -> LabellingTool:
        return SleapProject(self.project, shown_frames=shown_frames)

    def shown(self) -> set[int]:
        labels = self._load()
        suggested = {each.frame_idx for each in labels.suggestions if not _is_old(each.video)}
        return suggested | {each.frame_idx for each in _persons(labels) if not _is_old(each.video)}

    def own(self) -> object:
        labels = self._load()
        frames = {
            (str(frame.video.filename), int(frame.frame_idx)): (
                frame.is_negative,
                sorted(str(_described(instance)) for instance in frame.user_instances),
                _is_old(frame.video) and len(frame.predicted_instances),
            )
            for frame in labels.labeled_frames
            if frame.user_instances or frame.is_negative or _is_old(frame.video)
        }
        suggested = [
            (str(each.video.filename), each.frame_idx, each.metadata.get("group"))
            for each in labels.suggestions
            if _is_old(each.video) or each.frame_idx in self.added
        ]
        (skeleton,) = labels.skeletons
        tracks = [track.name for track in labels.tracks]
        return frames, suggested, skeleton.node_names, skeleton.edge_names, tracks

    def remove(self, frame: int) -> None:
        """A person takes a frame off the list of suggestions; the prediction stays."""
        labels = self._load()
        labels.suggestions = [
            each for each in labels.suggestions if _is_old(each.video) or each.frame_idx != frame
        ]
        labels.save(str(self.project), embed=None)
        self.added.discard(frame)

    def add(self, frame: int, video: QueuedVideo) -> None:
        """A suggestion, and the video where the project has it not yet."""
        labels = self._load()
        if frame in self.shown():
            return
        new = [each for each in labels.videos if not _is_old(each)]
        if not new:
            new = [new_video(video, str(video.path), is_grey=False)]
            labels.videos.append(new[0])
        labels.suggestions.append(sleap_io.SuggestionFrame(new[0], frame, {"group": 7}))
        labels.save(str(self.project), embed=None)
        self.added.add(frame)

    def traces(self) -> set[int]:
        labels = self._load()
        there = [*labels.suggestions, *labels.labeled_frames]
        return {each.frame_idx for each in there if not _is_old(each.video)} - self.added

    def save(self, labels: Labels) -> None:
        there = self._load()
        new = [video for video in there.videos if not _is_old(video)]
        frames = {f.frame_idx: f for f in there.labeled_frames if not _is_old(f.video)}
        for frame in frames.values():
            frame.instances = list(frame.predicted_instances)
            frame.is_negative = False
        for index, place in labels.items():
            if index not in frames:
                frames[index] = sleap_io.LabeledFrame(new[0], index, [])
                there.append(frames[index])
            frame = frames[index]
            if place is None:
                frame.instances, frame.is_negative = [], True
                continue
            nan = (float("nan"), float("nan"))
            made = sleap_io.Instance.from_numpy([place, nan], there.skeleton)  # type: ignore[arg-type]
            made.from_predicted = next(iter(frame.predicted_instances), None)
            frame.instances.append(made)
        there.save(str(self.project), embed=None)

    def _load(self) -> sleap_io.Labels:
        return sleap_io.load_slp(str(self.project), open_videos=False)


def _is_old(video: sleap_io.Video) -> bool:
    return "old" in str(video.filename)


def _persons(labels: sleap_io.Labels) -> list[sleap_io.LabeledFrame]:
    return [frame for frame in labels.labeled_frames if frame.user_instances or frame.is_negative]


def _described(instance: sleap_io.Instance) -> tuple[object, ...]:
    track = instance.track.name if instance.track else None
    return track, instance.numpy().round(6).tolist(), instance.from_predicted is not None


def _index(image: str) -> int:
    key = image_key(image)
    return key[1] if key else int(Path(image).stem[3:])


def make_shared(kind: str, root: Path) -> SharedProject:
    """A project of a tool with something of a person's in it."""
    if kind == "sleap":
        return SharedSleapProject(root)
    if kind == "lightning_pose":
        return SharedLightningProject(root)
    return SharedFolder(kind, root)


def images_of(folder: Path) -> dict[Path, bool]:
    """Every image that a tool may show, and whether it can be decoded."""
    paths = [path for path in folder.rglob("*.png") if not _is_hidden(path.relative_to(folder))]
    return {path: cv2.imread(str(path)) is not None for path in paths}


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
