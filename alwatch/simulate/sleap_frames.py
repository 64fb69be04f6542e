"""The pictures of a SLEAP project: videos, lists of picture files, and embedded ones."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alwatch.errors import SettingsError, VideoError, shown
from alwatch.simulate.labelled_video import check_frames, read_picture
from alwatch.video.process import DecodeLimits, open_video

if TYPE_CHECKING:
    from alwatch.records import ImageArray


def read_frames(
    video: Any, project: Path, indices: Sequence[int]
) -> Iterator[tuple[int, ImageArray]]:
    """Yield frames of a video that a SLEAP project names, those that are there to be read.

    Parameters
    ----------
    video : sleap_io.Video
    project : Path
        The `.slp`.
    indices : sequence of int
        From 0, rising.

    Raises
    ------
    SettingsError
        The video is not there, is shorter than the project says, or is a crop of another.
    VideoError, DecoderDiedError
        It cannot be read.
    """
    if video.backend_metadata.get("crop") is not None:
        raise SettingsError(
            f"{shown(project)} has a video that is a crop of {shown(video.filename)}; save the "
            "project with the whole video."
        )
    if isinstance(video.filename, list):
        return _from_files(video.filename, project, indices)
    path = _located(video.filename, project)
    if video.backend_metadata.get("dataset"):
        return _embedded(video, path, indices)
    return _decoded(path, project, indices)


def _located(stored: str, project: Path) -> Path:
    r"""Where a file is, of which a project, perhaps of another machine, stored the path.

    There, if that is so. Else the longest end of the path that leads to a file from the
    project's folder or one above it; the name alone, from the project's own folder only.
    """
    if os.path.isabs(stored) and os.path.isfile(stored):
        return Path(stored)
    parts = [part for part in re.split(r"[/\\]+", stored) if part]
    above = project.absolute().parents
    for n in range(len(parts), 0, -1):
        for folder in above if n > 1 else above[:1]:
            path = folder.joinpath(*parts[-n:])
            if os.path.isfile(path):
                return path
    raise SettingsError(
        f"{shown(project)} names {shown(stored)}, which is not there, and no {shown(parts[-1])} "
        f"lies beside the project; put it in {shown(above[0])}."
    )


def _decoded(path: Path, project: Path, indices: Sequence[int]) -> Iterator[tuple[int, ImageArray]]:
    with open_video(path, limits=DecodeLimits()) as reader:
        n_frames = reader.probe()[1].n_frames
        check_frames(indices, n_frames, path, project)
        for frame in reader.read(np.array(indices, np.int64)):
            yield frame.index, frame.image


def _from_files(
    files: Sequence[str], project: Path, indices: Sequence[int]
) -> Iterator[tuple[int, ImageArray]]:
    check_frames(indices, len(files), Path(files[0]).parent, project)
    for index in indices:
        path = _located(files[index], project)
        yield index, read_picture(path, what=f"Picture {index} of {shown(project)}")


def _embedded(video: Any, path: Path, indices: Sequence[int]) -> Iterator[tuple[int, ImageArray]]:
    """Pictures in an HDF5 file; predictions on frames that it lacks are passed over."""
    try:
        video.replace_filename(str(path), open=False)
        video.open()
        there = [index for index in indices if video.backend.has_frame(index)]
        for index in there:
            yield index, _as_rgb(video[index])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise VideoError(f"The pictures in {shown(path)} cannot be read: {shown(error)}.") from None
    finally:
        video.close()


def _as_rgb(image: Any) -> ImageArray:
    if image.dtype != np.uint8:
        raise ValueError(f"they are {image.dtype}, not uint8")
    if image.shape[-1] == 1:
        return np.repeat(image, 3, axis=-1)
    return np.asarray(image[..., :3])
