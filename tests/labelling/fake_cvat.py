"""A small server that speaks what alwatch uses of CVAT's documented interface."""

from __future__ import annotations

import json
import re
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN, LEGACY_TOKEN = "abcdefgh.secret0123", "0123456789abcdef" * 2 + "01234567"
KIND = "application/vnd.cvat+json"
"""The one kind of answer that CVAT gives."""
Answer = tuple[int, Any]


class Cvat(ThreadingHTTPServer):
    """The state of the server.

    `failing` paths answer 503; after `n_left` requests it hears no more, or it hears but says
    nothing where it `is_mute`; `reading` says what becomes of images that have come: finished,
    failed or started.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tasks: list[dict[str, Any]] = []
        self.labels: dict[int, list[dict[str, Any]]] = {}
        self.files: dict[int, dict[str, bytes]] = {}
        self.annotations: dict[int, dict[str, Any]] = {}
        self.deleted: dict[int, list[int]] = {}
        self.jobs: list[dict[str, Any]] = []
        self.background: list[dict[str, Any]] = []
        self.sent: list[tuple[str, Any]] = []
        self.failing: str | None = None
        self.n_left = 1 << 30
        self.is_mute = False
        self.reading = "finished"
        self.page_size = 2
        self._last_id = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def finish_reading(self, task: dict[str, Any]) -> None:
        """Images come by the order of their names; one job takes them all."""
        self.files[task["id"]] = dict(sorted(self.files[task["id"]].items()))
        task["size"] = len(self.files[task["id"]])
        self.deleted[task["id"]] = []
        self.annotations[task["id"]] = {"version": 0, "tags": [], "shapes": [], "tracks": []}
        self.jobs.append(
            {
                "id": self.new_id(),
                "task_id": task["id"],
                "type": "annotation",
                "stage": "annotation",
                "state": "new",
                "assignee": None,
                "start_frame": 0,
                "stop_frame": task["size"] - 1,
            }
        )

    def work(self, **changes: Any) -> dict[str, Any]:
        """Somebody changes the latest job; returns the annotations of its task, to be changed."""
        self.jobs[-1].update(changes)
        found: dict[str, Any] = self.annotations[self.jobs[-1]["task_id"]]
        return found

    def tag(self, frame: int, name: str) -> None:
        task = self.jobs[-1]["task_id"]
        (label,) = (label["id"] for label in self.labels[task] if label["name"] == name)
        self.annotations[task]["tags"].append({"frame": frame, "label_id": label})


class _Handler(BaseHTTPRequestHandler):
    server: Cvat

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _serve(self) -> None:
        address = urlsplit(self.path)
        self.asked = {name: values[0] for name, values in parse_qs(address.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.n_left -= 1
        if self.server.n_left < 0 and not self.server.is_mute:
            self.close_connection = True
            return
        if self.server.failing and self.server.failing in f"{self.command} {self.path}":
            return self._answer(503, {"detail": "try again later"})
        if self.headers.get("Authorization") not in (f"Bearer {TOKEN}", f"Token {LEGACY_TOKEN}"):
            return self._answer(401, {"detail": "Invalid token."})
        if self.headers["Accept"] not in ("*/*", KIND):
            return self._answer(406, {"detail": "Could not satisfy the Accept header."})
        for pattern, method in _ROUTES.items():
            found = re.fullmatch(pattern, f"{self.command} {address.path}")
            if found:
                return self._answer(*method(self, *found.groups()))
        return self._answer(404, {"detail": "Not found."})

    def _answer(self, status: int, content: Any) -> None:
        if self.server.n_left < 0:
            self.close_connection = True
            return
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", KIND)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _json(self) -> Any:
        content = json.loads(self.body)
        self.server.sent.append((f"{self.command} {urlsplit(self.path).path}", content))
        return content

    def _page(self, items: list[Any]) -> Answer:
        size = min(int(self.asked["page_size"]), self.server.page_size)
        start = (int(self.asked["page"]) - 1) * size
        more = "there" if start + size < len(items) else None
        results = items[start : start + size]
        return 200, {"count": len(items), "next": more, "previous": None, "results": results}

    def _task(self, task: str) -> dict[str, Any] | None:
        return next((each for each in self.server.tasks if each["id"] == int(task)), None)

    def list_tasks(self) -> Answer:
        search = self.asked["search"]
        return self._page([task for task in self.server.tasks if search in task["name"]])

    def add_task(self) -> Answer:
        content = self._json()
        task = {"id": self.server.new_id(), "name": content["name"]}
        self.server.labels[task["id"]] = [
            label
            | {"id": self.server.new_id()}
            | {
                "sublabels": [
                    sub | {"id": self.server.new_id()} for sub in label.get("sublabels", [])
                ]
            }
            for label in content["labels"]
        ]
        self.server.files[task["id"]] = {}
        self.server.tasks.append(task)
        return 201, task

    def task(self, task: str) -> Answer:
        found = self._task(task)
        return (200, found) if found else (404, None)

    def rename_task(self, task: str) -> Answer:
        found = self._task(task)
        assert found is not None
        found |= self._json()
        return 200, found

    def delete_task(self, task: str) -> Answer:
        self.server.tasks = [each for each in self.server.tasks if each["id"] != int(task)]
        self.server.jobs = [each for each in self.server.jobs if each["task_id"] != int(task)]
        del self.server.files[int(task)]
        return 204, None

    def add_data(self, task: str) -> Answer:
        """An image that is sent twice gets longer, as with CVAT."""
        found = self._task(task)
        if found is None or found.get("size"):
            return 400, "Adding more data is not supported"
        if "Upload-Start" in self.headers:
            return 202, None
        if "Upload-Multiple" in self.headers:
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            parts = BytesParser(policy=HTTP).parsebytes(head + self.body).iter_parts()
            for part in parts:
                if part.get_param("name", header="Content-Disposition") == "client_files[0]":
                    files = self.server.files[int(task)]
                    name = str(part.get_filename())
                    files[name] = files.get(name, b"") + part.get_payload(decode=True)
            return 200, None
        assert "Upload-Finish" in self.headers
        assert self._json()["image_quality"]
        request = {
            "id": f"action=create&target=task&target_id={task}",
            "status": self.server.reading,
            "message": "no image in it",
            "operation": {"task_id": int(task)},
        }
        self.server.background.append(request)
        if self.server.reading == "finished":
            self.server.finish_reading(found)
        return 202, {"rq_id": request["id"]}

    def list_requests(self) -> Answer:
        number = int(self.asked["task_id"])
        found = [r for r in self.server.background if r["operation"]["task_id"] == number]
        return self._page(found)

    def request(self, request: str) -> Answer:
        found = [r for r in self.server.background if r["id"] == unquote(request)]
        return (200, found[-1]) if found else (404, None)

    def meta(self, task: str) -> Answer:
        names = self.server.files[int(task)]
        frames = [{"name": name, "width": 64, "height": 48} for name in names]
        return 200, {"frames": frames, "deleted_frames": self.server.deleted[int(task)]}

    def list_labels(self) -> Answer:
        return self._page(self.server.labels[int(self.asked["task_id"])])

    def list_jobs(self) -> Answer:
        number = int(self.asked["task_id"])
        return self._page([job for job in self.server.jobs if job["task_id"] == number])

    def of_task(self, task: str) -> Answer:
        return 200, self.server.annotations[int(task)]

    def of_job(self, job: str) -> Answer:
        (found,) = (each for each in self.server.jobs if each["id"] == int(job))
        return 200, self.server.annotations[found["task_id"]]

    def put_annotations(self, task: str) -> Answer:
        labels = self.server.labels[int(task)]
        content = self._json()
        for shape in content["shapes"]:
            (label,) = (label for label in labels if label["id"] == shape["label_id"])
            parts = [part["id"] for part in label["sublabels"]]
            assert [part["label_id"] for part in shape["elements"]] == parts
        self.server.annotations[int(task)] = content
        return 200, content


_ROUTES = {
    "GET /api/tasks": _Handler.list_tasks,
    "POST /api/tasks": _Handler.add_task,
    r"GET /api/tasks/(\d+)": _Handler.task,
    r"PATCH /api/tasks/(\d+)": _Handler.rename_task,
    r"DELETE /api/tasks/(\d+)": _Handler.delete_task,
    r"POST /api/tasks/(\d+)/data/": _Handler.add_data,
    r"GET /api/tasks/(\d+)/data/meta": _Handler.meta,
    r"GET /api/tasks/(\d+)/annotations/": _Handler.of_task,
    r"PUT /api/tasks/(\d+)/annotations/": _Handler.put_annotations,
    r"GET /api/jobs/(\d+)/annotations/": _Handler.of_job,
    "GET /api/requests": _Handler.list_requests,
    r"GET /api/requests/([^/]+)": _Handler.request,
    "GET /api/labels": _Handler.list_labels,
    "GET /api/jobs": _Handler.list_jobs,
}
