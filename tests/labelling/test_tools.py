"""What every labelling tool promises."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sleap_io

from alwatch.errors import ExportError
from alwatch.labelling.deeplabcut import DeepLabCutProject
from alwatch.labelling.lightning_pose import LightningPoseProject
from alwatch.labelling.sleap import SleapProject
from alwatch.labelling.sleap_record import Record
from alwatch.protocols import LabellingTool
from alwatch.records import QueuedVideo
from tests.labelling.helpers import (
    SKELETON,
    contents,
    make_lightning_project,
    make_project,
    make_queue,
    make_video,
    no_frames,
    pixels,
    read_frames,
    read_png,
    shown_frames,
    snapshot,
    with_poses,
)
from tests.labelling.image_tools import IMAGE_TOOLS, LABEL

if TYPE_CHECKING:
    from alwatch.records import ImageArray

Label = Callable[[Path, str, list[int]], None]


def label_deeplabcut(project: Path, folder: str, frames: list[int]) -> None:
    rows = [["scorer", "", "", "Ana", "Ana"], ["bodyparts", "", "", "nose", "nose"]]
    rows += [["coords", "", "", "x", "y"]]
    rows += [["labeled-data", folder, f"img{index:03}.png", "1.0", "2.0"] for index in frames]
    write(project / "labeled-data" / folder / "CollectedData_Ana.csv", rows)


def label_lightning_pose(project: Path, folder: str, frames: list[int]) -> None:
    labels = project / "CollectedData.csv"
    paths = [f"labeled-data/{folder}/img{index:08}.png" for index in frames]
    labels.write_text(labels.read_text() + "".join(f"{path},1.0,2.0,,\n" for path in paths))
    waiting = project / "CollectedData.unlabeled.jsonl"
    lines = waiting.read_text().splitlines(keepends=True)
    waiting.write_text("".join(line for line in lines if not any(p in line for p in paths)))


def label_sleap(project: Path, folder: str, frames: list[int]) -> None:
    recorded = Record.read(project.with_suffix(".alwatch.json")).videos.values()
    (filename,) = [video.filename for video in recorded if video.folder == folder]
    labels = sleap_io.load_slp(str(project), open_videos=False)
    (video,) = [each for each in labels.videos if each.filename == filename]
    for index in frames:
        placed = sleap_io.Instance.from_numpy(np.ones((2, 2)), labels.skeleton)
        labels.append(sleap_io.LabeledFrame(video, index, [placed]))
    labels.save(str(project), embed=None)


def write(file: Path, rows: list[list[str]]) -> None:
    with file.open("w", newline="") as lines:
        csv.writer(lines).writerows(rows)


@pytest.fixture(params=["deeplabcut", "lightning_pose", "sleap", *IMAGE_TOOLS])
def tool_and_label(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[LabellingTool, Label]:
    if request.param == "deeplabcut":
        config = make_project(tmp_path / "project")
        return DeepLabCutProject(config), label_deeplabcut
    (tmp_path / "project").mkdir()
    if request.param == "sleap":
        project = tmp_path / "project" / "labels.slp"
        return SleapProject(project, shown_frames=shown_frames), label_sleap
    if request.param == "lightning_pose":
        project = make_lightning_project(tmp_path / "project")
        return LightningPoseProject(project), label_lightning_pose
    return IMAGE_TOOLS[request.param](tmp_path / "project"), LABEL[request.param]


@pytest.fixture
def tool(tool_and_label: tuple[LabellingTool, Label]) -> LabellingTool:
    return tool_and_label[0]


@pytest.fixture
def videos(tmp_path: Path) -> list[QueuedVideo]:
    return [
        with_poses(make_video(tmp_path / "2025" / "cam.mp4", (41, 5))),
        with_poses(make_video(tmp_path / "2026" / "cam.mp4", (5, 77, 6), size=(32, 16))),
    ]


def images(root: Path) -> dict[Path, np.ndarray]:
    return {path.relative_to(root): read_png(path) for path in root.rglob("*.png")}


@pytest.mark.parametrize("tool_and_label", ["deeplabcut", "folder"], indirect=True)
def test_every_frame_is_written_as_an_image_of_its_pixels(
    tool: LabellingTool, videos: list[QueuedVideo], tmp_path: Path
) -> None:
    before = images(tmp_path / "project")
    exported = tool.write_queue(make_queue(*videos), videos, read_frames, SKELETON)
    new = {k: v for k, v in images(tmp_path / "project").items() if k not in before}
    assert exported.project == tmp_path / "project"
    assert (exported.written, exported.kept) == (5, 0)
    for video in videos:
        for frame in video.frames:
            wanted = pixels(video, frame.frame)
            match = [p for p, v in new.items() if v.shape == wanted.shape and (v == wanted).all()]
            assert len(match) == 1
            assert int(match[0].stem.rpartition("img")[2]) == frame.frame
    assert len(new) == 5


def test_exporting_twice_changes_nothing(
    tool: LabellingTool, videos: list[QueuedVideo], tmp_path: Path
) -> None:
    first = tool.write_queue(make_queue(*videos), videos, read_frames, SKELETON)
    before = snapshot(tmp_path)
    second = tool.write_queue(make_queue(*videos), videos, no_frames, SKELETON)
    assert snapshot(tmp_path) == before
    assert second == replace(first, written=0, kept=5)


def test_labels_come_back_under_the_names_that_the_export_gave(
    tool_and_label: tuple[LabellingTool, Label], videos: list[QueuedVideo]
) -> None:
    tool, label = tool_and_label
    exported = tool.write_queue(make_queue(*videos), videos, read_frames, SKELETON)
    before = tool.read_labels()
    assert [content for _, content in exported.folders] == [v.content_hash for v in videos]
    (one, _), (two, _) = exported.folders
    assert one != two
    label(exported.project, one, [5])
    label(exported.project, two, [77, 6])
    labels = [found for found in tool.read_labels() if found not in before]
    assert {(found.folder, found.frame) for found in labels} == {(one, 5), (two, 6), (two, 77)}
    assert len(labels) == 3
    assert {found.project for found in labels} == {exported.project}
    assert all(found.source.is_file() for found in labels)


def test_a_withdrawn_queue_leaves_the_project_as_it_was(
    tool: LabellingTool, videos: list[QueuedVideo], tmp_path: Path
) -> None:
    if isinstance(tool, SleapProject):
        pytest.skip("keeps the file before beside it; see its own tests")
    before = contents(tmp_path)
    queue = make_queue(*videos)
    tool.write_queue(queue, videos, read_frames, SKELETON)
    assert tool.withdraw_queue(queue, videos) == 5
    assert contents(tmp_path) == before
    assert tool.withdraw_queue(queue, videos) == 0
    assert contents(tmp_path) == before
    assert tool.write_queue(queue, videos, read_frames, SKELETON).written == 5


def test_withdrawing_a_queue_leaves_another_one_alone(
    tool: LabellingTool, videos: list[QueuedVideo], tmp_path: Path
) -> None:
    if isinstance(tool, SleapProject):
        pytest.skip("keeps the file before beside it; see its own tests")
    one = make_queue(*videos, id=3)
    more = [with_poses(make_video(videos[0].path, (6, 300)))]
    two = make_queue(*more, id=4)
    tool.write_queue(one, videos, read_frames, SKELETON)
    before = snapshot(tmp_path)
    tool.write_queue(two, more, read_frames, SKELETON)
    with_both = contents(tmp_path)
    assert tool.withdraw_queue(two, more) == 2
    images_before = {name for name in before if name.endswith(".png")}
    assert {name for name in snapshot(tmp_path) if name.endswith(".png")} == images_before
    assert tool.write_queue(one, videos, no_frames, SKELETON).kept == 5
    assert tool.write_queue(two, more, read_frames, SKELETON).written == 2
    assert contents(tmp_path) == with_both


def test_a_labelled_queue_is_not_withdrawn(
    tool_and_label: tuple[LabellingTool, Label], videos: list[QueuedVideo], tmp_path: Path
) -> None:
    tool, label = tool_and_label
    queue = make_queue(*videos)
    exported = tool.write_queue(queue, videos, read_frames, SKELETON)
    label(exported.project, exported.folders[1][0], [77])
    before = contents(tmp_path)
    with pytest.raises(ExportError) as caught:
        tool.withdraw_queue(queue, videos)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


def test_a_frame_of_another_size_is_refused_and_nothing_is_written(
    tool: LabellingTool, videos: list[QueuedVideo], tmp_path: Path
) -> None:
    def of_another_size(video: QueuedVideo) -> Iterator[tuple[int, ImageArray]]:
        return ((index, image[:, :-1]) for index, image in read_frames(video))

    before = contents(tmp_path)
    with pytest.raises(ExportError, match=r"Frame 5 of .* must be 64x48; it is 63x48"):
        tool.write_queue(make_queue(*videos), videos, of_another_size, SKELETON)
    assert contents(tmp_path) == before


def test_a_frame_that_is_left_out_is_named_and_nothing_is_written(
    tool: LabellingTool, videos: list[QueuedVideo], tmp_path: Path
) -> None:
    def leaves_out(video: QueuedVideo) -> Iterator[tuple[int, ImageArray]]:
        return (item for item in read_frames(video) if item[0] != 77)

    before = contents(tmp_path)
    with pytest.raises(ExportError, match="77 cannot be decoded"):
        tool.write_queue(make_queue(*videos), videos, leaves_out, SKELETON)
    assert contents(tmp_path) == before


def test_a_video_file_that_is_gone_is_one_clear_line(
    tool: LabellingTool, videos: list[QueuedVideo], tmp_path: Path
) -> None:
    def opens(video: QueuedVideo) -> Iterator[tuple[int, ImageArray]]:
        with (tmp_path / "gone.mp4").open():
            yield from ()

    with pytest.raises(ExportError, match=r"No such file or directory \(.*gone\.mp4\)") as caught:
        tool.write_queue(make_queue(*videos), videos, opens, SKELETON)
    assert "\n" not in str(caught.value)
