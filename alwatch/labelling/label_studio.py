"""Queues for, and labels from, Label Studio.

Beside the images lie `config.xml`, the labelling interface: one `KeyPointLabels` for each animal,
named after it; and `tasks.json` to import, with the model's poses as predictions. Its images are
addresses of Label Studio's local files, relative to its default document root. With `url` and
`token_file` the project is made on the server and filled, images included.

Labels come from the server; without one, from its exports put into the queue's folder, in the
formats JSON and JSON-MIN, the newest first: a task that one has without an annotation is not
labelled, whatever older ones say. What was submitted is a label, what was skipped is passed over,
and what was submitted without a point says that nothing is there. Drafts and predictions are none.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, unquote
from xml.sax.saxutils import quoteattr

from alwatch.errors import ExportError
from alwatch.labelling.label_file import read_label_file
from alwatch.labelling.label_studio_server import LabelStudioServer
from alwatch.labelling.prelabels import groups_of, prelabels
from alwatch.labelling.queue_folder import UNREADABLE_JSON, QueueFolder, image_key
from alwatch.labelling.queue_record import RECORD, QueuedImage
from alwatch.records import LabelledFrame, LabelledPoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from alwatch.records import Queue, Skeleton

_TASKS, _CONFIG = "tasks.json", "config.xml"
_NAMELESS = ("animal", "scene")
_SIZE_PERCENT = 0.75


class LabelStudioFolder(QueueFolder):
    """A folder that takes queues for Label Studio.

    Label Studio measures in percent of the image from its edge, half a pixel before the centre of
    the first pixel, which is alwatch's 0.

    Parameters
    ----------
    directory : Path
    url : str, optional
        The server to make the project on.
    token_file : Path, optional
        A file that holds the token of a person there.
    """

    tool: ClassVar[str] = "label_studio"

    def __init__(
        self, directory: Path, *, url: str | None = None, token_file: Path | None = None
    ) -> None:
        super().__init__(directory)
        self._server = None
        if url is not None and token_file is not None:
            self._server = LabelStudioServer(url, token_file, self._directory)

    def _documents(
        self, folder: Path, images: Sequence[QueuedImage], skeleton: Skeleton
    ) -> dict[str, bytes]:
        tasks = [_task(folder, image, skeleton) for image in images]
        return {
            _TASKS: (json.dumps(tasks, indent=1) + "\n").encode(),
            _CONFIG: _config(skeleton).encode(),
        }

    def _send(self, folder: Path) -> None:
        if self._server is not None:
            config = (folder / _CONFIG).read_text(encoding="utf-8")
            self._server.add(folder, _read(folder / _TASKS), config)

    def _take_back(self, queue: Queue, folder: Path) -> None:
        if self._server is not None:
            asked = f"Queue {queue.id} was to be taken out of {folder}"
            self._server.remove(_names(folder), asked)

    def _labels(self, folders: Sequence[Path]) -> Iterable[LabelledFrame]:
        if self._server is None:
            yield from super()._labels(folders)
            return
        sources = {name: folder / _TASKS for folder in folders for name in _names(folder)}
        with self._server.understood():
            for task, people in self._server.annotated() if sources else ():
                name = task["data"].get("alwatch")
                if name in sources:
                    yield from self._of_task(task, sources[name], people)

    def _labels_in(self, folder: Path) -> Iterable[LabelledFrame]:
        exports = [f for f in folder.glob("*.json") if f.name not in (_TASKS, RECORD)]
        newest_first = sorted(exports, key=lambda file: (-file.stat().st_mtime_ns, file.name))
        taken_back: set[tuple[str, int] | None] = set()
        for source in newest_first:
            try:
                tasks = [_as_full(task) for task in _read(source)]
                keys = [_key(task) for task in tasks]
                for key, task in zip(keys, tasks, strict=True):
                    if key not in taken_back:
                        yield from self._of_task(task, source, {})
                bare = [not task["annotations"] for task in tasks]
            except UNREADABLE_JSON as error:
                raise _unreadable(source, error) from error
            taken_back.update(key for key, is_bare in zip(keys, bare, strict=True) if is_bare)

    def _of_task(
        self, task: dict[str, Any], source: Path, people: Mapping[int, str]
    ) -> Iterator[LabelledFrame]:
        key = _key(task)
        if key is None:
            return
        latest = sorted(task["annotations"], key=lambda a: str(a.get("updated_at")), reverse=True)
        for annotation in latest:
            who = _labeller(annotation.get("completed_by"), people)
            points = tuple(_points(annotation["result"]))
            if annotation.get("was_cancelled"):
                yield LabelledFrame(self._directory, *key, source, (), who, "skipped")
            elif points:
                yield LabelledFrame(self._directory, *key, source, points, who)
            else:
                yield LabelledFrame(self._directory, *key, source, (), who, "empty")


def _key(task: dict[str, Any]) -> tuple[str, int] | None:
    return image_key(task["data"].get("alwatch") or unquote(task["data"]["image"]))


def _config(skeleton: Skeleton) -> str:
    lines = ["<View>", '  <Image name="image" value="$image" zoom="true" zoomControl="true"/>']
    groups = groups_of(skeleton)
    for group in groups:
        name = quoteattr(group.name)
        if len(groups) > 1:
            lines.append(f"  <Header value={name}/>")
        lines.append(f'  <KeyPointLabels name={name} toName="image" strokeWidth="3">')
        lines += [f"    <Label value={quoteattr(bodypart)}/>" for bodypart in group.bodyparts]
        lines.append("  </KeyPointLabels>")
    return "\n".join([*lines, "</View>", ""])


def _task(folder: Path, image: QueuedImage, skeleton: Skeleton) -> dict[str, Any]:
    address = f"/data/local-files/?d={quote(str(folder / image.name).lstrip('/'))}"
    task: dict[str, Any] = {"data": {"image": address, "alwatch": image.name}}
    width_px, height_px = image.video.width_px, image.video.height_px
    drawn = [(group, p) for group in groups_of(skeleton) for p in prelabels(image.pose, group)]
    if drawn:
        result = [
            {
                "id": f"{group.name}-{number}",
                "from_name": group.name,
                "to_name": "image",
                "type": "keypointlabels",
                "original_width": width_px,
                "original_height": height_px,
                "image_rotation": 0,
                "score": round(point.likelihood, 4),
                "value": {
                    "x": (point.x_px + 0.5) / width_px * 100,
                    "y": (point.y_px + 0.5) / height_px * 100,
                    "width": _SIZE_PERCENT,
                    "keypointlabels": [point.bodypart],
                },
            }
            for number, (group, point) in enumerate(drawn)
        ]
        score = round(sum(point.likelihood for _, point in drawn) / len(drawn), 4)
        task["predictions"] = [{"model_version": skeleton.source, "score": score, "result": result}]
    return task


def _as_full(task: dict[str, Any]) -> dict[str, Any]:
    """A task of a JSON-MIN export, in which every annotation is one, as one of a JSON export.

    A task without annotations is in it too if all tasks were exported, as one without a number.
    """
    if "annotations" in task:
        return task
    data = {"alwatch": task.get("alwatch"), "image": task["image"]}
    if task.get("annotation_id") is None:
        return {"data": data, "annotations": []}
    result = [
        {"type": "keypointlabels", "from_name": name, "value": value} | value
        for name, values in task.items()
        if isinstance(values, list)
        for value in values
        if "keypointlabels" in value
    ]
    annotation = {
        "completed_by": task["annotator"],
        "updated_at": task.get("updated_at"),
        "result": result,
    }
    return {"data": data, "annotations": [annotation]}


def _points(result: Iterable[dict[str, Any]]) -> Iterator[LabelledPoint]:
    for region in result:
        if region.get("type") == "keypointlabels":
            value, name = region["value"], str(region["from_name"])
            x_px = float(value["x"]) / 100 * float(region["original_width"]) - 0.5
            y_px = float(value["y"]) / 100 * float(region["original_height"]) - 0.5
            individual = "" if name in _NAMELESS else name
            if not (math.isfinite(x_px) and math.isfinite(y_px)):
                raise ValueError(f"a point at {value['x']}, {value['y']} percent")
            yield LabelledPoint(individual, str(value["keypointlabels"][0]), x_px, y_px)


def _labeller(completed_by: Any, people: Mapping[int, str]) -> str:
    """The person's address where it is known, else the number."""
    if isinstance(completed_by, dict):
        return str(completed_by.get("email") or completed_by.get("id") or "")
    return people.get(completed_by, "" if completed_by is None else f"user {completed_by}")


def _names(folder: Path) -> list[str]:
    return [task["data"]["alwatch"] for task in _read(folder / _TASKS)]


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        tasks = json.loads(read_label_file(file))
        if not isinstance(tasks, list):
            raise ValueError(f"it is a {type(tasks).__name__}, not a list of tasks")
    except (ValueError, RecursionError) as error:
        raise _unreadable(file, error) from error
    return tasks


def _unreadable(file: Path, error: Exception) -> ExportError:
    return ExportError(
        f"{file} must be an export of Label Studio as JSON or JSON-MIN; reading it gave "
        f"{error!r}. Export it again."
    )
