from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import sleap_io

from alwatch.errors import SettingsError, VideoError
from alwatch.simulate.archive import read_archive
from alwatch.simulate.sleap_frames import read_frames
from tests.simulate.archives import walk, write_video
from tests.simulate.sleap_projects import Animal, pictures, write_project

COLOUR = (200, 60, 60)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "clip.mp4"
    write_video(path, walk(6, seed=0), COLOUR)
    return path


def test_the_frames_of_a_video_are_those_of_the_labels(tmp_path: Path, film: Path) -> None:
    animals = [Animal(i, points.tolist()) for i, points in enumerate(walk(6, seed=0)) if i != 2]
    archive = read_archive([write_project(tmp_path / "a.slp", {film: animals})], size_px=(48, 64))
    assert (archive.videos, archive.frame.tolist()) == (("clip",), [0, 1, 3, 4, 5])
    for bodypart, is_there in enumerate([lambda level: level > 200, lambda level: level < 60]):
        x, y = archive.points_px[:, bodypart].round().astype(int).T
        assert is_there(archive.images[np.arange(5), y, x].mean(axis=1)).all()


@pytest.mark.parametrize(
    ("stored", "lies"),
    [
        ("{here}/videos/0.png", "videos/0.png"),
        ("0.png", "project/0.png"),
        ("../videos/0.png", "videos/0.png"),
        ("videos/0.png", "project/videos/0.png"),
        ("videos/0.png", "videos/0.png"),
        ("/home/them/lab/videos/0.png", "videos/0.png"),
        ("D:\\lab\\videos\\0.png", "project/0.png"),
        ("D:\\lab\\videos\\0.png", "project/videos/0.png"),
        ("D:/lab\\videos/0.png", "lab/videos/0.png"),
    ],
)
def test_a_file_of_another_machine_is_found(tmp_path: Path, stored: str, lies: str) -> None:
    (tmp_path / lies).parent.mkdir(parents=True, exist_ok=True)
    picture = np.full((4, 5, 3), 77, np.uint8)
    cv2.imwrite(str(tmp_path / lies), picture)
    video = sleap_io.Video(filename=[stored.format(here=tmp_path)], open_backend=False)
    ((_, image),) = read_frames(video, tmp_path / "project/a.slp", [0])
    np.testing.assert_array_equal(image, picture)


def test_the_folder_that_fits_most_of_the_stored_path_counts(tmp_path: Path) -> None:
    """Two videos of one name: the one beside the project is another day's."""
    right = pictures(tmp_path / "day1", 1)[0]
    (tmp_path / "project").mkdir()
    cv2.imwrite(str(tmp_path / "project/000.png"), np.zeros((40, 60, 3), np.uint8))
    video = sleap_io.Video(filename=["C:\\day1\\000.png"], open_backend=False)
    ((_, image),) = read_frames(video, tmp_path / "project/a.slp", [0])
    np.testing.assert_array_equal(image, cv2.imread(str(right), cv2.IMREAD_COLOR_RGB))


def test_a_video_that_is_nowhere_is_named_with_what_to_do(tmp_path: Path, film: Path) -> None:
    shutil.copy(film, tmp_path / "clip.mp4")  # above the project, and only of the same name
    path = write_project(
        tmp_path / "project/a.slp", {"D:\\lab\\clip.mp4": [Animal(0, [(5, 6), (7, 8)])]}
    )
    with pytest.raises(SettingsError, match=r"no clip\.mp4 lies beside the project; put it in"):
        read_archive([path], size_px=(48, 64))


def test_labels_beyond_the_video_s_end_are_refused(tmp_path: Path, film: Path) -> None:
    path = write_project(tmp_path / "a.slp", {film: [Animal(6, [(5, 6), (7, 8)])]})
    with pytest.raises(SettingsError, match="has 6 frames; it seems to be another video"):
        read_archive([path], size_px=(48, 64))
    files = tuple(pictures(tmp_path / "cage", 2))
    path = write_project(tmp_path / "b.slp", {files: [Animal(2, [(5, 6), (7, 8)])]})
    with pytest.raises(SettingsError, match="has 2 frames; it seems to be another video"):
        read_archive([path], size_px=(48, 64))


def test_embedded_pictures_that_are_damaged_are_refused(data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.pkg.slp"
    content = (data_dir / "sleap-nn/minimal_instance.pkg.slp").read_bytes()
    path.write_bytes(content.replace(b"\x89PNG", b"none"))
    with pytest.raises(VideoError, match=r"pictures in .*a\.pkg\.slp cannot be read"):
        read_archive([path], size_px=(48, 64))


def test_frames_that_were_not_embedded_are_passed_over(data_dir: Path) -> None:
    path = data_dir / "sleap-nn/minimal_instance.pkg.slp"
    video = sleap_io.load_slp(str(path), open_videos=False).videos[0]
    ((index, image),) = read_frames(video, path, [0, 7])
    assert index == 0
    assert image.shape == (384, 384, 3)


def test_a_video_that_is_a_crop_of_another_is_refused(tmp_path: Path, film: Path) -> None:
    video = sleap_io.Video(
        filename=str(film), open_backend=False, backend_metadata={"crop": [0, 0, 9, 9]}
    )
    with pytest.raises(SettingsError, match=r"is a crop of .*; save the project with the whole"):
        read_frames(video, tmp_path / "a.slp", [0])
