"""A project on a Label Studio server: tasks go there once, annotations come back.

The server's project is the one whose description names the folder of the queues. A task is known
by `data.alwatch`, the name of its image. Written for the interface of Label Studio 1.23.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from alwatch.errors import ExportError
from alwatch.labelling.web_api import WebApi

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

_LONGEST_TITLE = 50


class LabelStudioServer:
    """The project of one folder.

    Parameters
    ----------
    url : str
    token_file : Path
        Holds a personal access token, or a legacy token.
    directory : Path
        The folder of the queues.
    """

    def __init__(self, url: str, token_file: Path, directory: Path) -> None:
        self._api = WebApi(url, token_file)
        self._directory = directory

    def add(self, folder: Path, tasks: Sequence[dict[str, Any]], config: str) -> None:
        """Make the project if there is none, and the tasks that it has not.

        Images are uploaded one by one, each with its task, so that what a dead run leaves is
        completed by the next one.
        """
        with self._session():
            project = self._project()
            if project is None:
                project = self._create(config)
            there = {_name(task) for task in self._tasks(project)}
            for task in tasks:
                if task["data"]["alwatch"] not in there:
                    self._add_task(project, folder, task)

    def remove(self, names: Collection[str], asked: str) -> None:
        """Delete the tasks of these images, with the images.

        Raises
        ------
        ExportError
            Somebody has begun to work on one of them.
        """
        with self._session():
            project = self._project()
            tasks = [] if project is None else list(self._tasks(project))
            tasks = [task for task in tasks if _name(task) in names]
            begun = [task for task in tasks if task["annotations"] or task.get("drafts")]
            if begun:
                raise ExportError(
                    f"{asked}; at {self._api.url} {len(begun)} of its images are begun, "
                    f"{_name(begun[0])} among them, so it stays."
                )
            for task in tasks:
                self._api.delete(f"/api/tasks/{int(task['id'])}/")
            if tasks:
                self._remove_uploads(int(project or 0), {task["data"]["image"] for task in tasks})

    def annotated(self) -> Iterator[tuple[dict[str, Any], dict[int, str]]]:
        """Every task of the project, and the people's addresses by their numbers.

        Raises
        ------
        ExportError
            The server cannot be asked, or has no such project.
        """
        with self._session():
            project = self._project()
            if project is None:
                raise ExportError(
                    f"{self._api.url} has no project whose description names {self._directory}; "
                    "put that back, or export a queue again."
                )
            people = {int(user["id"]): str(user["email"]) for user in self._api.get("/api/users/")}
            for task in self._tasks(project):
                yield task, people

    @contextmanager
    def _session(self) -> Iterator[None]:
        with self.understood(), self._api:
            self._log_in()
            yield

    def understood(self) -> AbstractContextManager[None]:
        """Turn an answer of another shape than documented into one line."""
        return self._api.understood("Label Studio", "1.20")

    def _log_in(self) -> None:
        """A personal access token, which has two dots, only gives the right to ask for another."""
        token = self._api.token()
        if token.count(".") == 2:
            given = self._api.post("/api/token/refresh/", {"refresh": token})
            self._api.authorise(f"Bearer {given['access']}")
        else:
            self._api.authorise(f"Token {token}")

    def _project(self) -> int | None:
        for project in self._api.pages("/api/projects/", "results"):
            if f"[{self._directory}]" in (project["description"] or ""):
                return int(project["id"])
        return None

    def _create(self, config: str) -> int:
        content = {
            "title": f"alwatch {self._directory.name}"[:_LONGEST_TITLE],
            "description": f"Frames that alwatch has queued in [{self._directory}]",
            "label_config": config,
        }
        return int(self._api.post("/api/projects/", content)["id"])

    def _tasks(self, project: int) -> Iterator[dict[str, Any]]:
        return self._api.pages("/api/tasks/", "tasks", project=project, fields="all")

    def _add_task(self, project: int, folder: Path, task: dict[str, Any]) -> None:
        name = task["data"]["alwatch"]
        path = f"/api/projects/{project}/import"
        sent = self._api.send_file(path, "file", folder / name, commit_to_project="false")
        upload = self._api.get(f"/api/import/file-upload/{int(sent['file_upload_ids'][0])}")
        data = task["data"] | {"image": f"/data/{upload['file']}"}
        self._api.post(path, [task | {"data": data}])

    def _remove_uploads(self, project: int, images: Collection[str]) -> None:
        path = f"/api/projects/{project}/file-uploads"
        uploads = [
            u["id"] for u in self._api.get(path, all="true") if f"/data/{u['file']}" in images
        ]
        self._api.delete(path, {"file_upload_ids": uploads})


def _name(task: dict[str, Any]) -> str:
    return str(task["data"].get("alwatch", ""))
