"""Labelled frames of a DeepLabCut project, as an experiment wants them.

Where a folder `oracle` lies beside config.yaml, with a table `<video>.csv` in DeepLabCut's layout
that has a row for every frame of `videos/<video>.*`, every frame of these videos can be
"labelled". Otherwise the project's labelled frames are all there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import yaml

from alwatch.errors import ExportError, SettingsError, VideoError, shown
from alwatch.labelling.collected_data import labelled_frames
from alwatch.labelling.label_table import read_csv
from alwatch.video.process import DecodeLimits, open_video

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import ImageArray, LabelledFrame, LabelledPoint

_VIDEO_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".mpg", ".wmv", ".m4v"}


@dataclass(frozen=True, slots=True, eq=False)
class LabelledArchive:
    """Frames of one size with a label each.

    Parameters
    ----------
    images : uint8 array of shape (n, height, width, 3), RGB
        Brought to the size asked for; the original, scaled, lies at the top left.
    points_px : float32 array of shape (n, k, 2)
        x and y of the bodyparts in pixels of the original; NaN where not labelled.
    scale : float32 array of shape (n,)
        Pixels of `images` for one pixel of the original.
    video : int64 array of shape (n,)
        Number of each frame's video, in the order of `videos`.
    frame : int64 array of shape (n,)
    videos : tuple of str
        Names without suffix, sorted.
    bodyparts : tuple of str
    """

    images: ImageArray
    points_px: NDArray[np.float32]
    scale: NDArray[np.float32]
    video: NDArray[np.int64]
    frame: NDArray[np.int64]
    videos: tuple[str, ...]
    bodyparts: tuple[str, ...]

    def points_in_images(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Where the bodyparts of some rows lie in `images`."""
        scale = self.scale[rows, None, None]
        placed: NDArray[np.float32] = (self.points_px[rows] + 0.5) * scale - 0.5
        return placed

    def save(self, folder: Path) -> None:
        """Write everything into a folder, for other processes."""
        np.save(folder / "images.npy", self.images)
        np.savez(
            folder / "labels.npz",
            points_px=self.points_px,
            scale=self.scale,
            video=self.video,
            frame=self.frame,
            videos=np.array(self.videos),
            bodyparts=np.array(self.bodyparts),
        )

    @classmethod
    def load(cls, folder: Path) -> LabelledArchive:
        """Read what `save` wrote; the images stay on disk until they are looked at."""
        with np.load(folder / "labels.npz") as labels:
            return cls(
                images=np.load(folder / "images.npy", mmap_mode="r"),
                points_px=labels["points_px"],
                scale=labels["scale"],
                video=labels["video"],
                frame=labels["frame"],
                videos=tuple(labels["videos"].tolist()),
                bodyparts=tuple(labels["bodyparts"].tolist()),
            )

    def groups(self, pattern: str) -> NDArray[np.int64]:
        """Number each frame's group: what the first group of a pattern finds in its video's name.

        Raises
        ------
        SettingsError
            The pattern is no regular expression with a group, or does not fit a video's name.
        """
        try:
            found = [re.search(pattern, name) for name in self.videos]
            names = [match[1] if match else None for match in found]
        except (re.error, IndexError) as error:
            raise SettingsError(
                f"The pattern {pattern!r} is not a regular expression with a group ({error}); "
                "write one such as '^(.*)_[ab]$'."
            ) from None
        for video, name in zip(self.videos, names, strict=True):
            if name is None:
                raise SettingsError(
                    f"The pattern {pattern!r} finds nothing in the name of the video {video!r}; "
                    "write one that fits all of them."
                )
        numbers = np.unique([str(name) for name in names], return_inverse=True)[1]
        group: NDArray[np.int64] = numbers.astype(np.int64)[self.video]
        return group


def read_archive(config: Path, *, size_px: tuple[int, int]) -> LabelledArchive:
    """Read the labelled frames of a DeepLabCut project.

    Parameters
    ----------
    config : Path
        The project's config.yaml.
    size_px : (height, width)
        To which the frames are brought, their shape kept.

    Raises
    ------
    SettingsError
        There is no such project, or nothing in it is labelled.
    VideoError
        A frame or a video cannot be read.
    """
    bodyparts = read_bodyparts(config)
    tables = sorted((config.parent / "oracle").glob("*.csv"))
    if tables:
        parts = [_dense(config.parent, table, bodyparts, size_px) for table in tables]
    else:
        parts = list(_sparse(config.parent, bodyparts, size_px))
    if not parts:
        raise SettingsError(
            f"{config} has no labelled frames in {config.parent / 'labeled-data'}; label some, or "
            "name another project."
        )
    return LabelledArchive(
        images=np.concatenate([part.images for part in parts]),
        points_px=np.concatenate([part.points_px for part in parts]),
        scale=np.concatenate([np.full(len(part.frame), part.scale, np.float32) for part in parts]),
        video=np.concatenate([np.full(len(p.frame), n, np.int64) for n, p in enumerate(parts)]),
        frame=np.concatenate([part.frame for part in parts]),
        videos=tuple(part.name for part in parts),
        bodyparts=bodyparts,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The labelled frames of one video."""

    name: str
    images: ImageArray
    points_px: NDArray[np.float32]
    frame: NDArray[np.int64]
    scale: float


def read_bodyparts(config: Path) -> tuple[str, ...]:
    """Read the bodyparts of a single-animal DeepLabCut project.

    Raises
    ------
    SettingsError
        There is no such project, or it is one for several animals.
    """
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
        names = content["bodyparts"]
        if isinstance(names, list) and names:
            return tuple(str(name) for name in names)
    except OSError as error:
        raise SettingsError(
            f"{shown(config)} cannot be read: {error.strerror}; name the config.yaml of a "
            "DeepLabCut project."
        ) from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError):
        pass
    raise SettingsError(
        f"{shown(config)} names no list of bodyparts; it must be the config.yaml of a "
        "single-animal DeepLabCut project."
    )


def _dense(
    project: Path,
    table: Path,
    bodyparts: tuple[str, ...],
    size_px: tuple[int, int],
) -> _Part:
    """Every frame of a video, with its row of the table."""
    videos = [path for path in sorted((project / "videos").glob(f"{table.stem}.*"))
              if path.suffix.lower() in _VIDEO_SUFFIXES]  # fmt: skip
    if len(videos) != 1:
        raise SettingsError(
            f"{shown(table)} has labels for one video, but {project / 'videos'} has {len(videos)} "
            f"of that name; there must be one."
        )
    try:
        labels = {int(name): points for name, points in read_csv(table).labelled()}
    except ValueError as error:
        raise SettingsError(f"{shown(table)} cannot be read: {error}.") from None
    wanted = np.array(sorted(labels), np.int64)
    images, frames = [], []
    scale = 1.0
    with open_video(videos[0], limits=DecodeLimits()) as reader:
        reader.probe()
        for frame in reader.read(wanted):
            image, scale = _fitted(frame.image, size_px)
            images.append(image)
            frames.append(frame.index)
    points = [_points(labels[index], bodyparts) for index in frames]
    return _Part(table.stem, np.stack(images), np.stack(points), np.array(frames, np.int64), scale)


def _sparse(project: Path, bodyparts: tuple[str, ...], size_px: tuple[int, int]) -> Iterator[_Part]:
    """The labelled frames of each folder; those of a size that is not its first one's are apart."""
    for folder in sorted(path for path in (project / "labeled-data").glob("*") if path.is_dir()):
        try:
            labels = labelled_frames(project, folder)
        except ExportError as error:
            raise SettingsError(str(error)) from None
        if not labels:
            continue
        firsts: dict[int, LabelledFrame] = {}
        for label in labels:  # of several people, the first by name
            firsts.setdefault(label.frame, label)
        labels = list(firsts.values())
        images = []
        scale = 1.0
        for label in labels:
            image, scale = _fitted(_image(folder, label.frame), size_px)
            images.append(image)
        points = np.stack([_points(label.points, bodyparts) for label in labels])
        frame = np.array([label.frame for label in labels], np.int64)
        yield _Part(folder.name, np.stack(images), points, frame, scale)


def _image(folder: Path, frame: int) -> ImageArray:
    for path in folder.glob(f"*{frame}.png"):
        digits = re.search(r"(\d+)\.png$", path.name)
        if digits and int(digits[1]) == frame:
            image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
            if image is not None:
                return np.asarray(image, np.uint8)
    raise VideoError(f"Frame {frame} of {shown(folder)} is labelled, but its picture is not there.")


def _fitted(image: ImageArray, size_px: tuple[int, int]) -> tuple[ImageArray, float]:
    """A frame scaled into the size, its shape kept, at the top left."""
    height, width = image.shape[:2]
    scale = min(size_px[0] / height, size_px[1] / width)
    inner = (round(width * scale), round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.zeros((*size_px, 3), np.uint8)
    canvas[: inner[1], : inner[0]] = cv2.resize(image, inner, interpolation=how)
    return canvas, scale


def _points(points: tuple[LabelledPoint, ...], bodyparts: tuple[str, ...]) -> NDArray[np.float32]:
    placed = np.full((len(bodyparts), 2), np.nan, np.float32)
    for point in points:
        if point.bodypart in bodyparts:
            placed[bodyparts.index(point.bodypart)] = point.x_px, point.y_px
    return placed
