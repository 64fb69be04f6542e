from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from alwatch.errors import ExportError
from alwatch.labelling.collected_data import labelled_frames
from alwatch.labelling.label_file import LARGEST_BYTES, read_label_file
from alwatch.labelling.lightning_pose import LightningPoseProject
from alwatch.protocols import LabellingTool
from tests.labelling.helpers import (
    SKELETON,
    make_lightning_project,
    make_queue,
    make_video,
    read_frames,
)
from tests.labelling.image_tools import IMAGE_TOOLS

FILES = {"folder": "labels.csv", "coco": "labels.json", "label_studio": "a.json", "cvat": "a.xml"}


def make_pipe(file: Path) -> None:
    os.mkfifo(file)


def make_large(file: Path) -> None:
    """One byte more than is read, in a file that takes no room."""
    with file.open("wb") as content:
        content.truncate(LARGEST_BYTES + 1)


@pytest.fixture(params=[*FILES, "cvat archive"])
def tool_and_file(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[LabellingTool, Path]:
    """A tool with a queue, and the name of a file that it reads labels from."""
    kind = request.param.split()[0]
    tool = IMAGE_TOOLS[kind](tmp_path / "out")
    video = make_video(tmp_path / "cam.mp4")
    tool.write_queue(make_queue(video), [video], read_frames, SKELETON)
    name = "a.zip" if request.param == "cvat archive" else FILES[kind]
    return tool, tmp_path / "out" / "queue-0003" / name


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_label_file(tmp_path / "a", largest_bytes=5) == b"12345"
    with pytest.raises(ValueError, match="it has more than 4 bytes"):
        read_label_file(tmp_path / "a", largest_bytes=4)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    make_pipe(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    for path, kind in (
        (tmp_path / "pipe", "a pipe"),
        (tmp_path / "socket", "a socket"),
        (tmp_path, "a folder"),
        (Path("/dev/zero"), "a device"),
    ):
        with pytest.raises(ValueError, match=f"it is {kind}, not a file"):
            read_label_file(path)


@pytest.mark.timeout(20)
def test_a_pipe_among_the_labels_is_one_line(tool_and_file: tuple[LabellingTool, Path]) -> None:
    tool, file = tool_and_file
    make_pipe(file)
    with pytest.raises(ExportError, match=rf"{file}.*it is a pipe, not a file") as caught:
        tool.read_labels()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tool_and_file", FILES, indirect=True)
def test_labels_of_an_absurd_size_are_one_line(
    tool_and_file: tuple[LabellingTool, Path],
) -> None:
    tool, file = tool_and_file
    make_large(file)
    with pytest.raises(ExportError, match=rf"{file}.*it has more than {LARGEST_BYTES} bytes"):
        tool.read_labels()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["CollectedData.csv", "CollectedData.unlabeled.jsonl"])
@pytest.mark.parametrize("make", [make_pipe, make_large])
def test_files_of_a_lightning_pose_project_are_looked_at_first(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    tool = LightningPoseProject(make_lightning_project(tmp_path / "project"))
    (tmp_path / "project" / name).unlink()
    make(tmp_path / "project" / name)
    with pytest.raises(ExportError, match=rf"{name}.*it (is a pipe|has more than)"):
        tool.read_labels()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("ending", ["csv", "h5"])
@pytest.mark.parametrize("make", [make_pipe, make_large])
def test_files_of_a_deeplabcut_project_are_looked_at_first(
    tmp_path: Path, ending: str, make: Callable[[Path], None]
) -> None:
    make(tmp_path / f"CollectedData_Ana.{ending}")
    with pytest.raises(ExportError, match=rf"Ana\.{ending} \(it (is a pipe|has more than)"):
        labelled_frames(tmp_path, tmp_path)
