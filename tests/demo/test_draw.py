from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alwatch.demo.draw import AUTUMN, SPRING, DemoSeason, DrawnVideo, draw_archive
from alwatch.demo.scene import paint_scene

SECONDS, FPS = 3.0, 25
SIZES = {season.name: season.scene.camera.size_px for season in (SPRING, AUTUMN)}


def read_video(path: Path) -> NDArray[np.uint8]:
    """Decode with a reader that had no part in writing: RGB of shape (n, height, width, 3)."""
    capture = cv2.VideoCapture(str(path))
    frames: list[NDArray[np.uint8]] = []
    while True:
        found, frame = capture.read()
        if not found:
            return np.array(frames)
        frames.append(frame[..., ::-1].astype(np.uint8))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> list[DrawnVideo]:
    folder = tmp_path_factory.mktemp("archive")
    rng = np.random.default_rng(4)
    return draw_archive(folder, rng=rng, videos_per_season=2, seconds=SECONDS, fps=FPS)


@pytest.fixture(scope="module")
def pictures(archive: list[DrawnVideo]) -> list[NDArray[np.uint8]]:
    return [read_video(video.path) for video in archive]


def test_each_season_has_its_folder_of_videos(archive: list[DrawnVideo]) -> None:
    assert [f"{v.path.parent.name}/{v.path.name}" for v in archive] == [
        "2025-spring/mouse-01.mp4",
        "2025-spring/mouse-02.mp4",
        "2025-autumn/mouse-01.mp4",
        "2025-autumn/mouse-02.mp4",
    ]
    assert [video.season for video in archive] == [video.path.parent.name for video in archive]


def test_every_video_has_the_asked_number_of_frames(
    archive: list[DrawnVideo], pictures: list[NDArray[np.uint8]]
) -> None:
    for video, frames in zip(archive, pictures, strict=True):
        width, height = SIZES[video.season]
        assert frames.shape == (SECONDS * FPS, height, width, 3)
        assert cv2.VideoCapture(str(video.path)).get(cv2.CAP_PROP_FPS) == FPS


def test_the_same_seed_draws_the_same_archive(tmp_path: Path) -> None:
    first, again, other = (
        draw_archive(
            tmp_path / name, rng=np.random.default_rng(seed), videos_per_season=1, seconds=0.4
        )
        for name, seed in (("first", 7), ("again", 7), ("other", 8))
    )
    for a, b, c in zip(first, again, other, strict=True):
        assert a.path.read_bytes() == b.path.read_bytes() != c.path.read_bytes()
        np.testing.assert_array_equal(a.keypoints, b.keypoints)


def test_there_is_one_keypoint_for_each_bodypart_and_frame(archive: list[DrawnVideo]) -> None:
    for video in archive:
        assert video.bodyparts == ("snout", "left_ear", "right_ear", "back", "tail_base")
        assert video.keypoints.shape == (SECONDS * FPS, len(video.bodyparts), 2)


@pytest.mark.parametrize("season", [SPRING, AUTUMN], ids=lambda season: season.name)
def test_keypoints_never_leave_the_frame(season: DemoSeason, tmp_path: Path) -> None:
    drawn = draw_archive(
        tmp_path, rng=np.random.default_rng(1), seasons=[season], videos_per_season=3, fps=8
    )
    for video in drawn:
        assert (video.keypoints >= 0).all()
        assert (video.keypoints <= np.array(SIZES[season.name]) - 1).all()


def test_keypoints_lie_on_the_animal(
    archive: list[DrawnVideo], pictures: list[NDArray[np.uint8]]
) -> None:
    """The animal is what differs from the median of all of the season's frames."""
    for season in SIZES:
        mine = [i for i, video in enumerate(archive) if video.season == season]
        empty = np.median(np.concatenate([pictures[i][::6] for i in mine]), axis=0)
        for i in mine:
            away = np.abs(pictures[i] - empty).max(axis=-1)
            # The tip of the nose is a pixel or two wide, and in part over the floor.
            near = np.array([cv2.dilate(frame, np.ones((5, 5))) for frame in away])
            x, y = np.round(archive[i].keypoints).astype(int).transpose(2, 0, 1)
            found = near[np.arange(len(near))[:, None], y, x] > 40
            assert found.mean(axis=0).min() > 0.9, archive[i].path


def test_left_is_the_animals_own_left(archive: list[DrawnVideo]) -> None:
    for video in archive:
        snout, left_ear, right_ear, back, _ = video.keypoints.transpose(1, 0, 2)
        forward, leftward = (left_ear + right_ear) / 2 - back, left_ear - right_ear
        # With y down, left of a heading to the right (+x) is up (-y): a negative cross product.
        cross = forward[:, 0] * leftward[:, 1] - forward[:, 1] * leftward[:, 0]
        assert (cross < 0).all()
        assert (np.linalg.norm(snout - back, axis=1) > np.linalg.norm(leftward, axis=1)).all()


def test_the_animal_explores_and_never_jumps(archive: list[DrawnVideo]) -> None:
    for video in archive:
        steps = np.linalg.norm(np.diff(video.keypoints, axis=0), axis=-1)
        assert steps.max() < 20
        assert steps.sum(axis=0).min() > 40


def test_the_seasons_look_different(
    archive: list[DrawnVideo], pictures: list[NDArray[np.uint8]]
) -> None:
    colour, contrast = {}, {}
    for season in SIZES:
        mine = [i for i, video in enumerate(archive) if video.season == season]
        colour[season] = np.mean([pictures[i].mean(axis=(0, 1, 2)) for i in mine], axis=0)
        at_back = [archive[i].keypoints[0, 3].round().astype(int) for i in mine]
        coat = np.mean([pictures[i][0, y, x] for i, (x, y) in zip(mine, at_back, strict=True)])
        contrast[season] = coat - colour[season].mean()

    spring, autumn = colour["2025-spring"], colour["2025-autumn"]
    assert (spring - autumn > 60).all()
    assert spring[0] > spring[2], "the spring is warm"
    assert autumn[0] < autumn[2], "the autumn is cold"
    assert contrast["2025-spring"] < -40, "a dark animal on light bedding"
    assert contrast["2025-autumn"] > 40, "a light animal on a dark floor"


def test_each_video_has_an_animal_of_its_own(archive: list[DrawnVideo]) -> None:
    lengths = [
        np.median(np.linalg.norm(v.keypoints[:, 1] - v.keypoints[:, 2], axis=-1)) for v in archive
    ]
    assert len({round(float(length), 2) for length in lengths}) == len(archive)


def test_a_scene_fills_its_frame_and_is_drawn_again_from_the_same_seed() -> None:
    for season in (SPRING, AUTUMN):
        width, height = season.scene.camera.size_px
        first, again = (paint_scene(season.scene, rng=np.random.default_rng(2)) for _ in range(2))
        assert first.shape == (height, width, 3)
        np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(("videos_per_season", "seconds"), [(0, 1.0), (1, 0.0)])
def test_an_archive_without_frames_is_refused(
    tmp_path: Path, videos_per_season: int, seconds: float
) -> None:
    with pytest.raises(ValueError, match="needs videos with frames"):
        draw_archive(
            tmp_path,
            rng=np.random.default_rng(0),
            videos_per_season=videos_per_season,
            seconds=seconds,
        )
