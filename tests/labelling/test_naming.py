from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.labelling.naming import frame_index, index_digits, is_safe, own_names


@given(st.integers(2, 10_000_000))
def test_indices_are_padded_as_deeplabcut_pads_them(n_frames: int) -> None:
    assert index_digits(n_frames) == int(np.ceil(np.log10(n_frames)))


@pytest.mark.parametrize(("n_frames", "digits"), [(1, 1), (10, 1), (1000, 3), (1001, 4)])
def test_the_largest_index_of_a_thousand_frames_has_three_digits(
    n_frames: int, digits: int
) -> None:
    assert index_digits(n_frames) == digits
    assert len(str(n_frames - 1)) <= digits


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("img007.png", 7),
        ("img00123c4.png", 123),
        ("m3_img0456.png", 456),
        ("frame12.jpg", 12),
        ("readme.png", None),
        (f"img{'9' * 30}.png", None),
        (f"a{'9' * 30}.png", None),
        ("", None),
    ],
)
def test_the_index_is_the_number_in_an_images_name(name: str, index: int | None) -> None:
    assert frame_index(name) == index


@pytest.mark.parametrize("name", ["cam1", "2026 cage 3", "Mäuse_7", "a.b", "日本", "a,b(1)"])
def test_names_that_people_give_are_kept(name: str) -> None:
    assert is_safe(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a\\b", "a:b", "a*", "[a]", "a.", "a ", "x\n", "-a"]
)
def test_names_that_break_some_system_are_not_safe(name: str) -> None:
    assert not is_safe(name)


def test_names_too_long_for_a_file_system_are_not_safe() -> None:
    assert is_safe("ä" * 75)
    assert not is_safe("ä" * 76)


@given(st.text(min_size=1).filter(lambda s: "/" not in s and "\0" not in s))
def test_a_videos_own_names_are_always_safe_and_end_in_its_hash(stem: str) -> None:
    short, long = own_names(Path(f"/archive/{stem}.mp4"), "0123456789abcdef" * 4)
    for name in (short, long):
        assert re.fullmatch(r"\w[\w .,+=@()-]*", name)
        assert len(f"{name}.mp4".encode()) <= 255
    assert short.endswith("-01234567")
    assert long.endswith("-" + "0123456789abcdef" * 4)
