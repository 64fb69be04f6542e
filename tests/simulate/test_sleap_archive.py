from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import av
import cv2
import h5py
import numpy as np
import pytest

from alwatch.errors import SettingsError
from alwatch.labelling.label_table import read_csv
from alwatch.simulate.archive import LabelledArchive, read_archive
from alwatch.simulate.sleap_archive import SleapProject
from tests.simulate.sleap_projects import Animal, part_of, pictures, write_project

FRAMES = (0, 3, 40)


def clip(data_dir: Path) -> Path:
    return data_dir / "sleap/tests/data/tracks/clip.slp"


def stored_points(slp: Path) -> dict[tuple[int, int], np.ndarray]:
    """Points by (frame, track) as they lie in the file of a SLEAP of 2022, NaN where hidden."""
    found = {}
    with h5py.File(slp) as file:
        instances, points = file["instances"][:], file["points"][:]
        for frame in file["frames"][:]:
            for row in instances[frame["instance_id_start"] : frame["instance_id_end"]]:
                of = points[row["point_id_start"] : row["point_id_end"]]
                xy = np.stack([of["x"], of["y"]], axis=1)
                xy[~of["visible"]] = np.nan
                found[int(frame["frame_idx"]), int(row["track"])] = xy
    return found


def stored_bodyparts(slp: Path) -> list[str]:
    with h5py.File(slp) as file:
        metadata = json.loads(file["metadata"].attrs["json"])
    return [metadata["nodes"][n["id"]]["name"] for n in metadata["skeletons"][0]["nodes"]]


def decoded(video: Path, wanted: tuple[int, ...]) -> dict[int, np.ndarray]:
    frames = {}
    with av.open(str(video)) as container:
        for n, frame in enumerate(container.decode(video=0)):
            if n in wanted:
                frames[n] = frame.to_ndarray(format="rgb24")
            if n == max(wanted):
                break
    return frames


def read(path: Path, side_px: int = 64, **more: bool) -> LabelledArchive:
    return read_archive([path], size_px=(side_px, side_px), **more)


@pytest.fixture(scope="module")
def flies(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> LabelledArchive:
    """Three frames of two flies, in crops at the frames' own scale."""
    video = clip(data_dir).with_name("clip.mp4")
    path = part_of(clip(data_dir), tmp_path_factory.mktemp("flies") / "clip.slp", FRAMES, video)
    stored = [p for (frame, _), p in stored_points(clip(data_dir)).items() if frame in FRAMES]
    sides = [max(np.nanmax(p, axis=0) - np.nanmin(p, axis=0)) for p in stored]
    return read(path, int(np.ceil(1.5 * np.quantile(sides, 0.95))))


def test_points_and_bodyparts_are_those_in_the_file(data_dir: Path, flies: LabelledArchive) -> None:
    assert flies.bodyparts == tuple(stored_bodyparts(clip(data_dir)))
    assert flies.videos == ("clip/female", "clip/male")
    assert flies.scale.tolist() == [1.0] * 6
    stored = stored_points(clip(data_dir))
    for row in range(6):
        offset = stored[int(flies.frame[row]), int(flies.video[row])] - flies.points_px[row]
        corner = np.nanmedian(offset, axis=0)
        np.testing.assert_array_equal(corner, corner.round())
        seen = np.isfinite(offset).all(axis=1)
        np.testing.assert_allclose(offset[seen], np.tile(corner, (seen.sum(), 1)), atol=1e-4)
        # The crop is centred on the animal, to the pixel.
        points = flies.points_px[row][seen]
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        np.testing.assert_allclose(middle, (flies.images.shape[1] - 1) / 2, atol=0.51)


def test_a_crop_is_the_frame_cut_by_hand(data_dir: Path, flies: LabelledArchive) -> None:
    frames = decoded(clip(data_dir).with_name("clip.mp4"), FRAMES)
    stored = stored_points(clip(data_dir))
    side = flies.images.shape[1]
    for row in range(6):
        index = int(flies.frame[row])
        offset = np.nanmedian(stored[index, int(flies.video[row])] - flies.points_px[row], axis=0)
        x, y = offset.astype(int)
        np.testing.assert_array_equal(flies.images[row], frames[index][y : y + side, x : x + side])


@pytest.mark.parametrize(("name", "track"), [("clip_a", 0), ("clip_b", 1)])
def test_the_same_flies_in_deeplabcut_s_layout_have_the_same_points_and_pictures(
    data_dir: Path, flies: LabelledArchive, name: str, track: int
) -> None:
    table = dict(read_csv(data_dir / f"flies-dlc/oracle/{name}.csv").labelled())
    frames = decoded(data_dir / f"flies-dlc/videos/{name}.mp4", FRAMES)
    for row in np.flatnonzero(flies.video == track):
        index = int(flies.frame[row])
        shifts = np.array(
            [
                np.subtract(flies.points_px[row, flies.bodyparts.index(p.bodypart)],
                            (p.x_px, p.y_px))
                for p in table[str(index)] if p.bodypart in flies.bodyparts
            ]
        )  # fmt: skip
        assert len(shifts) >= 4
        np.testing.assert_allclose(shifts, np.tile(shifts[0], (len(shifts), 1)), atol=0.01)
        dx, dy = shifts[0].round().astype(int)
        ours = flies.images[row, max(dy, 0) : dy + 160, max(dx, 0) : dx + 160].astype(int)
        theirs = frames[index][max(-dy, 0) :, max(-dx, 0) :][: ours.shape[0], : ours.shape[1]]
        assert min(ours.shape[:2]) > 140
        assert np.abs(ours - theirs).mean() < 4  # theirs is compressed once more


def test_embedded_pictures_are_read_as_the_video_that_they_are_of(data_dir: Path) -> None:
    packed = read(data_dir / "sleap-nn/minimal_instance.pkg.slp", 96)
    plain = read(data_dir / "sleap/tests/data/slp_hdf5/minimal_instance.slp", 96)
    assert packed.videos == plain.videos
    assert packed.videos == ("centered_pair_low_quality", "centered_pair_low_quality/#2")
    np.testing.assert_array_equal(packed.points_px, plain.points_px)
    assert np.abs(packed.images.astype(int) - plain.images).mean() < 1
    assert plain.images.std() > 20


def test_points_of_a_file_before_1_1_count_from_the_pixel_s_corner(
    data_dir: Path, tmp_path: Path
) -> None:
    """As SLEAP had it then: the middle of the first pixel was at 0.5."""
    folder = data_dir / "sleap/tests/data"
    now = folder / "slp_hdf5/small_robot_minimal.slp"
    shutil.copy(folder / "videos/small_robot.mp4", tmp_path)
    old = tmp_path / "old.slp"
    old.write_bytes(now.read_bytes())
    with h5py.File(old, "r+") as file:
        file["metadata"].attrs["format_id"] = 1.0
    np.testing.assert_allclose(read(now).points_px - read(old).points_px, 0.5, atol=1e-4)


def test_one_animal_in_each_frame_is_shown_with_the_whole_frame(tmp_path: Path) -> None:
    files = pictures(tmp_path / "cage", 3)
    head_only = [(30.0, 20.0), (np.nan, np.nan)]
    path = write_project(
        tmp_path / "a.slp",
        {tuple(files): [Animal(0, [(5, 6), (7, 8)]), Animal(2, head_only)]},
    )
    archive = read(path, 60)
    assert (archive.videos, archive.frame.tolist()) == (("cage",), [0, 2])
    np.testing.assert_array_equal(archive.points_px, np.float32([[(5, 6), (7, 8)], head_only]))
    picture = cv2.imread(str(files[2]), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(archive.images[1, :40], picture)
    assert archive.scale.tolist() == [1, 1]


def test_every_animal_of_a_frame_has_a_name_of_its_own(tmp_path: Path) -> None:
    spots = [[(10 + 12 * i, 20), (14 + 12 * i, 20)] for i in range(4)]
    animals = [
        *(Animal(0, spot) for spot in spots[:2]),
        Animal(0, spots[2], "left/1"), Animal(0, spots[3], "left/1"),
        Animal(1, spots[3]),
    ]  # fmt: skip
    path = write_project(tmp_path / "a.slp", {tuple(pictures(tmp_path / "cage", 2)): animals})
    archive = read(path)
    named = [(archive.videos[v], int(f)) for v, f in zip(archive.video, archive.frame, strict=True)]
    assert named == [
        ("cage", 0), ("cage", 1), ("cage/#2", 0), ("cage/left_1", 0), ("cage/left_1/#2", 0),
    ]  # fmt: skip


def test_a_crop_at_the_edge_is_black_beyond_the_frame(tmp_path: Path) -> None:
    files = pictures(tmp_path / "cage", 1)
    corners = [[(1, 2), (9, 2)], [(50, 38), (58, 38)], [(-30, -30), (-22, -30)]]
    path = write_project(
        tmp_path / "a.slp", {tuple(files): [Animal(0, corner) for corner in corners]}
    )
    archive = read(path, 12)  # 1.5 times the animals' 8 px
    assert archive.scale.tolist() == [1, 1, 1]
    picture = cv2.imread(str(files[0]), cv2.IMREAD_COLOR_RGB)
    points = archive.points_in_images(np.arange(3)).round().astype(int)
    for row in range(2):
        for (x, y), (column, line) in zip(corners[row], points[row], strict=True):
            np.testing.assert_array_equal(archive.images[row, line, column], picture[y, x])
    assert (archive.images[0, :4] == 0).all()
    assert (archive.images[0, 4:] > 0).all()
    assert (archive.images[1, -4:] == 0).all()
    assert (archive.images[2] == 0).all()


def test_animals_of_one_bodypart_are_cropped_at_the_size_of_the_network(tmp_path: Path) -> None:
    animals = [Animal(0, [(20, 20)]), Animal(0, [(40, 20)])]
    path = write_project(
        tmp_path / "a.slp", {tuple(pictures(tmp_path / "c", 1)): animals}, bodyparts=["head"]
    )
    assert read(path, 16).scale.tolist() == [1, 1]


def test_predictions_count_only_where_that_is_asked_for(tmp_path: Path) -> None:
    spot, other = [(5.0, 6.0), (7.0, 8.0)], [(6.0, 6.0), (8.0, 8.0)]
    animals = [
        Animal(0, other, "mouse"), Animal(0, spot, "mouse", predicted=True),  # corrected
        Animal(1, spot, "mouse", predicted=True),
    ]  # fmt: skip
    path = write_project(tmp_path / "a.slp", {tuple(pictures(tmp_path / "cage", 2)): animals})
    people = read(path)
    assert people.frame.tolist() == [0]
    both = read(path, predicted=True)
    assert (both.videos, both.frame.tolist()) == (("cage/mouse",), [0, 1])
    np.testing.assert_array_equal(both.points_px, np.float32([other, spot]))


def test_a_project_of_predictions_alone_is_refused_and_can_be_taken(
    data_dir: Path, tmp_path: Path
) -> None:
    source = data_dir / "sleap/tests/data/tracks/clip.predictions.slp"
    path = part_of(source, tmp_path / "p.slp", FRAMES, source.with_name("clip.mp4"))
    with pytest.raises(SettingsError, match=r"no animal that a person labelled, and 6 predicted"):
        read(path)
    assert len(read(path, predicted=True).frame) == 6


def test_videos_of_the_same_name_in_one_project_stay_apart(tmp_path: Path) -> None:
    animal = Animal(0, [(5, 6), (7, 8)], "m")
    videos = {tuple(pictures(tmp_path / day / "cage", 1)): [animal] for day in ("day1", "day2")}
    archive = read(write_project(tmp_path / "a.slp", videos))
    assert archive.videos == ("day1:cage/m", "day2:cage/m")


def test_a_project_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is not there"):
        read(tmp_path / "a.slp")
    (tmp_path / "a.slp").write_text("no HDF5")
    with pytest.raises(SettingsError, match="cannot be read as a SLEAP project"):
        read(tmp_path / "a.slp")
    with h5py.File(tmp_path / "b.slp", "w") as file:
        file["points"] = [1]
    with pytest.raises(SettingsError, match="cannot be read as a SLEAP project"):
        read(tmp_path / "b.slp")


def test_what_to_install_is_said_where_sleap_io_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sleap_io", None)
    with pytest.raises(SettingsError, match=r"pip install 'alwatch\[sleap\]'"):
        SleapProject(tmp_path / "a.slp", predicted=False)
