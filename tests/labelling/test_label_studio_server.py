"""Against a small server that speaks the same interface.

With `LABEL_STUDIO_URL` and `LABEL_STUDIO_TOKEN_FILE` the same round is made on a real one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from alwatch.errors import ExportError
from alwatch.labelling.label_studio import LabelStudioFolder
from alwatch.records import QueuedVideo
from tests.labelling.fake_label_studio import LEGACY_TOKEN, REFRESH_TOKEN, LabelStudio, running
from tests.labelling.helpers import make_queue, no_frames, read_frames, snapshot
from tests.labelling.image_tools import ANIMALS, posed_video


@pytest.fixture
def server() -> Iterator[LabelStudio]:
    server = LabelStudio()
    with running(server):
        yield server


@pytest.fixture
def tool(server: LabelStudio, tmp_path: Path) -> LabelStudioFolder:
    (tmp_path / "token").write_text(REFRESH_TOKEN + "\n")
    return LabelStudioFolder(tmp_path / "out", url=server.url, token_file=tmp_path / "token")


@pytest.fixture
def video(tmp_path: Path) -> QueuedVideo:
    return posed_video(tmp_path / "cam.mp4")


def write(tool: LabelStudioFolder, video: QueuedVideo) -> None:
    tool.write_queue(make_queue(video), [video], read_frames, ANIMALS)


def test_the_project_is_made_and_filled_once(
    server: LabelStudio, tool: LabelStudioFolder, video: QueuedVideo, tmp_path: Path
) -> None:
    server.projects += [{"id": n, "description": None} for n in range(-3, 0)]
    write(tool, video)
    folder = tmp_path / "out" / "queue-0003"
    *_, project = server.projects
    assert project["label_config"] == (folder / "config.xml").read_text()
    assert project["title"] == "alwatch out"
    sent = {task["data"]["alwatch"]: task for task in server.tasks}
    assert len(sent) == len(server.tasks) == 2
    assert len(min(sent.values(), key=lambda task: task["id"])["predictions"][0]["result"]) == 4
    uploads = {f"/data/{name}": content for name, content in server.uploads.values()}
    for name, task in sent.items():
        assert uploads[task["data"]["image"]] == (folder / name).read_bytes()
    before = snapshot(tmp_path)
    tool.write_queue(make_queue(video), [video], no_frames, ANIMALS)
    assert (len(server.projects), len(server.tasks), len(server.uploads)) == (4, 2, 2)
    assert snapshot(tmp_path) == before


def test_a_second_queue_goes_to_the_same_project(
    server: LabelStudio, tool: LabelStudioFolder, video: QueuedVideo, tmp_path: Path
) -> None:
    write(tool, video)
    other = posed_video(tmp_path / "2026" / "cam.mp4", frames=(1, 2, 3))
    tool.write_queue(make_queue(other, id=4), [other], read_frames, ANIMALS)
    assert {task["project"] for task in server.tasks} == {server.projects[0]["id"]}
    assert len({task["data"]["alwatch"] for task in server.tasks}) == len(server.tasks) == 5


def test_annotations_come_back_with_who_made_them(
    server: LabelStudio, tool: LabelStudioFolder, video: QueuedVideo
) -> None:
    write(tool, video)
    assert tool.read_labels() == []
    one, two = server.tasks
    result = one["predictions"][0]["result"]
    server.annotate(one["id"], {"result": result})
    server.annotate(one["id"], {"result": [], "completed_by": 2})
    server.annotate(two["id"], {"result": [], "was_cancelled": True})
    server.draft(two["id"], {"result": result})
    labels = tool.read_labels()
    assert [(label.frame, label.labeller, label.state) for label in labels] == [
        (5, "ana@lab.org", "labelled"),
        (5, "ben@lab.org", "empty"),
        (7, "ana@lab.org", "skipped"),
    ]
    assert len(labels[0].points) == 4
    assert labels[0].source.is_file()


def test_what_is_withdrawn_is_gone_from_the_server(
    server: LabelStudio, tool: LabelStudioFolder, video: QueuedVideo, tmp_path: Path
) -> None:
    other = posed_video(tmp_path / "2026" / "cam.mp4")
    tool.write_queue(make_queue(other, id=4), [other], read_frames, ANIMALS)
    tasks, uploads = [*server.tasks], dict(server.uploads)
    write(tool, video)
    assert tool.withdraw_queue(make_queue(video), [video]) == 2
    assert (server.tasks, server.uploads) == (tasks, uploads)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["queue-0004"]


@pytest.mark.parametrize("how", ["annotate", "draft"])
def test_a_queue_that_somebody_has_begun_is_not_withdrawn(
    server: LabelStudio, tool: LabelStudioFolder, video: QueuedVideo, tmp_path: Path, how: str
) -> None:
    write(tool, video)
    getattr(server, how)(server.tasks[1]["id"], {"result": []})
    before = snapshot(tmp_path / "out" / "queue-0003")
    with pytest.raises(ExportError, match=r"1 of its images are begun, cam-\w+_img007\.png among"):
        tool.withdraw_queue(make_queue(video), [video])
    assert len(server.tasks) == 2
    assert snapshot(tmp_path / "out" / "queue-0003") == before


@pytest.mark.parametrize("path", ["token", "projects", "/import", "file-upload/", "tasks"])
def test_an_export_that_the_server_breaks_off_is_completed_by_the_next(
    server: LabelStudio, tool: LabelStudioFolder, video: QueuedVideo, path: str
) -> None:
    server.failing = path
    with pytest.raises(ExportError, match=r"answers 503 to .*try again later") as caught:
        write(tool, video)
    assert "\n" not in str(caught.value)
    server.failing = None
    write(tool, video)
    assert (len(server.projects), len(server.tasks)) == (1, 2)


def test_a_legacy_token_is_sent_as_it_is(
    server: LabelStudio, tool: LabelStudioFolder, video: QueuedVideo, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(LEGACY_TOKEN)
    write(tool, video)
    assert len(server.tasks) == 2
    assert not any("token" in request for request in server.requests)


@pytest.mark.parametrize("token", ["bogus", "bogus.bogus.bogus"], ids=["legacy", "personal"])
def test_a_wrong_token_is_not_shown(
    tool: LabelStudioFolder, video: QueuedVideo, tmp_path: Path, token: str
) -> None:
    (tmp_path / "token").write_text(token)
    with pytest.raises(ExportError, match="does not accept the token in") as caught:
        write(tool, video)
    assert "bogus" not in str(caught.value)


def test_a_project_that_is_gone_is_not_taken_for_one_without_labels(
    server: LabelStudio, tool: LabelStudioFolder, video: QueuedVideo
) -> None:
    write(tool, video)
    server.projects.clear()
    with pytest.raises(ExportError, match="has no project whose description names"):
        tool.read_labels()


def test_before_the_first_queue_the_server_is_not_asked(
    server: LabelStudio, tool: LabelStudioFolder
) -> None:
    assert tool.read_labels() == []
    assert server.requests == []


def test_an_answer_of_another_shape_is_one_line(
    server: LabelStudio, tool: LabelStudioFolder, video: QueuedVideo
) -> None:
    write(tool, video)
    server.tasks[0]["data"] = None
    with pytest.raises(ExportError, match="gives an answer that is not Label Studio's") as caught:
        tool.read_labels()
    assert "\n" not in str(caught.value)


def test_a_round_on_a_real_server(video: QueuedVideo, tmp_path: Path) -> None:
    url = os.environ.get("LABEL_STUDIO_URL")
    if url is None:
        pytest.skip("LABEL_STUDIO_URL names no Label Studio server")
    token_file = Path(os.environ["LABEL_STUDIO_TOKEN_FILE"])
    tool = LabelStudioFolder(tmp_path / "out", url=url, token_file=token_file)
    write(tool, video)
    write(tool, video)
    refresh = {"refresh": token_file.read_text().strip()}
    access = httpx.post(f"{url}/api/token/refresh/", json=refresh).json()["access"]
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {access}"}) as person:
        projects = person.get("/api/projects/", params={"page_size": 1000}).json()["results"]
        (project,) = (p["id"] for p in projects if str(tmp_path) in (p["description"] or ""))
        query = {"project": project, "fields": "all"}
        one, two = person.get("/api/tasks/", params=query).json()["tasks"]
        result = one["predictions"][0]["result"]
        person.post(f"/api/tasks/{one['id']}/annotations/", json={"result": result})
        person.post(f"/api/tasks/{two['id']}/drafts", json={"result": result})
        labels = tool.read_labels()
        assert [(label.frame, label.state, len(label.points)) for label in labels] == [
            (5, "labelled", 4)
        ]
        with pytest.raises(ExportError, match="2 of its images are begun"):
            tool.withdraw_queue(make_queue(video), [video])
        for task in (one, two):
            person.delete(f"/api/tasks/{task['id']}/")
        assert tool.withdraw_queue(make_queue(video), [video]) == 2
        person.delete(f"/api/projects/{project}/")
