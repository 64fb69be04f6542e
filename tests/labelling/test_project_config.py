from __future__ import annotations

from pathlib import Path

import pytest

from alwatch.errors import ExportError
from alwatch.labelling.deeplabcut import DeepLabCutProject
from alwatch.labelling.images import png_size_px
from alwatch.labelling.project_config import Crop, ProjectConfig
from alwatch.records import LabelledPoint
from tests.labelling.helpers import SKELETON, make_project, make_queue, make_video, read_frames

ROWS = "scorer,,,Ana,Ana\nbodyparts,,,nose,nose\ncoords,,,x,y\n"
WINDOWS_ROWS = "scorer,Ana,Ana\nbodyparts,nose,nose\ncoords,x,y\n"


def test_a_crop_is_four_numbers() -> None:
    assert Crop.of({"crop": "10, 74, 20, 68"}) == Crop(10, 20, 64, 48)
    assert Crop.of({"crop": "0,1,0,2"}) == Crop(0, 0, 1, 2)
    for entry in ({"crop": ""}, {"crop": "1, 2, 3"}, {"crop": None}, {}, None, "0, 1, 0, 1", 7):
        assert Crop.of(entry) is None


@pytest.mark.parametrize(
    ("crop", "moved_by_px"),
    [
        ("100, 164, 20, 68", (100, 20)),  # the images, 64x48, were cut out like this
        ("100, 165, 20, 68", (0, 0)),  # they are whole frames, or cut out otherwise
        ("0, 64, 0, 48", (0, 0)),
    ],
)
@pytest.mark.parametrize("key", ["{root}/videos/old.avi", "C:\\lab\\videos\\old.avi"])
def test_labels_of_cut_images_are_moved_to_their_place_in_the_frame(
    tmp_path: Path, key: str, crop: str, moved_by_px: tuple[int, int]
) -> None:
    config = make_project(tmp_path / "project")
    text = config.read_text().replace("0, 64, 0, 48", crop)
    root = str(config.parent)
    config.write_text(text.replace(f"{root}/videos/old.avi", key.replace("{root}", root)))
    labels = config.parent / "labeled-data" / "old" / "CollectedData_Ana.csv"
    labels.write_text(ROWS + "labeled-data,old,img003.png,1.5,2\n")
    (label,) = DeepLabCutProject(config).read_labels()
    x, y = moved_by_px
    assert label.points == (LabelledPoint("", "nose", 1.5 + x, 2 + y),)


def test_a_folder_of_cut_images_gets_no_whole_frames(tmp_path: Path) -> None:
    config = make_project(tmp_path / "project")
    config.write_text(config.read_text().replace("0, 64, 0, 48", "100, 164, 20, 68"))
    video = make_video(config.parent / "videos" / "old.avi", (3, 12), size=(640, 480))
    tool = DeepLabCutProject(config)
    exported = tool.write_queue(make_queue(video), [video], read_frames, SKELETON)
    ((folder, _),) = exported.folders
    assert exported.written == 2
    assert folder.startswith("old-")
    images = (config.parent / "labeled-data" / folder).glob("*.png")
    assert {png_size_px(image) for image in images} == {(640, 480)}
    labels = config.parent / "labeled-data" / folder / "CollectedData_Ana.csv"
    labels.write_text(ROWS + f"labeled-data,{folder},img012.png,1.5,2\n")
    (label,) = tool.read_labels()
    assert (label.folder, label.points) == (folder, (LabelledPoint("", "nose", 1.5, 2),))


def test_a_project_from_windows_gives_labels_takes_a_queue_and_gives_it_back(
    tmp_path: Path,
) -> None:
    config = make_project(tmp_path / "project")
    root = str(config.parent)
    text = config.read_text().replace(f"{root}/videos/old.avi", "C:\\lab\\videos\\old.avi")
    text = text.replace(f"project_path: {root}", "project_path: C:\\lab")
    config.write_bytes(text.replace("\n", "\r\n").encode())
    labels = config.parent / "labeled-data" / "old" / "CollectedData_Ana.csv"
    rows = WINDOWS_ROWS + "labeled-data\\old\\img003.png,1,2\nlabeled-data\\old\\img007.png,,\n"
    labels.write_bytes(rows.replace("\n", "\r\n").encode())
    before, was = config.read_bytes(), labels.read_bytes()

    tool = DeepLabCutProject(config)
    assert [(x.folder, x.frame, x.labeller) for x in tool.read_labels()] == [("old", 3, "Ana")]
    video = make_video(tmp_path / "old.avi", (7, 12))
    exported = tool.write_queue(make_queue(video), [video], read_frames, SKELETON)
    assert exported.folders[0][0].startswith("old-")  # the listed one may be another video
    assert exported.written == 2
    assert tool.withdraw_queue(make_queue(video), [video]) == 2
    assert config.read_bytes() == before
    assert labels.read_bytes() == was


def test_an_edit_between_reading_and_writing_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_project(tmp_path / "project")

    def edited(content: bytes, crops: object) -> bytes:
        config.write_bytes(content + b"# edited\n")
        return content + b"# added\n"

    monkeypatch.setattr("alwatch.labelling.project_config.add_video_sets", edited)
    with pytest.raises(ExportError, match="was edited meanwhile"):
        ProjectConfig(config).add({"/a.mp4": "0, 1, 0, 1"})
    assert config.read_text().endswith("# edited\n")
    assert not list(config.parent.glob(".config*"))
