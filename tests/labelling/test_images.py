from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alwatch.errors import ExportError
from alwatch.labelling.images import png_size_px, read_exactly, write_png
from alwatch.records import QueuedVideo
from tests.labelling.helpers import make_video, pixels, read_frames

if TYPE_CHECKING:
    from alwatch.records import ImageArray


def decode_png(path: Path) -> np.ndarray:
    """A decoder of 8-bit RGB PNGs, written from the specification."""
    data = path.read_bytes()
    at, parts, header = 8, [], b""
    while at < len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(
            kind + body
        )
        header = body if kind == b"IHDR" else header
        parts += [body] if kind == b"IDAT" else []
        at += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", header[:10])
    assert (depth, colour) == (8, 2)
    raw = np.frombuffer(zlib.decompress(b"".join(parts)), np.uint8).reshape(height, -1)
    rows = np.zeros((height, width, 3), int)
    for y in range(height):
        above = rows[y - 1] if y else np.zeros((width, 3), int)
        line = raw[y, 1:].reshape(width, 3).astype(int)
        for x in range(width):
            left = rows[y, x - 1] if x else np.zeros(3, int)
            corner = above[x - 1] if x else np.zeros(3, int)
            guess = left + above[x] - corner
            near = np.stack([abs(guess - left), abs(guess - above[x]), abs(guess - corner)])
            paeth = np.choose(near.argmin(axis=0), [left, above[x], corner])
            add = [np.zeros(3, int), left, above[x], (left + above[x]) // 2, paeth]
            rows[y, x] = (line[x] + add[raw[y, 0]]) % 256
    return rows


def test_a_png_holds_the_rgb_pixels_it_was_given(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (13, 22, 3), np.uint8)
    write_png(tmp_path / "a.png", image)
    np.testing.assert_array_equal(decode_png(tmp_path / "a.png"), image)


def test_a_png_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a person's")
    with pytest.raises(FileExistsError):
        write_png(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    assert (tmp_path / "a.png").read_bytes() == b"a person's"


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))]
)
def test_only_rgb_bytes_are_taken_for_an_image(tmp_path: Path, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(height, width, 3\) uint8"):
        write_png(tmp_path / "a.png", image)
    assert list(tmp_path.iterdir()) == []


@given(width=st.integers(1, 300), height=st.integers(1, 300))
def test_the_size_in_the_header_is_that_of_the_image(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int
) -> None:
    path = tmp_path_factory.mktemp("png") / "a.png"
    write_png(path, np.zeros((height, width, 3), np.uint8))
    assert png_size_px(path) == (width, height)


def test_the_size_of_a_labelled_frame_of_a_real_project_is_read(data_dir: Path) -> None:
    project = data_dir / "dlc-openfield" / "openfield-Pranav-2018-10-30"
    assert png_size_px(project / "labeled-data" / "m4s1" / "img0000.png") == (640, 480)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff" + b"x" * 60])
def test_what_is_no_png_has_no_size(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match="not a PNG"):
        png_size_px(tmp_path / "a.png")


def test_frames_are_asked_for_once_by_increasing_index(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", (41, 5, 0, 5, 7))
    assert [index for index, _ in read_exactly(video, {41, 5, 0}, read_frames)] == [0, 5, 41]


def test_frames_that_were_not_asked_for_are_passed_over(tmp_path: Path) -> None:
    def reads_all(video: QueuedVideo) -> Iterator[tuple[int, ImageArray]]:
        for index in range(50):
            yield index, pixels(video, index)

    video = make_video(tmp_path / "a.mp4", (41, 5, 0))
    assert [index for index, _ in read_exactly(video, [5, 41], reads_all)] == [5, 41]


def test_a_frame_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    def leaves_out(video: QueuedVideo) -> Iterator[tuple[int, ImageArray]]:
        return (item for item in read_frames(video) if item[0] != 5)

    video = make_video(tmp_path / "a.mp4", (0, 5, 41))
    with pytest.raises(ExportError, match=r"3 frames of .*a\.mp4 .* 5 cannot be decoded"):
        list(read_exactly(video, {0, 5, 41}, leaves_out))
