"""A package of SLEAP: a `.slp` file that holds the images of its frames.

As sleap-io's own packages: each video's PNG files as rows of `video<n>/video`, padded with zeros;
their frame indices in `video<n>/frame_numbers`; the video they come from in `source_video`. The
images are those that alwatch reads, so that they are the right ones for any video.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import cv2
import h5py
import numpy as np
import sleap_io

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from alwatch.records import ImageArray


def encode_png(image: ImageArray, *, is_grey: bool) -> bytes:
    """An RGB image of shape (height, width, 3) as PNG, of one channel if it is grey."""
    shown = image[..., 0] if is_grey else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".png", shown)[1].tobytes())


def embedded_video(source: sleap_io.Video, number: int, package: Path) -> sleap_io.Video:
    """A video whose images lie in the package itself, as its `number`-th."""
    return sleap_io.Video(
        filename=str(package),
        backend_metadata={
            "type": "HDF5Video",
            "shape": source.backend_metadata["shape"],
            "filename": ".",
            "dataset": f"video{number}/video",
            "input_format": "channels_last",
            "convert_range": False,
            "has_embedded_images": True,
            "grayscale": source.backend_metadata["grayscale"],
            "fps": source.backend_metadata["fps"],
        },
        source_video=source,
        open_backend=False,
    )


def add_images(
    package: Path, videos: Mapping[int, tuple[sleap_io.Video, dict[int, bytes]]]
) -> None:
    """Put images into a package that has been saved without, and wait until they are on the disk.

    Parameters
    ----------
    package : Path
    videos : mapping of int to (Video, mapping of int to bytes)
        By number: the source video, and the PNG files by frame index.
    """
    with h5py.File(package, "a") as file:
        for number, (source, images) in videos.items():
            indices = sorted(images)
            rows = np.zeros((len(images), max(map(len, images.values()))), np.int8)
            for row, index in zip(rows, indices, strict=True):
                row[: len(images[index])] = np.frombuffer(images[index], np.int8)
            group = file.create_group(f"video{number}")
            dataset = group.create_dataset("video", data=rows)
            names = ("frames", "height", "width", "channels")
            dataset.attrs.update(zip(names, source.backend_metadata["shape"], strict=True))
            dataset.attrs.update({"format": "png", "channel_order": "RGB"})
            group.create_dataset("frame_numbers", data=np.array(indices, np.int64))
            described = {"filename": source.filename, "backend": source.backend_metadata}
            group.create_group("source_video").attrs["json"] = json.dumps(described)
    with package.open("rb") as saved:
        os.fsync(saved.fileno())
