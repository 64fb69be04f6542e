"""Against a small server that speaks the same interface.

With `CVAT_URL` and `CVAT_TOKEN` the same round is made on a real one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from alwatch.errors import ExportError
from alwatch.labelling import cvat_server
from alwatch.labelling.cvat import CvatFolder
from alwatch.records import LabelledFrame, QueuedVideo
from tests.labelling.fake_cvat import LEGACY_TOKEN, TOKEN, Cvat
from tests.labelling.fake_label_studio import running
from tests.labelling.helpers import make_queue, no_frames, read_frames, snapshot
from tests.labelling.image_tools import ANIMALS, DRAWN, posed_video


@pytest.fixture
def server() -> Iterator[Cvat]:
    server = Cvat()
    with running(server):
        yield server


@pytest.fixture
def tool(server: Cvat, tmp_path: Path) -> CvatFolder:
    (tmp_path / "token").write_text(TOKEN + "\n")
    return CvatFolder(tmp_path / "out", url=server.url, token_file=tmp_path / "token")


@pytest.fixture
def video(tmp_path: Path) -> QueuedVideo:
    return posed_video(tmp_path / "cam.mp4")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out" / "queue-0003"


def write(tool: CvatFolder, video: QueuedVideo) -> None:
    tool.write_queue(make_queue(video), [video], read_frames, ANIMALS)


def states(labels: list[LabelledFrame]) -> list[tuple[int, str, str]]:
    return [(label.frame, label.labeller, label.state) for label in labels]


def places(label: LabelledFrame) -> set[tuple[str, str, float, float]]:
    return {(p.individual, p.bodypart, p.x_px, p.y_px) for p in label.points}


def check_whole(server: Cvat, folder: Path) -> None:
    (task,) = server.tasks
    images = {path.name: path.read_bytes() for path in folder.glob("*.png")}
    assert task["name"].startswith("alwatch out queue-0003 [")
    assert task["name"].endswith("]")
    assert server.files[task["id"]] == images
    assert len(server.annotations[task["id"]]["shapes"]) == 3


def test_a_task_is_made_and_filled_once(
    server: Cvat, tool: CvatFolder, video: QueuedVideo, folder: Path, tmp_path: Path
) -> None:
    server.tasks += [{"id": -n, "name": f"a person's {n}"} for n in range(3)]
    write(tool, video)
    (task,) = server.tasks[3:]
    first, second, scene = server.annotations[task["id"]]["shapes"]
    names = [label["name"] for label in server.labels[task["id"]]]
    assert names == ["individual1", "individual2", "scene", "checked", "skipped"]
    assert (first["frame"], first["type"], first["points"]) == (0, "skeleton", [])
    assert [part["points"] for part in first["elements"]] == [[10.75, 21.0], [30.5, 8.625]]
    assert [part["outside"] for part in second["elements"]] == [True, False]
    assert scene["elements"][0]["points"] == [0.5, 0.5]
    server.tasks = server.tasks[3:]
    check_whole(server, folder)
    before, n_sent = snapshot(tmp_path), len(server.sent)
    tool.write_queue(make_queue(video), [video], no_frames, ANIMALS)
    check_whole(server, folder)
    assert (snapshot(tmp_path), len(server.sent)) == (before, n_sent)


def test_cvats_own_kit_accepts_what_is_sent(
    server: Cvat, tool: CvatFolder, video: QueuedVideo
) -> None:
    models = pytest.importorskip("cvat_sdk.models")
    write(tool, video)
    for path, content in server.sent:
        if path.endswith("/annotations/"):
            for shape in content.pop("shapes"):
                parts = [models.SubLabeledShapeRequest(**p) for p in shape.pop("elements")]
                made = models.LabeledShapeRequest(**shape, elements=parts)
                assert made.to_dict()["type"] == "skeleton"
            assert models.LabeledDataRequest(**content).version == 0
        elif path.endswith("/data/"):
            quality = int(content["image_quality"])
            assert models.DataRequest(image_quality=quality).image_quality == quality
        else:
            content.pop("labels", None)
            assert models.TaskWriteRequest(**content).name == content["name"]


def test_cvats_own_kit_knows_what_is_read(
    server: Cvat, tool: CvatFolder, video: QueuedVideo
) -> None:
    models = pytest.importorskip("cvat_sdk.models")
    write(tool, video)
    (task,) = server.tasks
    found = server.annotations[task["id"]]
    found["tags"].append({"frame": 0, "label_id": 1})
    for model, answer in (
        ("TaskRead", task),
        ("JobRead", server.jobs[0] | {"assignee": None}),
        ("BasicUser", {"username": "ana"}),
        ("Label", server.labels[task["id"]][0]),
        ("Sublabel", server.labels[task["id"]][0]["sublabels"][0]),
        ("Request", server.background[0]),
        ("DataMetaRead", {"frames": [], "deleted_frames": []}),
        ("FrameMeta", {"name": "a.png"}),
        ("LabeledData", found),
        ("LabeledShape", found["shapes"][0]),
        ("SubLabeledShape", found["shapes"][0]["elements"][0]),
        ("LabeledImage", found["tags"][0]),
    ):
        assert set(answer) <= set(getattr(models, model).attribute_map), model


def test_each_queue_has_a_task_of_its_own(
    server: Cvat, tool: CvatFolder, video: QueuedVideo, tmp_path: Path
) -> None:
    write(tool, video)
    other = posed_video(tmp_path / "2026" / "cam.mp4", frames=(1, 2, 3))
    tool.write_queue(make_queue(other, id=4), [other], read_frames, ANIMALS)
    assert [task["size"] for task in server.tasks] == [2, 3]
    server.work(state="completed")
    assert [label.frame for label in tool.read_labels()] == [1, 2, 3]


def test_poses_that_nobody_has_touched_are_no_labels(
    server: Cvat, tool: CvatFolder, video: QueuedVideo
) -> None:
    write(tool, video)
    assert tool.read_labels() == []
    server.work(state="in progress")["shapes"][0]["elements"][0]["points"] = [1.0, 2.0]
    assert tool.read_labels() == []


def test_a_completed_job_gives_all_its_frames(
    server: Cvat, tool: CvatFolder, video: QueuedVideo
) -> None:
    write(tool, video)
    done = server.work(state="completed", assignee={"id": 1, "username": "ana"})
    done["shapes"][0]["elements"][0]["points"] = [12.0, 21.5]
    labels = tool.read_labels()
    assert states(labels) == [(5, "ana", "labelled"), (7, "ana", "empty")]
    assert places(labels[0]) == (DRAWN - {("individual1", "nose", 10.25, 20.5)}) | {
        ("individual1", "nose", 11.5, 21.0)
    }
    assert labels[0].source.is_file()


@pytest.mark.parametrize(
    ("stage", "state", "n_labels"),
    [
        ("validation", "new", 2),
        ("validation", "rejected", 0),
        ("acceptance", "completed", 2),
        ("annotation", "rejected", 0),
    ],
)
def test_a_job_that_is_handed_on_is_done_until_it_is_rejected(
    server: Cvat, tool: CvatFolder, video: QueuedVideo, stage: str, state: str, n_labels: int
) -> None:
    write(tool, video)
    server.work(stage=stage, state=state)
    assert len(tool.read_labels()) == n_labels


def test_a_job_that_is_given_to_another_person_leaves_no_labels_of_the_first(
    server: Cvat, tool: CvatFolder, video: QueuedVideo
) -> None:
    write(tool, video)
    server.work(state="completed", assignee={"id": 1, "username": "ana"})
    assert {label.labeller for label in tool.read_labels()} == {"ana"}
    server.work(state="in progress", assignee={"id": 2, "username": "ben"})
    assert tool.read_labels() == []
    server.work(state="completed")
    assert {label.labeller for label in tool.read_labels()} == {"ben"}


def test_a_deleted_frame_and_tags_count_before_the_job_is_done(
    server: Cvat, tool: CvatFolder, video: QueuedVideo
) -> None:
    write(tool, video)
    server.tag(0, "checked")
    server.deleted[server.tasks[0]["id"]] = [1]
    assert states(tool.read_labels()) == [(5, "", "labelled"), (7, "", "skipped")]
    server.deleted[server.tasks[0]["id"]] = []
    server.tag(1, "skipped")
    assert states(tool.read_labels()) == [(5, "", "labelled"), (7, "", "skipped")]


def test_a_job_that_measures_people_gives_no_labels(
    server: Cvat, tool: CvatFolder, video: QueuedVideo
) -> None:
    write(tool, video)
    server.jobs.append(server.jobs[0] | {"id": 99, "type": "ground_truth", "state": "completed"})
    assert tool.read_labels() == []


def test_tracks_are_refused_in_one_line(server: Cvat, tool: CvatFolder, video: QueuedVideo) -> None:
    write(tool, video)
    server.work(state="completed")["tracks"].append({"frame": 1, "shapes": [], "elements": []})
    with pytest.raises(ExportError, match=r"has tracks, from frame 1 on.*Draw them as shapes"):
        tool.read_labels()


def test_what_is_withdrawn_is_gone_from_the_server(
    server: Cvat, tool: CvatFolder, video: QueuedVideo, tmp_path: Path
) -> None:
    other = posed_video(tmp_path / "2026" / "cam.mp4")
    tool.write_queue(make_queue(other, id=4), [other], read_frames, ANIMALS)
    tasks = [*server.tasks]
    write(tool, video)
    assert tool.withdraw_queue(make_queue(video), [video]) == 2
    assert server.tasks == tasks
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["queue-0004"]


@pytest.mark.parametrize("what", ["moved", "removed", "opened", "tagged", "deleted", "boxed"])
def test_a_queue_that_somebody_has_begun_is_not_withdrawn(
    server: Cvat, tool: CvatFolder, video: QueuedVideo, folder: Path, what: str
) -> None:
    write(tool, video)
    there = server.work()
    if what == "moved":
        there["shapes"][0]["elements"][0]["points"] = [1.0, 2.0]
    elif what == "removed":
        there["shapes"].clear()
    elif what == "opened":
        server.work(state="in progress")
    elif what == "tagged":
        server.tag(0, "skipped")
    elif what == "deleted":
        server.deleted[server.tasks[0]["id"]] = [0]
    else:
        there["shapes"].append({"type": "rectangle", "frame": 0, "label_id": 1})
    before = snapshot(folder)
    with pytest.raises(ExportError, match=r"of its images are begun, cam-\w+_img005\.png among"):
        tool.withdraw_queue(make_queue(video), [video])
    assert len(server.tasks) == 1
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    "path",
    ["GET /api/tasks", "POST /api/tasks", "/data/", "requests", "labels", "meta", "PUT", "PATCH"],
)
def test_an_export_that_the_server_breaks_off_is_completed_by_the_next(
    server: Cvat, tool: CvatFolder, video: QueuedVideo, folder: Path, path: str
) -> None:
    server.failing = path
    with pytest.raises(ExportError, match=r"answers 503 to .*try again later") as caught:
        write(tool, video)
    assert "\n" not in str(caught.value)
    server.failing = None
    write(tool, video)
    check_whole(server, folder)


@pytest.mark.parametrize("is_mute", [False, True], ids=["unheard", "unanswered"])
def test_an_export_that_dies_at_any_request_is_completed_by_the_next(
    server: Cvat, tool: CvatFolder, video: QueuedVideo, folder: Path, is_mute: bool
) -> None:
    server.is_mute = is_mute
    for n_heard in range(100):
        server.n_left, server.tasks = n_heard, []
        try:
            write(tool, video)
        except ExportError:
            server.n_left = 1 << 30
            write(tool, video)
            check_whole(server, folder)
        else:
            break
    check_whole(server, folder)
    assert n_heard > 10


@pytest.mark.parametrize("is_mute", [False, True], ids=["unheard", "unanswered"])
def test_a_withdrawal_that_dies_at_any_request_is_completed_by_the_next(
    server: Cvat, tool: CvatFolder, video: QueuedVideo, folder: Path, is_mute: bool
) -> None:
    server.is_mute = is_mute
    for n_heard in range(100):
        server.n_left = 1 << 30
        write(tool, video)
        server.n_left = n_heard
        try:
            tool.withdraw_queue(make_queue(video), [video])
        except ExportError:
            server.n_left = 1 << 30
            assert tool.withdraw_queue(make_queue(video), [video]) == 2
        else:
            break
    assert server.tasks == []
    assert not folder.exists()
    assert n_heard > 3


def test_work_that_was_begun_in_a_task_not_filled_is_kept(
    server: Cvat, tool: CvatFolder, video: QueuedVideo
) -> None:
    server.failing = "PUT"
    with pytest.raises(ExportError):
        write(tool, video)
    assert tool.read_labels() == []
    server.failing = None
    server.tag(0, "checked")
    with pytest.raises(ExportError, match="1 of its images are begun"):
        tool.withdraw_queue(make_queue(video), [video])
    write(tool, video)
    assert server.work()["shapes"] == []
    assert states(tool.read_labels()) == [(5, "", "empty")]


def test_images_that_cannot_be_read_are_sent_anew(
    server: Cvat, tool: CvatFolder, video: QueuedVideo, folder: Path
) -> None:
    server.reading = "failed"
    with pytest.raises(ExportError, match=r"cannot take the images: no image in it\. It is tried"):
        write(tool, video)
    server.reading = "finished"
    write(tool, video)
    check_whole(server, folder)


def test_a_server_that_takes_its_time_is_gone_on_with(
    server: Cvat,
    tool: CvatFolder,
    video: QueuedVideo,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cvat_server, "_PATIENCE_S", 0.0)
    server.reading = "started"
    for _ in range(2):
        with pytest.raises(ExportError, match="is still reading the images after 0 s"):
            write(tool, video)
    (task,) = server.tasks
    server.finish_reading(task)
    server.background[-1]["status"] = "finished"
    write(tool, video)
    assert [each["id"] for each in server.tasks] == [task["id"]]
    check_whole(server, folder)


@pytest.mark.parametrize("name", ["labels.json", "annotations.xml"])
def test_a_document_that_is_damaged_before_it_is_sent_is_one_line(
    server: Cvat, tool: CvatFolder, video: QueuedVideo, folder: Path, name: str
) -> None:
    server.failing = "POST"
    with pytest.raises(ExportError):
        write(tool, video)
    server.failing = None
    (folder / name).write_text("{")
    with pytest.raises(ExportError, match=rf"{name} must be .*; reading it gave") as caught:
        write(tool, video)
    assert "\n" not in str(caught.value)
    assert server.tasks == []


def test_a_legacy_token_is_sent_as_one(
    server: Cvat, tool: CvatFolder, video: QueuedVideo, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(LEGACY_TOKEN)
    write(tool, video)
    assert len(server.tasks) == 1


def test_a_wrong_token_is_not_shown(tool: CvatFolder, video: QueuedVideo, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("bogus.bogus")
    with pytest.raises(ExportError, match="does not accept the token in") as caught:
        write(tool, video)
    assert "bogus" not in str(caught.value)


def test_a_task_that_is_gone_is_not_taken_for_one_without_labels(
    server: Cvat, tool: CvatFolder, video: QueuedVideo
) -> None:
    write(tool, video)
    server.tasks[0]["name"] = "renamed"
    with pytest.raises(ExportError, match=r"has no task whose name holds \[[0-9a-f]{16}\], for"):
        tool.read_labels()


def test_before_the_first_queue_the_server_is_not_asked(server: Cvat, tool: CvatFolder) -> None:
    server.n_left = 0
    assert tool.read_labels() == []


@pytest.mark.parametrize("place", [["nan", 1.0], [1.0], None, [float("nan"), 1.0]])
def test_an_answer_of_another_shape_is_one_line(
    server: Cvat, tool: CvatFolder, video: QueuedVideo, place: object
) -> None:
    write(tool, video)
    server.work(state="completed")["shapes"][0]["elements"][0]["points"] = place
    with pytest.raises(ExportError, match="gives an answer that is not CVAT's") as caught:
        tool.read_labels()
    assert "\n" not in str(caught.value)


def test_a_round_on_a_real_server(video: QueuedVideo, tmp_path: Path) -> None:
    url, token = os.environ.get("CVAT_URL"), os.environ.get("CVAT_TOKEN")
    if url is None or token is None:
        pytest.skip("CVAT_URL and CVAT_TOKEN name no CVAT server")
    (tmp_path / "token").write_text(token)
    tool = CvatFolder(tmp_path / "out", url=url, token_file=tmp_path / "token")
    write(tool, video)
    write(tool, video)
    assert tool.read_labels() == []
    mark = cvat_server._mark(tmp_path / "out" / "queue-0003")
    kind = "Token" if len(token) == 40 else "Bearer"
    with httpx.Client(base_url=url, headers={"Authorization": f"{kind} {token}"}) as person:
        (task,) = person.get("/api/tasks", params={"search": mark}).json()["results"]
        (job,) = person.get("/api/jobs", params={"task_id": task["id"]}).json()["results"]
        try:
            person.patch(f"/api/jobs/{job['id']}", json={"state": "completed"})
            labels = tool.read_labels()
            assert states(labels) == [(5, "", "labelled"), (7, "", "empty")]
            assert places(labels[0]) == DRAWN
            with pytest.raises(ExportError, match="2 of its images are begun"):
                tool.withdraw_queue(make_queue(video), [video])
            person.patch(f"/api/jobs/{job['id']}", json={"state": "new"})
            assert tool.withdraw_queue(make_queue(video), [video]) == 2
        finally:
            person.delete(f"/api/tasks/{task['id']}")
