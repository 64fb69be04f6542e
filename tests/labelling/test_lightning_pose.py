from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from alwatch.errors import ExportError
from alwatch.labelling.lightning_pose import LightningPoseProject
from alwatch.labelling.lightning_pose_list import LIST
from alwatch.records import LabelledPoint, QueuedVideo, Skeleton
from tests.labelling.dying_exports import STEPS
from tests.labelling.helpers import (
    contents,
    hash_of,
    make_lightning_project,
    make_queue,
    make_video,
    no_frames,
    read_frames,
    snapshot,
)
from tests.labelling.image_tools import ANIMALS, POSE, posed_video
from tests.labelling.test_faults import failing

NOSE_TAIL = Skeleton(("nose", "tail"), source="snapshot-7")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_lightning_project(tmp_path / "project")


@pytest.fixture
def tool(project: Path) -> LightningPoseProject:
    return LightningPoseProject(project)


@pytest.fixture
def video(tmp_path: Path) -> QueuedVideo:
    posed = posed_video(tmp_path / "cam.mp4", frames=(5, 7))
    return replace(posed, poses={5: POSE[:1, :2]})


def export(tool: LightningPoseProject, video: QueuedVideo) -> None:
    tool.write_queue(make_queue(video), [video], read_frames, NOSE_TAIL)


def test_new_frames_are_listed_with_the_models_poses_behind_those_that_wait(
    tool: LightningPoseProject, project: Path, video: QueuedVideo
) -> None:
    before = (project / LIST).read_text()
    export(tool, video)
    text = (project / LIST).read_text()
    assert text.startswith(before)
    assert [json.loads(line) for line in text.removeprefix(before).splitlines()] == [
        {
            "frame_path": "labeled-data/cam/img00000005.png",
            "predictions": {
                "model_name": "snapshot-7",
                "date_time": 1777593600000,  # 2026-05-01 in UTC
                "predictions": [
                    {"keypoint_name": "nose", "x": 10.25, "y": 20.5},
                    {"keypoint_name": "tail", "x": 30.0, "y": 8.125},
                ],
            },
        },
        {"frame_path": "labeled-data/cam/img00000007.png", "predictions": None},
    ]


def test_poses_of_several_animals_are_not_listed(
    tool: LightningPoseProject, project: Path, tmp_path: Path
) -> None:
    video = posed_video(tmp_path / "cam.mp4")
    tool.write_queue(make_queue(video), [video], read_frames, ANIMALS)
    entries = [json.loads(line) for line in (project / LIST).read_text().splitlines()]
    assert [entry["predictions"] for entry in entries] == [None] * 3


def test_a_line_that_is_not_ended_is_not_run_into(
    tool: LightningPoseProject, project: Path, video: QueuedVideo
) -> None:
    (project / LIST).write_text((project / LIST).read_text().rstrip("\n"))
    export(tool, video)
    entries = [json.loads(line) for line in (project / LIST).read_text().splitlines()]
    assert len(entries) == 3


def test_a_new_project_without_a_list_or_labels_gets_a_list(
    tool: LightningPoseProject, project: Path, video: QueuedVideo
) -> None:
    (project / LIST).unlink()
    (project / "CollectedData.csv").unlink()
    before = contents(project)
    assert tool.read_labels() == []
    export(tool, video)
    assert len((project / LIST).read_text().splitlines()) == 2
    assert tool.withdraw_queue(make_queue(video), [video]) == 2
    assert contents(project) == before


def test_frames_of_the_project_are_kept_and_listed_unless_they_are_labelled(
    tool: LightningPoseProject, project: Path, tmp_path: Path
) -> None:
    (project / "videos").mkdir()
    old = make_video(project / "videos" / "old.mp4", (3, 7, 9, 11))
    exported = tool.write_queue(make_queue(old), [old], read_frames, NOSE_TAIL)
    assert (exported.written, exported.kept) == (1, 3)
    assert exported.folders == (("old", old.content_hash),)
    paths = [json.loads(line)["frame_path"] for line in (project / LIST).read_text().splitlines()]
    assert [path[-6:-4] for path in paths] == ["07", "09", "11"]


def test_only_images_that_the_export_wrote_are_withdrawn(
    tool: LightningPoseProject, project: Path
) -> None:
    (project / "videos").mkdir()
    old = make_video(project / "videos" / "old.mp4", (7, 9, 11))
    tool.write_queue(make_queue(old), [old], read_frames, NOSE_TAIL)
    assert tool.withdraw_queue(make_queue(old), [old]) == 1
    names = sorted(path.name for path in (project / "labeled-data" / "old").glob("*.png"))
    assert names == ["img00000003.png", "img00000007.png", "img00000009.png"]
    assert len((project / LIST).read_text().splitlines()) == 2


def test_a_second_queue_into_the_same_folder_is_withdrawn_alone(
    tool: LightningPoseProject, project: Path, video: QueuedVideo, tmp_path: Path
) -> None:
    export(tool, video)
    before = contents(project)
    more = make_video(tmp_path / "cam.mp4", (1, 2))
    second = make_queue(more, id=4)
    tool.write_queue(second, [more], read_frames, NOSE_TAIL)
    assert tool.withdraw_queue(second, [more]) == 2
    assert contents(project) == before


def test_an_image_that_was_thrown_away_leaves_no_line_behind(
    tool: LightningPoseProject, project: Path, video: QueuedVideo
) -> None:
    """The app could not open it. Another queue's withdrawal in between changes nothing of that."""
    before = contents(project)
    other = replace(video, frames=make_video(video.path, (300,)).frames, poses={})
    export(tool, video)
    tool.write_queue(make_queue(other, id=4), [other], read_frames, NOSE_TAIL)
    (project / "labeled-data" / "cam" / "img00000005.png").unlink()
    assert tool.withdraw_queue(make_queue(other, id=4), [other]) == 1
    assert "img00000005" in (project / LIST).read_text()
    assert tool.withdraw_queue(make_queue(video), [video]) == 1
    assert contents(project) == before


def test_a_changed_image_is_not_withdrawn(
    tool: LightningPoseProject, project: Path, video: QueuedVideo
) -> None:
    export(tool, video)
    image = project / "labeled-data" / "cam" / "img00000005.png"
    image.write_bytes(image.read_bytes() + b" cropped")
    before = snapshot(project)
    with pytest.raises(ExportError, match=r"img00000005\.png is labelled or was changed"):
        tool.withdraw_queue(make_queue(video), [video])
    assert snapshot(project) == before


def test_a_withdrawal_that_fails_at_any_step_is_completed_by_the_next(
    tool: LightningPoseProject,
    project: Path,
    video: QueuedVideo,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = contents(project)
    failed = 0
    for step in range(100):
        export(tool, video)
        left = [step]
        with monkeypatch.context() as patch:
            for name in STEPS:
                patch.setattr(os, name, failing(getattr(os, name), left))
            try:
                tool.withdraw_queue(make_queue(video), [video])
            except ExportError as error:
                assert "No space left on device" in str(error)
                failed += 1
        tool.withdraw_queue(make_queue(video), [video])
        assert contents(project) == before
        if left[0] >= 0:
            break
    assert failed > 5


def test_videos_of_one_name_have_folders_of_their_own(
    tool: LightningPoseProject, project: Path, video: QueuedVideo, tmp_path: Path
) -> None:
    export(tool, video)
    other = make_video(tmp_path / "2026" / "cam.mp4", (5,))
    tool.write_queue(make_queue(other, id=4), [other], read_frames, NOSE_TAIL)
    own = f"cam-{hash_of(other.path)[:8]}"
    assert {path.name for path in (project / "labeled-data").iterdir()} == {"old", "cam", own}


def test_labels_come_from_the_table(tool: LightningPoseProject, project: Path) -> None:
    (label,) = tool.read_labels()
    assert (label.folder, label.frame, label.state) == ("old", 3, "labelled")
    assert label.points == (LabelledPoint("", "nose", 1.5, 2.25),)
    assert label.source == project / "CollectedData.csv"


def test_a_frame_that_the_app_has_moved_to_the_table_without_a_point_is_empty(
    tool: LightningPoseProject, project: Path, video: QueuedVideo
) -> None:
    export(tool, video)
    table = project / "CollectedData.csv"
    rows = [f"labeled-data/{name}.png,,,,\n" for name in ("cam/img00000005", "cam/img00000007")]
    table.write_text(table.read_text() + "".join(rows) + "labeled-data/old/img00000009.png,,,,\n")
    lines = (project / LIST).read_text().splitlines(keepends=True)
    (project / LIST).write_text("".join(line for line in lines if "cam/img00000005" not in line))
    states = [(label.folder, label.frame, label.state) for label in tool.read_labels()]
    assert states == [("cam", 5, "empty"), ("old", 3, "labelled")]


def test_the_table_of_a_real_project_is_read_as_lightning_pose_reads_it(data_dir: Path) -> None:
    root = data_dir / "lp-mirror-mouse" / "mirror-mouse-example"
    labels = LightningPoseProject(root).read_labels()
    table = pd.read_csv(root / "CollectedData.csv", header=[0, 1, 2], index_col=0)
    assert len(labels) == len(table) == 90
    rows = {path: dict(row) for path, row in table.droplevel(0, axis=1).iterrows()}
    for label in labels:
        row = rows[f"labeled-data/img{label.frame:02}.png"]
        named = {(p.bodypart, "x"): p.x_px for p in label.points}
        named |= {(p.bodypart, "y"): p.y_px for p in label.points}
        assert named == {name: value for name, value in row.items() if np.isfinite(value)}


def test_images_are_written_as_lightning_pose_names_them(
    tool: LightningPoseProject, project: Path, video: QueuedVideo
) -> None:
    export(tool, video)
    image = cv2.imread(str(project / "labeled-data" / "cam" / "img00000007.png"))
    assert image is not None and image.shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("project.yaml", "view_names: [top, side]\n", "Queues go to projects of one view; .*side"),
        ("project.yaml", "[", r"project\.yaml is to be a Lightning Pose project"),
        ("project.yaml", "- a\n", r"project\.yaml is to be a Lightning Pose project"),
        (LIST, "{}\n", r"unlabeled\.jsonl must hold one JSON object with a frame_path"),
        (LIST, "nothing\n", r"unlabeled\.jsonl must hold one JSON object with a frame_path"),
        ("CollectedData.csv", "a,b\n1,2\n", r"The labels in .*CollectedData\.csv cannot be read"),
    ],
)
def test_a_project_of_another_kind_is_refused_in_one_line_and_left_alone(
    tool: LightningPoseProject,
    project: Path,
    video: QueuedVideo,
    file: str,
    content: str,
    message: str,
) -> None:
    (project / file).write_text(content)
    before = contents(project)
    with pytest.raises(ExportError, match=message) as caught:
        tool.write_queue(make_queue(video), [video], no_frames, NOSE_TAIL)
    assert "\n" not in str(caught.value)
    assert contents(project) == before
