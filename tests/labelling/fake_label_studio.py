"""A small server that speaks what alwatch uses of Label Studio's documented interface."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

REFRESH_TOKEN, ACCESS, LEGACY_TOKEN = "head.body.sign", "an-hour", "abcdef0123"


class LabelStudio(ThreadingHTTPServer):
    """The state of the server; `failing` paths answer 503, `requests` is what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.projects: list[dict[str, Any]] = []
        self.tasks: list[dict[str, Any]] = []
        self.uploads: dict[int, tuple[str, bytes]] = {}
        self.requests: list[str] = []
        self.failing: str | None = None
        self.page_size = 2
        self._last_id = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def annotate(self, task: int, content: dict[str, Any]) -> None:
        at = f"2026-05-01T00:00:{self.new_id():02}Z"
        given = {"id": self._last_id, "completed_by": 1, "was_cancelled": False, "updated_at": at}
        self._task(task)["annotations"].append(given | content)

    def draft(self, task: int, content: dict[str, Any]) -> None:
        self._task(task)["drafts"].append(content)

    def _task(self, task: int) -> dict[str, Any]:
        return next(each for each in self.tasks if each["id"] == task)


class _Handler(BaseHTTPRequestHandler):
    server: LabelStudio

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_DELETE = do_GET

    def _serve(self) -> None:
        address = urlsplit(self.path)
        self.asked = {name: values[0] for name, values in parse_qs(address.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(f"{self.command} {address.path}")
        if self.server.failing and self.server.failing in self.path:
            return self._answer(503, {"detail": "try again later"})
        if address.path == "/api/token/refresh/":
            is_right = json.loads(self.body)["refresh"] == REFRESH_TOKEN
            return self._answer(200 if is_right else 401, {"access": ACCESS})
        rights = self.headers.get("Authorization")
        if rights not in (f"Bearer {ACCESS}", f"Token {LEGACY_TOKEN}"):
            return self._answer(401, {"detail": "Invalid token."})
        for pattern, method in _ROUTES.items():
            found = re.fullmatch(pattern, f"{self.command} {address.path}")
            if found:
                return self._answer(*method(self, *map(int, found.groups())))
        return self._answer(404, {"detail": "Not found."})

    def _answer(self, status: int, content: Any) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _json(self) -> Any:
        return json.loads(self.body)

    def _page(self, items: list[Any]) -> tuple[list[Any], bool]:
        size = min(int(self.asked["page_size"]), self.server.page_size)
        start = (int(self.asked["page"]) - 1) * size
        return items[start : start + size], start + size < len(items)

    def users(self) -> tuple[int, Any]:
        return 200, [{"id": 1, "email": "ana@lab.org"}, {"id": 2, "email": "ben@lab.org"}]

    def list_projects(self) -> tuple[int, Any]:
        results, more = self._page(self.server.projects)
        return 200, {"results": results, "next": "there" if more else None}

    def add_project(self) -> tuple[int, Any]:
        project = self._json() | {"id": self.server.new_id()}
        if not 3 <= len(project["title"]) <= 50:
            return 400, {"validation_errors": {"title": ["3 to 50 characters"]}}
        self.server.projects.append(project)
        return 201, project

    def import_tasks(self, project: int) -> tuple[int, Any]:
        if self.headers["Content-Type"].startswith("multipart/form-data"):
            assert self.asked == {"commit_to_project": "false"}
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            (part,) = BytesParser(policy=HTTP).parsebytes(head + self.body).iter_parts()
            upload = self.server.new_id()
            name = f"upload/{project}/{upload:08x}-{part.get_filename()}"
            self.server.uploads[upload] = (name, part.get_payload(decode=True))
            return 201, {"file_upload_ids": [upload]}
        for task in self._json():
            given = {"id": self.server.new_id(), "project": project}
            self.server.tasks.append(
                {"predictions": [], "annotations": [], "drafts": []} | task | given
            )
        return 201, {}

    def upload(self, upload: int) -> tuple[int, Any]:
        return 200, {"id": upload, "file": self.server.uploads[upload][0]}

    def uploads(self, project: int) -> tuple[int, Any]:
        return 200, [{"id": id, "file": name} for id, (name, _) in self.server.uploads.items()]

    def delete_uploads(self, project: int) -> tuple[int, Any]:
        for upload in self._json()["file_upload_ids"]:
            del self.server.uploads[upload]
        return 200, {}

    def list_tasks(self) -> tuple[int, Any]:
        of_project = [t for t in self.server.tasks if str(t["project"]) == self.asked["project"]]
        tasks, _ = self._page(of_project)
        if self.asked.get("fields") != "all":
            tasks = [{"id": task["id"], "data": task["data"]} for task in tasks]
        return 200, {"tasks": tasks, "total": len(of_project)}

    def delete_task(self, task: int) -> tuple[int, Any]:
        self.server.tasks = [each for each in self.server.tasks if each["id"] != task]
        return 204, None


_ROUTES = {
    "GET /api/users/": _Handler.users,
    "GET /api/projects/": _Handler.list_projects,
    "POST /api/projects/": _Handler.add_project,
    r"POST /api/projects/(\d+)/import": _Handler.import_tasks,
    r"GET /api/import/file-upload/(\d+)": _Handler.upload,
    r"GET /api/projects/(\d+)/file-uploads": _Handler.uploads,
    r"DELETE /api/projects/(\d+)/file-uploads": _Handler.delete_uploads,
    "GET /api/tasks/": _Handler.list_tasks,
    r"DELETE /api/tasks/(\d+)/": _Handler.delete_task,
}


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[None]:
    """Serve in a thread until the body ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
