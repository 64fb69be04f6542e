from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.errors import VideoError
from alwatch.simulate.labelled_video import FittedFrame, read_picture, stacked, told_apart

PATHS = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(tuple), max_size=6)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ([("x", "clip"), ("x", "other")], ["clip", "other"]),
        ([("day1", "clip"), ("day2", "clip"), ("day2", "other")],
         ["day1:clip", "day2:clip", "other"]),
        ([("a", "day", "clip"), ("b", "day", "clip")], ["a:day:clip", "b:day:clip"]),
        ([("clip",), ("day", "clip")], ["clip", "day:clip"]),
        ([("d", "clip"), ("d", "clip"), ("e", "clip")], ["d:clip", "d:clip:2", "e:clip"]),
    ],
)  # fmt: skip
def test_paths_of_one_name_are_told_apart_by_their_folders(
    paths: list[tuple[str, ...]], names: list[str]
) -> None:
    assert told_apart(paths) == names


@given(PATHS)
def test_no_two_paths_are_named_alike(paths: list[tuple[str, ...]]) -> None:
    assert len(set(told_apart(paths))) == len(paths)


def test_frames_of_two_sizes_in_one_video_have_a_scale_each() -> None:
    points = np.zeros((1, 2), np.float32)
    frames = [
        FittedFrame.of(n, np.full((*size, 3), 9, np.uint8), points, (40, 40))
        for n, size in enumerate([(20, 20), (80, 40)])
    ]
    video = stacked("a", frames)
    assert video.scale.tolist() == [2.0, 0.5]
    assert (video.images[1, :, 20:] == 0).all()
    assert (video.images[1, :, :20] == 9).all()


def test_a_video_of_which_no_frame_can_be_read_is_refused() -> None:
    with pytest.raises(VideoError, match="No labelled frame of the video clip can be read"):
        stacked("clip", [])


def test_a_picture_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    for name in ("a.png", "b.png"):
        with pytest.raises(VideoError, match=f"Frame 3 is labelled, but its picture .*{name}"):
            read_picture(tmp_path / name, what="Frame 3")
