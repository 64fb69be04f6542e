"""The demo's labels: an oracle that knows the drawing writes them as a person's tool would.

A queue lies in a folder with its pictures; `labels.csv` beside them says where the bodyparts are.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from alwatch.demo.draw import DrawnVideo

_TABLE = "labels.csv"
_COLUMNS = ("image", "individual", "bodypart", "x", "y")


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled picture: RGB uint8 (h, w, 3), and points in its pixels of shape (bodyparts, 2)."""

    image: NDArray[np.uint8]
    points_px: NDArray[np.float32]


def label_before(videos: Sequence[DrawnVideo], folder: Path, *, stride: int) -> int:
    """Label every n-th frame of some videos, as it was done the season before; how many."""
    folder.mkdir(parents=True)
    rows = []
    for video in videos:
        with av.open(str(video.path)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index % stride == 0:
                    name = f"{video.path.stem}_img{index:04d}.png"
                    cv2.imwrite(str(folder / name), frame.to_ndarray(format="bgr24"))
                    rows += _rows(name, video, index)
    _write(folder / _TABLE, rows)
    return len(rows) // len(videos[0].bodyparts)


def label_queue(folder: Path, truth: Mapping[Path, DrawnVideo]) -> int:
    """Label every picture of a queue's folder; how many.

    Parameters
    ----------
    folder : Path
    truth : mapping of Path to DrawnVideo
        By where the videos lie in the archive.
    """
    rows = []
    with (folder / "frames.csv").open(newline="", encoding="utf-8") as frames:
        pictures = list(csv.DictReader(frames))
    for picture in pictures:
        rows += _rows(picture["image"], truth[Path(picture["video"])], int(picture["frame"]))
    _write(folder / _TABLE, rows)
    return len(pictures)


def examples_of(
    queues: Path, bodyparts: Sequence[str], *, without: Collection[tuple[str, int]] = ()
) -> Iterator[Example]:
    """Every labelled picture of a folder of queues, but for those of (video's name, frame)."""
    for table in sorted(queues.glob(f"queue-*/{_TABLE}")):
        points: dict[str, NDArray[np.float32]] = {}
        with table.open(newline="", encoding="utf-8") as rows:
            for row in csv.DictReader(rows):
                unknown = np.full((len(bodyparts), 2), np.nan, np.float32)
                of_image = points.setdefault(row["image"], unknown)
                of_image[bodyparts.index(row["bodypart"])] = float(row["x"]), float(row["y"])
        for name, of_image in points.items():
            video, number = name.removesuffix(".png").rsplit("_img", 1)
            if (video, int(number)) not in without:
                image = cv2.imread(str(table.parent / name), cv2.IMREAD_COLOR_RGB)
                assert image is not None
                yield Example(image.astype(np.uint8, copy=False), of_image)


def _rows(image: str, video: DrawnVideo, index: int) -> list[dict[str, object]]:
    return [
        {
            "image": image,
            "individual": "",
            "bodypart": bodypart,
            "x": round(float(x_px), 3),
            "y": round(float(y_px), 3),
        }
        for bodypart, (x_px, y_px) in zip(video.bodyparts, video.keypoints[index], strict=True)
    ]


def _write(table: Path, rows: Sequence[dict[str, object]]) -> None:
    unfinished = table.with_suffix(".tmp")
    with unfinished.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(unfinished, table)
