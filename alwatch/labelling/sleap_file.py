"""SLEAP's `.slp` files: read, written back without a loss, and what a person made in them.

sleap-io reads and writes them, as SLEAP itself does since its version 1.5. It opens no video here.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import sleap_io
from sleap_io.io.slp import write_labels

from alwatch.errors import ExportError
from alwatch.labelling.project_folders import is_same_file
from alwatch.records import LabelledFrame, LabelledPoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from alwatch.records import QueuedVideo

_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    MemoryError,
)
_NEW_CENTRE_FORMAT = 1.1  # before it, the centre of pixel 0 was at 0.5


def load_project(path: Path) -> sleap_io.Labels:
    """Read a `.slp` file; points are in pixels, pixel 0 having its centre at 0.

    Raises
    ------
    ExportError
        The file is not a SLEAP project, or one of a newer SLEAP.
    """
    try:
        return sleap_io.load_slp(str(path), open_videos=False)
    except _UNREADABLE as error:
        raise ExportError(
            f"{path} is to be a project of SLEAP; reading it failed: {_line(error)}. Correct the "
            "path, or open it in SLEAP and save it again."
        ) from error


def save_project(labels: sleap_io.Labels, new: Path, old: Path | None) -> None:
    """Write a new `.slp` file, and wait until it is on the disk.

    Parameters
    ----------
    labels : Labels
    new : Path
        Must not exist yet.
    old : Path, optional
        The file that the labels come from, whose labels the new one must still have.

    Raises
    ------
    OSError
        It cannot be written.
    ExportError
        It could not take everything that is in the old one.
    """
    try:
        write_labels(
            str(new),
            labels,
            embed=None,
            verbose=False,
            preserve_unknown=True,
            save_embedding_vectors=True,
        )
        with new.open("rb") as file:
            os.fsync(file.fileno())
        lost = _lost(old, new) if old else ""
    except (OSError, RuntimeError) as error:
        # HDF5 tells of a full disk in many lines, where the number of the error is
        number = getattr(error, "errno", None) or errno.EIO
        raise OSError(number, _line(error) or os.strerror(number)) from error
    if lost:
        raise ExportError(
            f"{old} was to be written again with a queue in it; its {lost} would not be as they "
            "are. Open it in SLEAP, save it under another name, and export to that."
        )


def holds_images(labels: sleap_io.Labels) -> bool:
    """Whether a project is a package, which has images of its own in place of videos."""
    return any(
        str(video.backend_metadata.get("dataset") or "").endswith("/video")
        for video in labels.videos
    )


def new_video(video: QueuedVideo, filename: str, *, is_grey: bool) -> sleap_io.Video:
    """A video as SLEAP keeps it: by its path, nothing of it opened."""
    return sleap_io.Video(
        filename=filename,
        backend_metadata={
            "type": "MediaVideo",
            "shape": [video.n_frames, video.height_px, video.width_px, 1 if is_grey else 3],
            "filename": filename,
            "grayscale": is_grey,
            "bgr": True,
            "dataset": "",
            "input_format": "",
            "fps": video.fps or None,
        },
        open_backend=False,
    )


def find_video(
    labels: sleap_io.Labels, project: Path, video: QueuedVideo, known_as: str | None
) -> sleap_io.Video | None:
    """Find a video among those of a project: by the name it is known as, else by its file.

    A relative path starts at the project's folder, where SLEAP looks for the file's name too.
    """
    whole = [v for v in labels.videos if isinstance(v.filename, str) and not v.is_cropped]
    for candidate in whole:
        if candidate.filename == known_as:
            return candidate
    for candidate in whole:
        places = (
            project.parent / candidate.filename,
            project.parent / Path(candidate.filename).name,
        )
        if any(is_same_file(place, video.path) for place in places):
            return candidate
    return None


def origin_of(video: sleap_io.Video) -> str:
    """The file that a video's frames come from, for an embedded one its source."""
    source = video.original_video or video
    filename = source.filename
    return str(filename[0] if isinstance(filename, list) and filename else filename)


def labelled_frames(
    labels: sleap_io.Labels, project: Path, source: Path, folders: Mapping[str, str]
) -> Iterator[LabelledFrame]:
    """Frames that a person has labelled, or said to be empty.

    A frame is labelled if a person's instance has a visible point; a frame that SLEAP calls
    negative is empty. An animal is known by its track, else by its place in the frame; its name
    is empty where no frame of the project shows more than one and none has a track.
    """
    frames = [frame for frame in labels.labeled_frames if frame.is_negative or frame.user_instances]
    animals = [instance for frame in frames for instance in frame.user_instances]
    is_single = all(len(frame.user_instances) < 2 for frame in frames) and not any(
        instance.track for instance in animals
    )
    for frame in frames:
        points = tuple(
            point
            for number, instance in enumerate(frame.user_instances, start=1)
            for point in _points(instance, "" if is_single else _name(instance, number))
        )
        if points or not frame.user_instances:
            yield LabelledFrame(
                project,
                folders[origin_of(frame.video)],
                int(frame.frame_idx),
                source,
                points,
                state="labelled" if points else "empty",
            )


def _name(instance: sleap_io.Instance, number: int) -> str:
    track = instance.track.name if instance.track else ""
    return track or f"individual{number}"


def _points(instance: sleap_io.Instance, individual: str) -> Iterator[LabelledPoint]:
    places = instance.numpy()
    if instance.skeleton is None:
        return
    for name, (x_px, y_px) in zip(instance.skeleton.node_names, places, strict=True):
        if np.isfinite(x_px) and np.isfinite(y_px):
            yield LabelledPoint(individual, name, float(x_px), float(y_px))


def _lost(old: Path, new: Path) -> str:
    """What a person made that one file holds and the other does not; empty if it holds all."""
    with h5py.File(old, "r") as before, h5py.File(new, "r") as after:
        missing = sorted(set(before) - set(after))
        if missing:
            return " and ".join(missing)
        if _names(before) != _names(after):
            return "tracks"
        shift = 0.5 if before["metadata"].attrs["format_id"] < _NEW_CENTRE_FORMAT else 0.0
        one, other = before["points"][:], after["points"][:]
        is_same = len(one) == len(other) and all(
            np.array_equal(one[axis] - shift, other[axis], equal_nan=True) for axis in ("x", "y")
        )
        return "" if is_same and (one["visible"] == other["visible"]).all() else "labels"


def _names(file: Any) -> list[str]:
    return [str(json.loads(row)[1]) for row in file["tracks_json"][:]]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
