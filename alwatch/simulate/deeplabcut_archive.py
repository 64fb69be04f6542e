"""Labelled frames of a DeepLabCut project.

Where a folder `oracle` lies beside config.yaml, with a table `<video>.csv` in DeepLabCut's layout
that has a row for every frame of `videos/<video>.*`, every frame of these videos can be
"labelled". Otherwise the project's labelled frames are all there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from alwatch.errors import ExportError, SettingsError, VideoError, shown
from alwatch.labelling.collected_data import labelled_frames
from alwatch.labelling.label_table import read_csv
from alwatch.simulate.labelled_video import (
    FittedFrame,
    LabelledVideo,
    check_frames,
    read_picture,
    stacked,
)
from alwatch.video.process import DecodeLimits, open_video

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import ImageArray, LabelledFrame, LabelledPoint

_VIDEO_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".mpg", ".wmv", ".m4v"}


class DeepLabCutProject:
    """A `LabellingProject` that DeepLabCut made.

    Parameters
    ----------
    config : Path
        The project's config.yaml.

    Raises
    ------
    SettingsError
        There is no such project, or it is one for several animals.
    """

    def __init__(self, config: Path) -> None:
        self._config = config
        self.parts = config.absolute().parent.parts
        self.bodyparts = _bodyparts(config)

    def videos(
        self, bodyparts: tuple[str, ...], *, size_px: tuple[int, int]
    ) -> list[LabelledVideo]:
        """Read its labelled frames.

        Raises
        ------
        SettingsError
            Nothing in it is labelled.
        VideoError
            A frame or a video cannot be read.
        """
        folder = self._config.parent
        tables = sorted((folder / "oracle").glob("*.csv"))
        if tables:
            return [_dense(folder, table, bodyparts, size_px) for table in tables]
        videos = list(_sparse(folder, bodyparts, size_px))
        if not videos:
            raise SettingsError(
                f"{shown(self._config)} has no labelled frames in "
                f"{shown(folder / 'labeled-data')}; label some, or name another project."
            )
        return videos


def _bodyparts(config: Path) -> tuple[str, ...]:
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
) -> LabelledVideo:
    """Every frame of a video, with its row of the table."""
    videos = [path for path in sorted((project / "videos").glob("*"))
              if path.stem == table.stem and path.suffix.lower() in _VIDEO_SUFFIXES]  # fmt: skip
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
    with open_video(videos[0], limits=DecodeLimits()) as reader:
        check_frames(sorted(labels) or [0], len(reader.probe()[1].pts), videos[0], table)
        frames = [
            FittedFrame.of(
                frame.index, frame.image, _points(labels[frame.index], bodyparts), size_px
            )
            for frame in reader.read(wanted)
        ]
    return stacked(table.stem, frames)


def _sparse(
    project: Path, bodyparts: tuple[str, ...], size_px: tuple[int, int]
) -> Iterator[LabelledVideo]:
    """The labelled frames of each folder."""
    for folder in sorted(path for path in (project / "labeled-data").glob("*") if path.is_dir()):
        try:
            labels = labelled_frames(project, folder)
        except ExportError as error:
            raise SettingsError(str(error)) from None
        firsts: dict[int, LabelledFrame] = {}
        for label in labels:  # of several people, the first by name
            firsts.setdefault(label.frame, label)
        frames = [
            FittedFrame.of(
                label.frame, _image(folder, label.frame), _points(label.points, bodyparts), size_px
            )
            for label in firsts.values()
        ]
        if frames:
            yield stacked(folder.name, frames)


def _image(folder: Path, frame: int) -> ImageArray:
    what = f"Frame {frame} of {shown(folder)}"
    for path in folder.glob(f"*{frame}.png"):
        digits = re.search(r"(\d+)\.png$", path.name)
        if digits and int(digits[1]) == frame:
            return read_picture(path, what=what)
    raise VideoError(f"{what} is labelled, but its picture is not there.")


def _points(points: tuple[LabelledPoint, ...], bodyparts: tuple[str, ...]) -> NDArray[np.float32]:
    placed = np.full((len(bodyparts), 2), np.nan, np.float32)
    for point in points:
        if point.bodypart in bodyparts:
            placed[bodyparts.index(point.bodypart)] = point.x_px, point.y_px
    return placed
