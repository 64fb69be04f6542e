"""What every tool keeps that takes a queue as a folder of images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alwatch.errors import ExportError
from alwatch.labelling.folder import FrameFolder
from alwatch.labelling.queue_folder import QueueFolder, image_key
from alwatch.labelling.queue_record import read_record
from alwatch.records import Queue, Skeleton
from tests.labelling.helpers import make_queue, no_frames, read_frames, snapshot
from tests.labelling.image_tools import ANIMALS, DRAWN, IMAGE_TOOLS, LABEL, posed_video


@pytest.fixture(params=[*IMAGE_TOOLS])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def tool(kind: str, tmp_path: Path) -> QueueFolder:
    (tmp_path / "out").mkdir()
    return IMAGE_TOOLS[kind](tmp_path / "out")


def test_what_is_withdrawn_leaves_no_trace(tool: QueueFolder, tmp_path: Path) -> None:
    one = posed_video(tmp_path / "2025" / "cam.mp4")
    two = posed_video(tmp_path / "2026" / "cam.mp4")
    tool.write_queue(make_queue(one), [one], read_frames, ANIMALS)
    before = snapshot(tmp_path / "out" / "queue-0003")
    second = make_queue(two, id=12)
    tool.write_queue(second, [two], read_frames, ANIMALS)
    assert tool.withdraw_queue(second, [two]) == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["queue-0003"]
    assert snapshot(tmp_path / "out" / "queue-0003") == before
    assert tool.withdraw_queue(second, [two]) == 0


def test_an_image_that_was_thrown_away_is_not_counted(tool: QueueFolder, tmp_path: Path) -> None:
    video = posed_video(tmp_path / "cam.mp4")
    tool.write_queue(make_queue(video), [video], read_frames, ANIMALS)
    next((tmp_path / "out" / "queue-0003").glob("*.png")).unlink()
    assert tool.withdraw_queue(make_queue(video), [video]) == 1


def test_a_queue_that_somebody_has_worked_on_is_not_withdrawn(
    kind: str, tool: QueueFolder, tmp_path: Path
) -> None:
    video = posed_video(tmp_path / "cam.mp4")
    exported = tool.write_queue(make_queue(video), [video], read_frames, ANIMALS)
    LABEL[kind](tmp_path / "out", exported.folders[0][0], [7])
    before = snapshot(tmp_path)
    with pytest.raises(ExportError, match=r"Queue 3 was to be taken out of .*labels") as caught:
        tool.withdraw_queue(make_queue(video), [video])
    assert "\n" not in str(caught.value)
    assert snapshot(tmp_path) == before


def test_a_file_that_somebody_has_changed_is_not_withdrawn(
    tool: QueueFolder, tmp_path: Path
) -> None:
    video = posed_video(tmp_path / "cam.mp4")
    tool.write_queue(make_queue(video), [video], read_frames, ANIMALS)
    image = min((tmp_path / "out" / "queue-0003").glob("*.png"))
    image.write_bytes(image.read_bytes() + b" cropped")
    with pytest.raises(ExportError, match=f"also holds {image.name}, new or changed"):
        tool.withdraw_queue(make_queue(video), [video])
    assert image.exists()


def test_another_queue_of_the_same_number_is_neither_written_over_nor_withdrawn(
    tool: QueueFolder, tmp_path: Path
) -> None:
    one, two = posed_video(tmp_path / "a.mp4"), posed_video(tmp_path / "b.mp4")
    tool.write_queue(make_queue(one), [one], read_frames, ANIMALS)
    before = snapshot(tmp_path)
    with pytest.raises(ExportError, match="holds something else"):
        tool.write_queue(make_queue(two), [two], no_frames, ANIMALS)
    with pytest.raises(ExportError, match="holds something else"):
        tool.withdraw_queue(make_queue(two), [two])
    assert snapshot(tmp_path) == before


def test_poses_that_nobody_has_touched_are_no_labels(tool: QueueFolder, tmp_path: Path) -> None:
    video = posed_video(tmp_path / "cam.mp4")
    tool.write_queue(make_queue(video), [video], read_frames, ANIMALS)
    assert tool.read_labels() == []


def test_a_new_snapshots_poses_do_not_change_a_queue_that_is_there(
    tool: QueueFolder, tmp_path: Path
) -> None:
    video = posed_video(tmp_path / "cam.mp4")
    tool.write_queue(make_queue(video), [video], read_frames, Skeleton(("nose", "tail")))
    before = snapshot(tmp_path)
    assert tool.write_queue(make_queue(video), [video], no_frames, ANIMALS).kept == 2
    assert snapshot(tmp_path) == before


def test_the_record_keeps_what_was_to_be_labelled(tool: QueueFolder, tmp_path: Path) -> None:
    video = posed_video(tmp_path / "cam.mp4")
    tool.write_queue(make_queue(video), [video], read_frames, ANIMALS)
    folder = tmp_path / "out" / "queue-0003"
    record = json.loads((folder / "queue.json").read_bytes())
    assert record["skeleton"] == {
        "bodyparts": ["nose", "tail", "door"],
        "n_individuals": 2,
        "n_unique": 1,
        "source": "snapshot-7",
    }
    assert {*record["files"], "queue.json"} == {path.name for path in folder.iterdir()}
    assert read_record(folder).n_individuals == 2
    posed, unscored = read_record(folder).drawn.values()
    assert {(p.individual, p.bodypart, p.x_px, p.y_px) for p in posed} == DRAWN
    assert unscored == ()


@pytest.mark.parametrize("content", [None, b"\xff", b"{}", b'{"drawn": {"a": [1]}}'])
def test_a_record_that_is_not_as_it_was_written_is_reported(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "queue.json").write_bytes(content)
    with pytest.raises(ExportError, match=r"queue\.json is to say what was exported") as caught:
        read_record(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_queue_is_written_where_no_bodypart_is_known_yet(
    kind: str, tool: QueueFolder, tmp_path: Path
) -> None:
    video = posed_video(tmp_path / "cam.mp4")
    assert tool.write_queue(make_queue(video), [video], read_frames, Skeleton()).written == 2
    assert tool.read_labels() == []


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("cam-12_img007.png", ("cam-12", 7)),
        ("C:\\images\\cam-12_img007.png", ("cam-12", 7)),
        ("/data/local-files/?d=a/b/cam_img2_img41.png", ("cam_img2", 41)),
        ("cam-12_img007.jpg", None),
        ("img007.png", None),
    ],
)
def test_an_image_is_known_by_the_name_of_its_file(path: str, key: tuple[str, int]) -> None:
    assert image_key(path) == key


def test_a_queues_folder_is_one_tools(tmp_path: Path) -> None:
    video = posed_video(tmp_path / "cam.mp4")
    one, other = (IMAGE_TOOLS[kind](tmp_path / "out") for kind in ("folder", "coco"))
    one.write_queue(make_queue(video), [video], read_frames, ANIMALS)
    before = snapshot(tmp_path)
    with pytest.raises(ExportError, match="for coco; it is there and holds something else"):
        other.write_queue(make_queue(video), [video], no_frames, ANIMALS)
    with pytest.raises(ExportError, match="holds something else"):
        other.withdraw_queue(make_queue(video), [video])
    assert snapshot(tmp_path) == before


def test_what_is_not_named_as_a_queues_folder_is_nobodys(kind: str, tmp_path: Path) -> None:
    notes = tmp_path / "out" / "queue-notes"
    notes.mkdir(parents=True)
    for name in ("labels.csv", "labels.json", "x.json", "x.xml"):
        (notes / name).write_text("of a person")
    (tmp_path / "out" / "queue-0003").write_text("of a person")
    assert IMAGE_TOOLS[kind](tmp_path / "out").read_labels() == []


def test_a_file_that_comes_while_the_server_is_told_keeps_the_folder(tmp_path: Path) -> None:
    class Slow(FrameFolder):
        def _take_back(self, queue: Queue, folder: Path) -> None:
            (folder / "labels.csv").write_text("of a person")

    video = posed_video(tmp_path / "cam.mp4")
    tool = Slow(tmp_path / "out")
    tool.write_queue(make_queue(video), [video], read_frames, ANIMALS)
    with pytest.raises(ExportError, match=r"also holds labels\.csv"):
        tool.withdraw_queue(make_queue(video), [video])
    assert (tmp_path / "out" / "queue-0003" / "labels.csv").read_text() == "of a person"


def test_a_queue_is_not_withdrawn_from_where_no_folder_is(
    tool: QueueFolder, tmp_path: Path
) -> None:
    video = posed_video(tmp_path / "cam.mp4")
    tool.write_queue(make_queue(video), [video], read_frames, ANIMALS)
    (tmp_path / "out").rename(tmp_path / "away")
    with pytest.raises(ExportError, match="which is not there"):
        tool.withdraw_queue(make_queue(video), [video])


@pytest.mark.parametrize("digits", [19, 30, 5000])
def test_an_index_that_no_video_has_is_none(digits: int) -> None:
    assert image_key(f"cam-1_img{'9' * digits}.png") is None
