from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from alwatch.errors import ExportError
from alwatch.labelling.folder import FrameFolder
from tests.labelling.helpers import (
    SKELETON,
    hash_of,
    make_queue,
    make_video,
    no_frames,
    read_frames,
    snapshot,
    with_poses,
)


def test_image_names_name_the_video_and_end_in_the_frame_index(tmp_path: Path) -> None:
    one = make_video(tmp_path / "2025" / "cam.mp4", (7, 0), n_frames=1001)
    two = make_video(tmp_path / "2026" / "cam.mp4", (7,), n_frames=1000, size=(32, 16))
    FrameFolder(tmp_path / "out").write_queue(
        make_queue(one, two), [one, two], read_frames, SKELETON
    )
    names = sorted(path.name for path in (tmp_path / "out" / "queue-0003").glob("*.png"))
    assert names == sorted(
        [
            f"cam-{hash_of(one.path)[:8]}_img0000.png",
            f"cam-{hash_of(one.path)[:8]}_img0007.png",
            f"cam-{hash_of(two.path)[:8]}_img007.png",
        ]
    )


def test_the_tables_say_where_each_image_is_from_and_why(tmp_path: Path) -> None:
    one = make_video(tmp_path / "2025" / "cam.mp4", (7, 0))
    two = make_video(tmp_path / "2026" / 'cage, 2 "x".mp4', (5,))
    queue = make_queue(one, two)
    FrameFolder(tmp_path / "out").write_queue(queue, [one, two], read_frames, SKELETON)
    folder = tmp_path / "out" / "queue-0003"

    with (folder / "frames.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    manifest = json.loads((folder / "queue.json").read_text(encoding="utf-8"))

    assert {key: manifest[key] for key in ("queue", "season", "strategy", "seed", "budget")} == {
        "queue": 3,
        "season": "2026",
        "strategy": "minmax",
        "seed": 7,
        "budget": 3,
    }
    assert manifest["manifest"] == {"software": "alwatch 0"}
    assert manifest["created_at"] == "2026-05-01T00:00:00+00:00"
    assert [{key: str(value) for key, value in row.items()} for row in manifest["frames"]] == rows
    assert {(folder / row["image"]).exists() for row in rows} == {True}
    assert [(row["video"], row["frame"], row["rank"]) for row in rows] == [
        (str(one.path), "7", "1"),
        (str(two.path), "5", "1"),
        (str(one.path), "0", "2"),
    ]
    assert {row["reason"] for row in rows} == {"far from all others"}


def test_another_queue_of_the_same_number_is_refused(tmp_path: Path) -> None:
    tool = FrameFolder(tmp_path / "out")
    first, second = make_video(tmp_path / "a.mp4"), make_video(tmp_path / "b.mp4")
    tool.write_queue(make_queue(first), [first], read_frames, SKELETON)
    before = snapshot(tmp_path / "out")
    with pytest.raises(ExportError, match=r"queue-0003 is to hold 3 frames .* something else"):
        tool.write_queue(make_queue(second), [second], no_frames, SKELETON)
    (tmp_path / "out" / "queue-0004").mkdir()
    with pytest.raises(ExportError, match="something else"):
        tool.write_queue(make_queue(second, id=4), [second], no_frames, SKELETON)
    (tmp_path / "out" / "queue-0004").rmdir()
    assert {k: v for k, v in snapshot(tmp_path / "out").items() if k != "."} == {
        k: v for k, v in before.items() if k != "."
    }


def test_a_renamed_video_does_not_make_it_another_queue(tmp_path: Path) -> None:
    tool = FrameFolder(tmp_path / "out")
    video = make_video(tmp_path / "a.mp4")
    tool.write_queue(make_queue(video), [video], read_frames, SKELETON)
    renamed = make_video(tmp_path / "b.mp4", content_hash=video.content_hash)
    assert tool.write_queue(make_queue(renamed), [renamed], no_frames, SKELETON).kept == 3


def test_a_table_of_labels_is_read(tmp_path: Path) -> None:
    tool = FrameFolder(tmp_path / "out")
    video = make_video(tmp_path / "cam.mp4", (7, 0, 5, 9))
    tool.write_queue(make_queue(video), [video], read_frames, SKELETON)
    name = f"cam-{hash_of(video.path)[:8]}"
    source = tmp_path / "out" / "queue-0003" / "labels.csv"
    source.write_text(
        "rank,image,nose_x,nose_y,note\n"
        f"1,{name}_img007.png,1.5,2,\n"
        f"2,images/{name}_img000.png,,,blurred\n"
        f"3,C:\\images\\{name}_img005.png,,0,\n"
        f"4,{name}_img009.png,nan,inf,\n"
        "5,another.png,1,1,\n"
    )
    labels = tool.read_labels()
    assert [(label.folder, label.frame) for label in labels] == [(name, 5), (name, 7)]
    assert {(label.project, label.source) for label in labels} == {(tmp_path / "out", source)}


def test_the_table_of_frames_holds_no_labels(tmp_path: Path) -> None:
    tool = FrameFolder(tmp_path / "out")
    video = make_video(tmp_path / "cam.mp4")
    tool.write_queue(make_queue(video), [video], read_frames, SKELETON)
    folder = tmp_path / "out" / "queue-0003"
    (folder / "labels.csv").write_bytes((folder / "frames.csv").read_bytes())
    assert tool.read_labels() == []


@pytest.mark.parametrize("content", [b"frame,x\n1,2\n", b"\xff\xfe"])
def test_a_table_of_labels_that_cannot_be_read_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "queue-0001").mkdir()
    (tmp_path / "queue-0001" / "labels.csv").write_bytes(content)
    with pytest.raises(ExportError, match=r"labels\.csv must be a table with a column 'image'"):
        FrameFolder(tmp_path).read_labels()


def test_a_table_with_semicolons_is_told_to_use_commas(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "queue-0003"
    folder.mkdir(parents=True)
    (folder / "labels.csv").write_text("image;nose x;nose y\ncam-1_img5.png;1,5;2,0\n")
    message = r"labels\.csv must have its columns parted by commas.* first row is 'image;nose x;no"
    with pytest.raises(ExportError, match=message) as caught:
        FrameFolder(tmp_path / "out").read_labels()
    assert "\n" not in str(caught.value)


def test_a_folder_that_the_first_export_will_make_holds_no_labels_yet(tmp_path: Path) -> None:
    assert FrameFolder(tmp_path / "out").read_labels() == []
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    video = make_video(tmp_path / "cam.mp4")
    with pytest.raises(ExportError, match="out is not a folder"):
        FrameFolder(tmp_path / "out").write_queue(make_queue(video), [video], no_frames, SKELETON)


def test_poses_that_come_back_as_they_were_are_no_labels(tmp_path: Path) -> None:
    video = with_poses(make_video(tmp_path / "cam.mp4", (0, 5)))
    tool = FrameFolder(tmp_path / "out")
    tool.write_queue(make_queue(video), [video], read_frames, SKELETON)
    folder = tmp_path / "out" / "queue-0003"
    poses = (folder / "poses.csv").read_text()
    (folder / "labels.csv").write_text(poses)
    assert tool.read_labels() == []
    (folder / "labels.csv").write_text(poses.replace(",5.5,7.0,", ",6.5,7.0,"))
    (label,) = tool.read_labels()
    assert (label.frame, [p.x_px for p in label.points]) == (5, [6.5, 20.0])


def test_a_table_that_excel_has_saved_is_read(tmp_path: Path) -> None:
    video = make_video(tmp_path / "cam.mp4", (5,))
    tool = FrameFolder(tmp_path / "out")
    tool.write_queue(make_queue(video), [video], read_frames, SKELETON)
    folder = tmp_path / "out" / "queue-0003"
    image = next(folder.glob("*.png")).name
    text = f"image,bodypart,x,y\r\n{image},nose,1,2\r\n"
    (folder / "labels.csv").write_text(text, encoding="utf-8-sig")
    assert [label.frame for label in tool.read_labels()] == [5]
