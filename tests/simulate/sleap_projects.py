"""Small SLEAP projects, written by the tests with sleap-io."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import sleap_io

BODYPARTS = ("head", "tail")


class Animal(NamedTuple):
    """Where one animal is in one frame: ((x, y) of the head, (x, y) of the tail)."""

    frame: int
    points: Sequence[tuple[float, float]]
    track: str = ""
    predicted: bool = False


def pictures(folder: Path, n: int, *, size_px: tuple[int, int] = (40, 60)) -> list[Path]:
    """Pictures of noise, so that every place in them differs from every other."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(folder.name)))
    paths = []
    for i in range(n):
        paths.append(folder / f"{i:03}.png")
        cv2.imwrite(str(paths[-1]), rng.integers(1, 255, (*size_px, 3), np.uint8))
    return paths


def write_project(
    path: Path,
    videos: dict[Any, Iterable[Animal]],
    *,
    bodyparts: Sequence[str] = BODYPARTS,
) -> Path:
    """Write a `.slp`; the key of `videos` is a path, or a tuple of paths of pictures."""
    skeleton = sleap_io.Skeleton(list(bodyparts))
    tracks: dict[str, Any] = {}
    frames = []
    for filename, animals in videos.items():
        stored = [str(p) for p in filename] if isinstance(filename, tuple) else str(filename)
        video = sleap_io.Video(filename=stored, open_backend=False)
        if isinstance(stored, list):
            video.open()  # else sleap-io writes no list
        by_frame: dict[int, list[Any]] = {}
        for animal in animals:
            kind = sleap_io.PredictedInstance if animal.predicted else sleap_io.Instance
            track = tracks.setdefault(animal.track, sleap_io.Track(animal.track))
            instance = kind.from_numpy(
                np.array(animal.points, float), skeleton, track=track if animal.track else None
            )
            by_frame.setdefault(animal.frame, []).append(instance)
        for index, instances in by_frame.items():
            frames.append(sleap_io.LabeledFrame(video=video, frame_idx=index, instances=instances))
    path.parent.mkdir(parents=True, exist_ok=True)
    sleap_io.save_slp(sleap_io.Labels(frames), str(path), embed=False, verbose=False)
    return path


def part_of(source: Path, path: Path, indices: Sequence[int], video: Path) -> Path:
    """Write some frames of a project, with the path of its one video."""
    labels = sleap_io.load_slp(str(source), open_videos=False)
    labels.videos[0].replace_filename(str(video), open=False)
    labels.labeled_frames = [frame for frame in labels if frame.frame_idx in indices]
    sleap_io.save_slp(labels, str(path), embed=False, verbose=False)
    return path
