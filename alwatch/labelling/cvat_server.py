"""Tasks on a CVAT server, one for each queue: filled once, and what people do there comes back.

A task is known by the mark in its name, the beginning of the digest of the queue's record; the
name also says as long as it is not filled. Written for the interface of CVAT 2.80.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from alwatch.errors import ExportError, shown
from alwatch.labelling.cvat_task import TaskFrame, frames_of_job, skeleton_shape
from alwatch.labelling.folder_record import digest
from alwatch.labelling.prelabels import is_touched
from alwatch.labelling.queue_record import RECORD
from alwatch.labelling.web_api import WebApi

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from xml.etree import ElementTree

    from alwatch.records import LabelledPoint

_LEGACY_TOKEN = re.compile(r"[0-9a-f]{40}")
_UNFILLED = " (alwatch is filling it)"
_LONGEST_TITLE = 100
_MARK_CHARACTERS = 16
_UPLOAD = {"image_quality": "95"}
"""Percent, of the JPEG that CVAT shows."""
_PATIENCE_S = 300.0
_LONGEST_PAUSE_S = 5.0


class CvatServer:
    """The tasks of queues.

    Parameters
    ----------
    url : str
    token_file : Path
        Holds a personal access token, or a legacy one (40 hexadecimal digits).
    """

    def __init__(self, url: str, token_file: Path) -> None:
        self._api = WebApi(url, token_file)

    def add(
        self, folder: Path, labels: Sequence[dict[str, Any]], annotations: ElementTree.Element
    ) -> None:
        """Make a queue's task, or complete what a dead run has left of it.

        A task without frames is made anew, because to send an image twice would spoil it. Poses
        are drawn only where there is nothing, as somebody may have begun.
        """
        with self._session():
            names = [image.attrib["name"] for image in annotations.iter("image")]
            task = self._begun_task(folder)
            if task is None:
                task = self._api.post("/api/tasks", {"name": _unfilled(folder), "labels": labels})
                self._upload(int(task["id"]), folder, names)
            if _UNFILLED in task["name"]:
                self._draw(int(task["id"]), annotations)
                self._api.patch(f"/api/tasks/{int(task['id'])}", {"name": _title(folder)})

    def remove(
        self, folder: Path, drawn: Mapping[str, Sequence[LabelledPoint]], asked: str
    ) -> None:
        """Delete a queue's task, with the images; `drawn` are the poses in each.

        Raises
        ------
        ExportError
            Somebody has begun to work on it.
        """
        with self._session():
            task = self._find(folder)
            if task is None:
                return
            is_filled = _UNFILLED not in task["name"]
            begun = [
                frame.name
                for frame in (self._frames(int(task["id"])) if task.get("size") else ())
                if frame.is_begun
                or (
                    (is_filled or frame.points)
                    and is_touched(frame.points, drawn.get(frame.name, ()))
                )
            ]
            if begun:
                raise ExportError(
                    f"{asked}; at {self._api.url} {len(begun)} of its images are begun, "
                    f"{shown(begun[0])} among them, so it stays."
                )
            self._api.delete(f"/api/tasks/{int(task['id'])}")

    def frames(self, folders: Iterable[Path]) -> Iterator[tuple[Path, TaskFrame]]:
        """Every frame of every task that is filled.

        Raises
        ------
        ExportError
            The server cannot be asked, or has no task for one of the folders.
        """
        for folder in folders:
            with self._session():
                task = self._find(folder)
                if task is None:
                    raise ExportError(
                        f"{self._api.url} has no task whose name holds [{_mark(folder)}], for "
                        f"{folder}; put the name back, export the queue again, or move the folder "
                        "elsewhere."
                    )
                is_filled = _UNFILLED not in task["name"]
                found = list(self._frames(int(task["id"]))) if is_filled else []
            yield from ((folder, frame) for frame in found)

    @contextmanager
    def _session(self) -> Iterator[None]:
        with self._api.understood("CVAT", "2.80"), self._api:
            token = self._api.token()
            kind = "Token" if _LEGACY_TOKEN.fullmatch(token) else "Bearer"
            self._api.authorise(f"{kind} {token}")
            yield

    # --- filling -------------------------------------------------------------------------------

    def _find(self, folder: Path) -> dict[str, Any] | None:
        mark = f"[{_mark(folder)}]"
        tasks = self._api.pages("/api/tasks", "results", search=_mark(folder))
        return next((task for task in tasks if mark in task["name"]), None)

    def _begun_task(self, folder: Path) -> dict[str, Any] | None:
        """The task, with its frames; one that has none and gets none is removed."""
        task = self._find(folder)
        if task is None or task.get("size"):
            return task
        number = int(task["id"])
        for request in self._api.pages("/api/requests", "results", task_id=number):
            if request["status"] in ("queued", "started"):
                self._wait(request["id"])
        if self._api.get(f"/api/tasks/{number}").get("size"):
            return task
        self._api.delete(f"/api/tasks/{number}")
        return None

    def _upload(self, task: int, folder: Path, names: Iterable[str]) -> None:
        path = f"/api/tasks/{task}/data/"
        self._api.post(path, headers={"Upload-Start": "true"})
        for name in names:
            headers = {"Upload-Multiple": "true"}
            self._api.send_file(path, "client_files[0]", folder / name, _UPLOAD, headers)
        begun = self._api.post(path, _UPLOAD, headers={"Upload-Finish": "true"})
        self._wait(begun["rq_id"])

    def _wait(self, request: str) -> None:
        """Until the server has done what was asked of it.

        Raises
        ------
        ExportError
            It could not, or takes too long.
        """
        end_s, pause_s = time.monotonic() + _PATIENCE_S, 0.05
        while True:
            found = self._api.get(f"/api/requests/{quote(request, safe='')}")
            if found["status"] == "finished":
                return
            if found["status"] == "failed":
                raise ExportError(
                    f"{self._api.url} cannot take the images: "
                    f"{self._api.hidden(str(found.get('message')))}. It is tried again at the "
                    "next scan."
                )
            if time.monotonic() > end_s:
                raise ExportError(
                    f"{self._api.url} is still reading the images after {_PATIENCE_S:g} s; it is "
                    "gone on with at the next scan."
                )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _draw(self, task: int, annotations: ElementTree.Element) -> None:
        path = f"/api/tasks/{task}/annotations/"
        there = self._api.get(path)
        if there["shapes"] or there["tags"] or there["tracks"]:
            return
        frames = {name: index for index, name in enumerate(self._meta(task)[0])}
        labels = {label["name"]: label for label in self._labels(task)}
        shapes = [
            skeleton_shape(skeleton, frames[image.attrib["name"]], labels[skeleton.attrib["label"]])
            for image in annotations.iter("image")
            for skeleton in image.iter("skeleton")
        ]
        if shapes:
            self._api.put(path, {"version": 0, "tags": [], "shapes": shapes, "tracks": []})

    # --- reading -------------------------------------------------------------------------------

    def _meta(self, task: int) -> tuple[list[str], set[int]]:
        """The names of the images, by frame, and the frames that are deleted."""
        meta = self._api.get(f"/api/tasks/{task}/data/meta")
        names = [str(frame["name"]) for frame in meta["frames"]]
        return names, set(map(int, meta["deleted_frames"]))

    def _labels(self, task: int) -> Iterator[Any]:
        return self._api.pages("/api/labels", "results", task_id=task)

    def _frames(self, task: int) -> Iterator[TaskFrame]:
        """The frames of a task's jobs, without those that only measure how well people label."""
        names, deleted = self._meta(task)
        labels = {
            int(each["id"]): str(each["name"])
            for label in self._labels(task)
            for each in (label, *label["sublabels"])
        }
        for job in self._api.pages("/api/jobs", "results", task_id=task):
            if job["type"] == "annotation":
                path = f"/api/jobs/{int(job['id'])}/annotations/"
                yield from frames_of_job(job, self._api.get(path), names, deleted, labels)


def _mark(folder: Path) -> str:
    return digest(folder / RECORD)[:_MARK_CHARACTERS]


def _title(folder: Path) -> str:
    return f"alwatch {shown(folder.parent.name)[:_LONGEST_TITLE]} {folder.name} [{_mark(folder)}]"


def _unfilled(folder: Path) -> str:
    return _title(folder) + _UNFILLED
