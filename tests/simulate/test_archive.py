from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from alwatch.errors import SettingsError
from alwatch.simulate.archive import LabelledArchive, read_archive, read_bodyparts
from tests.labelling.helpers import make_project
from tests.pose_models.projects import copy_openfield
from tests.simulate.archives import draw_project, walk
from tests.simulate.sleap_projects import Animal, part_of, pictures, write_project

WHITE = (255, 255, 255)


def test_every_frame_of_a_video_with_a_table_is_labelled(tmp_path: Path) -> None:
    config = draw_project(tmp_path, {"b": WHITE, "a": WHITE}, n_frames=7)
    archive = read_archive([config], size_px=(48, 64))
    assert archive.videos == ("a", "b")
    assert archive.video.tolist() == [0] * 7 + [1] * 7
    assert archive.frame.tolist() == [*range(7), *range(7)]
    np.testing.assert_allclose(archive.points_px[7:], walk(7, seed=0), atol=0.01)  # b was first


def test_a_table_belongs_to_the_video_of_exactly_its_name(tmp_path: Path) -> None:
    config = draw_project(tmp_path, {"a": WHITE, "a.b": WHITE, "[c]": WHITE}, n_frames=2)
    assert read_archive([config], size_px=(48, 64)).videos == ("[c]", "a.b", "a")


def test_a_project_named_by_another_way_to_it_is_named_twice(tmp_path: Path) -> None:
    config = draw_project(tmp_path / "project", {"a": WHITE}, n_frames=2)
    (tmp_path / "link").symlink_to(tmp_path / "project")
    for other in (tmp_path / "link/config.yaml", config.parent / "../project/config.yaml"):
        with pytest.raises(SettingsError, match="is named twice"):
            read_bodyparts([config, other])


def test_points_lie_on_what_they_name_when_the_frames_are_scaled(tmp_path: Path) -> None:
    config = draw_project(tmp_path, {"a": (90, 160, 90)}, n_frames=9)
    for size_px in ((48, 64), (96, 128), (32, 32)):
        archive = read_archive([config], size_px=size_px)
        assert archive.images.shape == (9, *size_px, 3)
        points = archive.points_in_images(np.arange(9)).round().astype(int)
        heads = archive.images[np.arange(9), points[:, 0, 1], points[:, 0, 0]]
        tails = archive.images[np.arange(9), points[:, 1, 1], points[:, 1, 0]]
        assert (heads.mean(axis=1) > 170).all(), size_px
        assert (tails.mean(axis=1) < 90).all(), size_px


def test_a_labelled_project_is_read_without_such_tables(data_dir: Path, tmp_path: Path) -> None:
    config = copy_openfield(data_dir, tmp_path / "openfield")
    archive = read_archive([config], size_px=(96, 128))
    assert archive.images.shape == (116, 96, 128, 3)
    assert archive.videos == ("m4s1",)
    assert archive.bodyparts == ("snout", "leftear", "rightear", "tailbase")
    image = cv2.imread(str(next((config.parent / "labeled-data/m4s1").glob("*.png"))))
    assert archive.scale[0] == pytest.approx(96 / image.shape[0])
    assert np.isfinite(archive.points_px).mean() > 0.9


def test_a_frame_that_two_people_labelled_is_there_once_as_the_first_has_it(
    tmp_path: Path,
) -> None:
    config = make_project(tmp_path / "project")
    folder = config.parent / "labeled-data" / "old"
    for scorer, x in (("Bob", 9), ("Ana", 5)):
        header = "scorer,,,s,s\nbodyparts,,,nose,nose\ncoords,,,x,y\n"
        rows = f"labeled-data,old,img003.png,{x},2\n"
        rows += "labeled-data,old,img007.png,8,2\n" if scorer == "Bob" else ""
        (folder / f"CollectedData_{scorer}.csv").write_text(header + rows)
    archive = read_archive([config], size_px=(48, 64))
    assert archive.frame.tolist() == [3, 7]
    assert archive.points_px[:, 0, 0].tolist() == [5, 8]


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    archive = read_archive([draw_project(tmp_path, {"a": WHITE}, n_frames=3)], size_px=(48, 64))
    (tmp_path / "shared").mkdir()
    archive.save(tmp_path / "shared")
    loaded = LabelledArchive.load(tmp_path / "shared")
    for name in ("images", "points_px", "scale", "video", "frame"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(archive, name))
    assert (loaded.videos, loaded.bodyparts) == (archive.videos, archive.bodyparts)


def test_groups_are_found_in_the_videos_names(tmp_path: Path) -> None:
    config = draw_project(tmp_path, {"day1_a": WHITE, "day1_b": WHITE, "day2_a": WHITE}, n_frames=2)
    archive = read_archive([config], size_px=(48, 64))
    assert archive.groups("^(.*)_").tolist() == [0, 0, 0, 0, 1, 1]
    assert archive.groups("(.*)").tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(SettingsError, match="finds nothing in the name of the video"):
        archive.groups("(1)")
    for pattern in ("(", "no group"):
        with pytest.raises(SettingsError, match=r"regular expression with a group|finds nothing"):
            archive.groups(pattern)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bodyparts: [a]", "has no labelled frames"),
        ("bodyparts: MULTI!", "names no list of bodyparts"),
        ("[", "names no list of bodyparts"),
        ("", "names no list of bodyparts"),
    ],
)
def test_a_project_without_labels_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_archive([tmp_path / "config.yaml"], size_px=(48, 64))


def test_a_project_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        read_archive([tmp_path / "config.yaml"], size_px=(48, 64))


def test_a_table_that_is_longer_than_its_video_is_refused(tmp_path: Path) -> None:
    config = draw_project(tmp_path, {"a": WHITE}, n_frames=3)
    with (tmp_path / "oracle/a.csv").open("a") as table:
        table.write("3,1,2,3,4\n")
    with pytest.raises(SettingsError, match=r"frames 0 to 3 of .*a\.mp4, which has 3 frames"):
        read_archive([config], size_px=(48, 64))


def test_a_table_without_its_video_is_refused(tmp_path: Path) -> None:
    config = draw_project(tmp_path, {"a": WHITE}, n_frames=2)
    (tmp_path / "videos/a.mp4").unlink()
    with pytest.raises(SettingsError, match="has 0 of that name"):
        read_archive([config], size_px=(48, 64))


SPOTS = [(5.0, 6.0), (20.0, 8.0), (9.0, 30.0)]


def sleap_project(path: Path, cage: Path, bodyparts: list[str]) -> Path:
    animals = [Animal(i, SPOTS[: len(bodyparts)]) for i in range(2)]
    return write_project(path, {tuple(pictures(cage, 2)): animals}, bodyparts=bodyparts)


def test_bodyparts_that_all_projects_have_stand_in_the_first_one_s_order(tmp_path: Path) -> None:
    one = sleap_project(tmp_path / "one.slp", tmp_path / "x", ["ear", "tail", "head"])
    two = draw_project(tmp_path / "two", {"y": WHITE}, n_frames=3)
    assert read_bodyparts([one, two]) == ("tail", "head")
    archive = read_archive([one, two], size_px=(48, 64))
    assert (archive.bodyparts, archive.videos) == (("tail", "head"), ("x", "y"))
    assert archive.video.tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_array_equal(archive.points_px[1], np.float32(SPOTS[1:]))
    np.testing.assert_allclose(archive.points_px[2:, ::-1], walk(3, seed=0), atol=0.01)
    other_way = read_archive([two, one], size_px=(48, 64))
    assert (other_way.bodyparts, other_way.videos) == (("head", "tail"), ("y", "x"))


def test_projects_without_a_common_bodypart_are_refused_with_both_lists(tmp_path: Path) -> None:
    one = draw_project(tmp_path / "one", {"y": WHITE}, n_frames=1)
    two = sleap_project(tmp_path / "two.slp", tmp_path / "x", ["snout", "rump"])
    with pytest.raises(SettingsError, match=r"snout, rump, of which none .*\(head, tail\)"):
        read_archive([one, two], size_px=(48, 64))


def test_a_frame_without_any_common_bodypart_is_left_out(tmp_path: Path) -> None:
    files = tuple(pictures(tmp_path / "x", 2))
    nowhere = (np.nan, np.nan)
    animals = [Animal(0, [SPOTS[0], nowhere]), Animal(1, [nowhere, SPOTS[1]])]
    one = write_project(tmp_path / "one.slp", {files: animals}, bodyparts=["ear", "tail"])
    two = draw_project(tmp_path / "two", {"y": WHITE}, n_frames=1)
    archive = read_archive([one, two], size_px=(48, 64))
    assert archive.frame[archive.video == 0].tolist() == [1]
    three = write_project(tmp_path / "three.slp", {files: animals[:1]}, bodyparts=["ear", "tail"])
    with pytest.raises(SettingsError, match=r"No frame of .* has a label of tail"):
        four = write_project(
            tmp_path / "four.slp", {files: [Animal(0, [SPOTS[0], nowhere])]},
            bodyparts=["nose", "tail"],
        )  # fmt: skip
        read_archive([three, four], size_px=(48, 64))


def test_videos_of_one_name_in_two_projects_stay_apart(tmp_path: Path) -> None:
    one = draw_project(tmp_path / "old", {"a": WHITE, "b": WHITE}, n_frames=2)
    two = draw_project(tmp_path / "new", {"b": WHITE, "c": WHITE}, n_frames=2)
    tracked = write_project(
        tmp_path / "new.slp",
        {tuple(pictures(tmp_path / "c", 1)): [Animal(0, SPOTS[:2], "left")]},
    )
    archive = read_archive([one, two, tracked], size_px=(48, 64))
    assert archive.videos == ("a", "old:b", "new:b", "new:c", "new.slp:c/left")
    assert archive.video.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]


def test_projects_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    projects = [
        draw_project(tmp_path / year / "mice", {"a": WHITE}, n_frames=1) for year in ("1", "2")
    ]
    assert read_archive(projects, size_px=(48, 64)).videos == ("1:mice:a", "2:mice:a")
    with pytest.raises(SettingsError, match="is named twice"):
        read_archive([projects[0], projects[0]], size_px=(48, 64))


@pytest.mark.parametrize("name", ["labels.json", "labels"])
def test_what_is_no_project_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"config\.yaml of a DeepLabCut project, or the \.slp"):
        read_archive([tmp_path / name], size_px=(48, 64))


def test_flies_of_both_tools_are_one_archive(data_dir: Path, tmp_path: Path) -> None:
    flies = tmp_path / "flies"
    (flies / "labeled-data").mkdir(parents=True)
    (flies / "config.yaml").symlink_to(data_dir / "flies-dlc/config.yaml")
    name = "fly20190128_a"
    (flies / "labeled-data" / name).symlink_to(data_dir / "flies-dlc/labeled-data" / name)
    slp = data_dir / "sleap-nn/minimal_instance.pkg.slp"
    with pytest.raises(SettingsError, match=r"has the bodyparts A, B, of which none"):
        read_archive([flies / "config.yaml", slp], size_px=(48, 64))
    predictions = data_dir / "sleap/tests/data/tracks/clip.predictions.slp"
    part = part_of(predictions, tmp_path / "p.slp", [0, 9], predictions.with_name("clip.mp4"))
    archive = read_archive([flies / "config.yaml", part], size_px=(80, 80), predicted=True)
    assert archive.bodyparts == ("head", "thorax")
    assert archive.videos == (name, "clip/female", "clip/male")
    assert np.isfinite(archive.points_px[archive.video > 0]).all()
