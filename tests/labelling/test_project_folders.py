from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from alwatch.errors import ExportError
from alwatch.labelling.folder_record import RECORD_NAME
from alwatch.labelling.project_folders import ProjectFolders, image_sizes_px
from tests.labelling.helpers import hash_of, make_project, make_video


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project").parent


def own(path: Path) -> str:
    return f"{path.stem}-{hash_of(path)[:8]}"


def put_image(folder: Path, width: int, height: int, name: str = "img000.png") -> None:
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / name), np.zeros((height, width, 3), np.uint8))


def test_a_new_video_gets_its_stem_as_in_deeplabcut(root: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "season" / "cage 3.day1.mp4")
    assert ProjectFolders(root, []).folder_of(video) == "cage 3.day1"


def test_the_answer_is_the_same_every_time(root: Path, tmp_path: Path) -> None:
    videos = [make_video(tmp_path / season / "cam.mp4") for season in ("2025", "2026", "2027")]
    folders = ProjectFolders(root, [])
    names = [folders.folder_of(video) for video in videos]
    assert names == ["cam", own(videos[1].path), own(videos[2].path)]
    assert [folders.folder_of(video) for video in reversed(videos)] == names[::-1]


@pytest.mark.parametrize("letters", ["cam", "CAM"])
def test_a_listed_video_keeps_its_stem_from_another_of_that_name(
    root: Path, tmp_path: Path, letters: str
) -> None:
    make_video(tmp_path / "2025" / f"{letters}.avi")
    video = make_video(tmp_path / "2026" / "cam.mp4")
    folders = ProjectFolders(root, [str(tmp_path / "2025" / f"{letters}.avi")])
    assert folders.folder_of(video) == own(video.path)


@pytest.mark.parametrize("how", ["itself", "link", "copy", "hard link", "relative", "other name"])
def test_a_video_that_is_listed_keeps_its_folder(root: Path, tmp_path: Path, how: str) -> None:
    video = make_video(tmp_path / "2026" / "cam.mp4")
    listed = root / "videos" / "cam.mp4"
    if how == "itself":
        listed = video.path
    elif how == "link":
        listed.symlink_to(video.path)
    elif how == "hard link":
        listed.hardlink_to(video.path)
    else:
        listed = listed.with_stem("first cam") if how == "other name" else listed
        listed.write_bytes(video.path.read_bytes())
    key = "videos/cam.mp4" if how == "relative" else str(listed)
    assert ProjectFolders(root, [key]).folder_of(video) == listed.stem


@pytest.mark.parametrize("key", ["C:\\proj\\videos\\cam.mp4", "/moved/away/videos/cam.mp4"])
def test_a_moved_project_is_found_by_the_files_in_its_videos_folder(
    root: Path, tmp_path: Path, key: str
) -> None:
    video = make_video(tmp_path / "2026" / "cam.mp4")
    (root / "videos" / "cam.mp4").symlink_to(video.path)
    assert ProjectFolders(root, [key]).folder_of(video) == "cam"


@pytest.mark.parametrize("key", ["C:\\archive\\cam.mp4", "/not/on/this/machine/cam.mp4"])
def test_an_entry_that_cannot_be_looked_at_is_taken_for_another_video(
    root: Path, tmp_path: Path, key: str
) -> None:
    video = make_video(tmp_path / "2026" / "cam.mp4")
    put_image(root / "labeled-data" / "cam", 64, 48)
    assert ProjectFolders(root, [key]).folder_of(video) == own(video.path)


def test_equally_long_files_are_told_apart_by_their_content(root: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "2026" / "cam.mp4")
    content = bytearray(3 << 20)
    video.path.write_bytes(content)
    listed = root / "videos" / "cam.mp4"
    for position in (0, 1 << 20, (3 << 20) - 1):
        content[position] = 1
        listed.write_bytes(content)
        assert ProjectFolders(root, [str(listed)]).folder_of(video) == own(video.path)
        content[position] = 0
    listed.write_bytes(content)
    assert ProjectFolders(root, [str(listed)]).folder_of(video) == "cam"


def test_images_of_another_size_are_never_mixed_with(root: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "cam.mp4", size=(64, 48))
    put_image(root / "labeled-data" / "cam", 64, 48)
    assert ProjectFolders(root, []).folder_of(video) == "cam"
    put_image(root / "labeled-data" / "cam", 32, 48, "img001.png")
    assert ProjectFolders(root, []).folder_of(video) == own(video.path)
    assert ProjectFolders(root, [str(video.path)]).folder_of(video) == own(video.path)


def test_a_folder_is_known_again_after_its_video_was_renamed(root: Path, tmp_path: Path) -> None:
    record = {"content_hash": "c0ffee" * 10, "video": "/somewhere/else.mp4"}
    put_image(root / "labeled-data" / "first name", 64, 48)
    (root / "labeled-data" / "first name" / RECORD_NAME).write_text(json.dumps(record))
    renamed = make_video(tmp_path / "new name.mp4", content_hash="c0ffee" * 10)
    other = make_video(tmp_path / "first name.mp4")
    folders = ProjectFolders(root, ["/somewhere/else.mp4"])
    assert folders.folder_of(renamed) == "first name"
    assert folders.folder_of(other) == own(other.path)


@pytest.mark.parametrize("content", ["", "[]", "{}", "\xff", "null"])
def test_a_record_that_cannot_be_read_says_nothing(
    root: Path, tmp_path: Path, content: str
) -> None:
    (root / "labeled-data" / "cam").mkdir()
    (root / "labeled-data" / "cam" / RECORD_NAME).write_text(content, encoding="latin-1")
    assert ProjectFolders(root, []).folder_of(make_video(tmp_path / "cam.mp4")) == "cam"


@pytest.mark.parametrize(
    "stem", [".hidden", "a[1]", "what?", "x" * 200, "tab\there", "back\\slash"]
)
def test_an_odd_stem_is_not_used(root: Path, tmp_path: Path, stem: str) -> None:
    video = make_video(tmp_path / f"{stem}.mp4")
    name = ProjectFolders(root, []).folder_of(video)
    assert name != stem
    assert name.endswith(f"-{video.content_hash[:8]}")
    assert not name.startswith(".")


@pytest.mark.parametrize("key", ["..", "/", "", ".", "/a/..", "\\"])
def test_a_listed_path_never_leads_out_of_labeled_data(
    root: Path, tmp_path: Path, key: str
) -> None:
    assert ProjectFolders(root, [key]).folder_of(make_video(tmp_path / "cam.mp4")) == "cam"


def test_hashes_that_begin_alike_still_get_folders_of_their_own(root: Path, tmp_path: Path) -> None:
    hashes = [f"{0:060}{n:04}" for n in range(3)]
    folders = ProjectFolders(root, [])
    names = [
        folders.folder_of(make_video(tmp_path / h / "cam.mp4", content_hash=h)) for h in hashes
    ]
    assert names == ["cam", "cam-00000000", f"cam-{hashes[2]}"]


def test_a_person_is_told_where_no_folder_will_do(root: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "cam.mp4")
    for name in ("cam", own(video.path), f"cam-{video.content_hash}"):
        put_image(root / "labeled-data" / name, 10, 10)
    with pytest.raises(ExportError, match=r"that are not 64x48\. Move them elsewhere"):
        ProjectFolders(root, []).folder_of(video)


def test_the_sizes_of_a_real_folder_with_two_sessions_are_seen(data_dir: Path) -> None:
    project = data_dir / "dlc-reaching" / "Reaching-Mackenzie-2018-08-30"
    sizes = image_sizes_px(project / "labeled-data" / "reachingvideo1")
    assert len(sizes) == 2
    assert (832, 747) in sizes
