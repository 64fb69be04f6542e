"""Frames on their way to PNG files, written so that they survive a power cut."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2

from alwatch.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from alwatch.records import ImageArray, QueuedVideo, ReadFrames

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_BYTES = 24  # signature, chunk length, "IHDR", width, height


def write_png(path: Path, image: ImageArray) -> None:
    """Write a new PNG file and wait until it is on the disk.

    Parameters
    ----------
    path : Path
        Must not exist yet.
    image : uint8 array of shape (height, width, 3), RGB

    Raises
    ------
    ValueError
        If the image is of another kind.
    OSError
        If the file cannot be written, or exists.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype.name != "uint8":
        raise ValueError(f"image must be (height, width, 3) uint8, got {image.shape} {image.dtype}")
    encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    write_durably(path, encoded.tobytes())


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk; raises OSError if it exists."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def png_size_px(path: Path) -> tuple[int, int]:
    """Width and height of a PNG, from its first 24 bytes.

    Raises
    ------
    ValueError
        If the file is not a PNG.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    is_png = header[:8] == _PNG_SIGNATURE and header[12:16] == b"IHDR"
    if len(header) < _HEADER_BYTES or not is_png:
        raise ValueError(f"{path} is not a PNG")
    width_px, height_px = struct.unpack(">II", header[16:24])
    return width_px, height_px


def read_exactly(
    video: QueuedVideo,
    indices: Collection[int],
    read_frames: ReadFrames,
) -> Iterator[tuple[int, ImageArray]]:
    """Read some of a video's queued frames: by increasing index, all of them, of the right size.

    Raises
    ------
    ExportError
        If a frame cannot be decoded, or is not as large as the video.
    """
    if not indices:
        return
    by_index = {frame.frame: frame for frame in video.frames}
    lost = sorted(indices)
    wanted = replace(video, frames=tuple(by_index[index] for index in lost))
    for index, image in read_frames(wanted):
        if index not in lost:
            continue
        if image.shape[:2] != (video.height_px, video.width_px):
            raise ExportError(
                f"Frame {index} of {video.path} must be {video.width_px}x{video.height_px}; it is "
                f"{image.shape[1]}x{image.shape[0]}. Ingest the video again."
            )
        lost.remove(index)
        yield index, image
    if lost:
        raise ExportError(
            f"{len(wanted.frames)} frames of {video.path} are to be exported; "
            f"{', '.join(map(str, lost))} cannot be decoded. Restore the file, or ingest it again."
        )
