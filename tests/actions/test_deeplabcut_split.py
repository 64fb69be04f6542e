from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.actions.deeplabcut_split import Split, frame_of, padded, split_frames


def images(**counts: int) -> list[tuple[str, str]]:
    return [(video, f"img{i:03}.png") for video, n in counts.items() for i in range(n)]


@pytest.mark.parametrize(
    ("image", "frame"), [("img007.png", 7), ("video_0012.png", 12), ("x.png", None)]
)
def test_the_frame_index_is_the_last_number_of_an_images_name(image: str, frame: int) -> None:
    assert frame_of(image) == frame


def test_whole_videos_are_left_out() -> None:
    frames = images(**{f"v{i}": 5 for i in range(20)})
    split = split_frames(frames, held_out=(), train_share=0.9, seed="a")
    assert split.by == "video"
    assert len(split.test) == 10
    assert len({frames[row][0] for row in split.test}) == 2
    assert not {frames[row][0] for row in split.test} & {frames[row][0] for row in split.train}


def test_a_video_is_left_out_only_where_that_comes_nearer_to_the_share() -> None:
    frames = images(fits=10, large=25, rest=65)
    for seed in "abcdefgh":
        split = split_frames(frames, held_out=(), train_share=0.9, seed=seed)
        assert {frames[row][0] for row in split.test} == {"fits"}


def test_frames_that_must_be_are_left_out_before_any_video() -> None:
    frames = images(a=50, b=50)
    held_out = {("a", i) for i in range(10)}
    split = split_frames(frames, held_out=held_out, train_share=0.95, seed="a")
    assert split.test == tuple(range(10))
    assert split.by == "video"


def test_where_every_video_is_too_large_single_frames_are_left_out() -> None:
    split = split_frames(images(a=60, b=40), held_out=(), train_share=0.95, seed="a")
    assert split.by == "frame"
    assert len(split.test) == 5


def test_single_frames_add_to_too_few_that_must_be() -> None:
    split = split_frames(images(a=100), held_out={("a", 7)}, train_share=0.95, seed="a")
    assert split.by == "frame"
    assert len(split.test) == 5
    assert 7 in split.test


def test_held_out_frames_that_are_not_labelled_change_nothing() -> None:
    frames = images(a=60, b=40)
    assert split_frames(frames, held_out={("c", 1)}, train_share=0.9, seed="a") == split_frames(
        frames, held_out=(), train_share=0.9, seed="a"
    )


def test_nothing_left_to_train_on_is_refused() -> None:
    with pytest.raises(ValueError, match="of 3 labelled frames 3 would be held out"):
        split_frames(images(a=3), held_out={("a", i) for i in range(3)}, train_share=0.9, seed="a")


def test_a_single_frame_is_too_few() -> None:
    with pytest.raises(ValueError, match="of 1 labelled frames 0 would"):
        split_frames(images(a=1), held_out=(), train_share=0.9, seed="a")


COUNTS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 30), min_size=1)


@given(COUNTS, st.floats(0.5, 0.99), st.text(max_size=3), st.randoms())
def test_the_split_depends_on_the_frames_and_the_seed_alone(
    counts: dict[str, int], share: float, seed: str, rng: random.Random
) -> None:
    frames = images(**counts)
    if len(frames) < 2:
        return
    other = rng.sample(frames, len(frames))
    first, second = (
        split_frames(order, held_out=(), train_share=share, seed=seed) for order in (frames, other)
    )
    assert {frames[row] for row in first.test} == {other[row] for row in second.test}


@given(COUNTS, st.floats(0.5, 0.99), st.sets(st.integers(0, 29)))
def test_every_frame_is_on_one_side_and_no_more_are_left_out_than_half_by_choice(
    counts: dict[str, int], share: float, held: set[int]
) -> None:
    frames = images(**counts)
    held_out = {("a", i) for i in held}
    forced = {row for row, (v, name) in enumerate(frames) if (v, frame_of(name)) in held_out}
    if len(frames) - len(forced) < 2:
        return
    split = split_frames(frames, held_out=held_out, train_share=share, seed="s")
    assert sorted(split.train + split.test) == list(range(len(frames)))
    assert forced <= set(split.test)
    assert 1 <= len(split.test) <= len(forced) + len(frames) // 2


@given(st.integers(1, 99), st.integers(1, 500), st.integers(1, 100))
def test_padded_rows_have_just_the_share_that_deeplabcut_names(
    percent: int, n_train: int, n_test: int
) -> None:
    fraction = percent / 100
    split = Split(tuple(range(n_train)), tuple(range(n_train, n_train + n_test)), "video")
    train, test = padded(split, fraction)
    assert round(len(train) / (len(train) + len(test)), 2) == fraction
    assert tuple(row for row in train if row != -1) == split.train
    assert tuple(row for row in test if row != -1) == split.test


@pytest.mark.parametrize("fraction", [0.955, 0.333, 0.29, 0.8])
def test_the_share_names_the_same_folder_as_that_of_the_project(fraction: float) -> None:
    train, test = padded(Split((0, 1, 2), (3,), "video"), fraction)
    found = round(len(train) / (len(train) + len(test)), 2)
    assert int(100 * found) == int(100 * fraction)


@pytest.mark.parametrize("fraction", [1.0, 0.0, 0.004])
def test_a_share_that_leaves_nothing_on_one_side_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="leaves nothing to train or to test on"):
        padded(Split((0,), (1,), "video"), fraction)
