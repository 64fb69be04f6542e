"""Labelled frames of one project or several, as an experiment wants them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alwatch.errors import SettingsError, shown
from alwatch.simulate.deeplabcut_archive import DeepLabCutProject
from alwatch.simulate.labelled_video import LabelledVideo, LabellingProject, told_apart
from alwatch.simulate.sleap_archive import SleapProject

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import ImageArray


@dataclass(frozen=True, slots=True, eq=False)
class LabelledArchive:
    """Frames of one size with a label each.

    Where an animal was cut from a frame, "the original" is that crop, in the frame's own pixels.

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
        Names without suffix, in the order of the projects. One animal of several in a video is
        `<video>/<track>`; no video's own name has a slash.
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


def read_archive(
    projects: Sequence[Path], *, size_px: tuple[int, int], predicted: bool = False
) -> LabelledArchive:
    """Read the labelled frames of projects, with the bodyparts that all of them have.

    A video's name that several projects have is preceded by the project's and a colon.

    Parameters
    ----------
    projects : sequence of Path
        Each the config.yaml of a DeepLabCut project, or the `.slp` of a SLEAP project.
    size_px : (height, width)
        To which the frames are brought, their shape kept.
    predicted : bool
        Take the predictions in SLEAP projects as truth where nobody has labelled.

    Raises
    ------
    SettingsError
        There is no such project, nothing in it is labelled, or the projects have no bodypart in
        common.
    VideoError
        A frame or a video cannot be read.
    """
    opened = _opened(projects, predicted=predicted)
    bodyparts = _common(projects, opened)
    found = [project.videos(bodyparts, size_px=size_px) for project in opened]
    named = [pair for pair in _named(opened, found) if np.isfinite(pair[1].points_px).any()]
    if not named:
        raise SettingsError(
            f"No frame of {_listed(projects)} has a label of {', '.join(bodyparts)}; label some, "
            "or name other projects."
        )
    parts = [video for _, video in named]
    # A frame without any of these bodyparts says nothing about a model.
    seen = [np.isfinite(part.points_px).any(axis=(1, 2)) for part in parts]
    pairs = list(zip(parts, seen, strict=True))
    return LabelledArchive(
        images=np.concatenate([part.images[rows] for part, rows in pairs]),
        points_px=np.concatenate([part.points_px[rows] for part, rows in pairs]),
        scale=np.concatenate([part.scale[rows] for part, rows in pairs]),
        video=np.repeat(np.arange(len(parts)), [rows.sum() for rows in seen]).astype(np.int64),
        frame=np.concatenate([part.frame[rows] for part, rows in pairs]),
        videos=tuple(name for name, _ in named),
        bodyparts=bodyparts,
    )


def read_bodyparts(projects: Sequence[Path], *, predicted: bool = False) -> tuple[str, ...]:
    """Read which bodyparts all projects have, in the order of the first.

    Raises
    ------
    SettingsError
        As `read_archive`.
    """
    return _common(projects, _opened(projects, predicted=predicted))


def _opened(projects: Sequence[Path], *, predicted: bool) -> list[LabellingProject]:
    opened: list[LabellingProject] = []
    for path in projects:
        if path.suffix.lower() in {".yaml", ".yml"}:
            opened.append(DeepLabCutProject(path))
        elif path.suffix.lower() == ".slp":
            opened.append(SleapProject(path, predicted=predicted))
        else:
            raise SettingsError(
                f"{shown(path)} ends in {shown(path.suffix) or 'nothing'}; name the config.yaml "
                "of a DeepLabCut project, or the .slp of a SLEAP project."
            )
    places = [Path(*project.parts).resolve() for project in opened]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise SettingsError(f"{shown(projects[i])} is named twice; name every project once.")
    return opened


def _common(projects: Sequence[Path], opened: Sequence[LabellingProject]) -> tuple[str, ...]:
    common = opened[0].bodyparts
    for path, project in zip(projects[1:], opened[1:], strict=True):
        left = tuple(name for name in common if name in project.bodyparts)
        if not left:
            raise SettingsError(
                f"{shown(path)} has the bodyparts {', '.join(project.bodyparts)}, of which "
                f"none is among those before it ({', '.join(common)}); bodyparts of the same "
                "name are taken for the same, so rename some, or leave the project out."
            )
        common = left
    return common


def _named(
    opened: Sequence[LabellingProject], found: Sequence[list[LabelledVideo]]
) -> list[tuple[str, LabelledVideo]]:
    """All videos, the project's name before those whose name another project has too."""
    names = told_apart([project.parts for project in opened])
    files = [{_file(video) for video in videos} for videos in found]
    return [
        (f"{name}:{video.name}" if sum(_file(video) in other for other in files) > 1
         else video.name, video)
        for name, videos in zip(names, found, strict=True)
        for video in videos
    ]  # fmt: skip


def _file(video: LabelledVideo) -> str:
    return video.name.split("/")[0]


def _listed(projects: Sequence[Path]) -> str:
    return ", ".join(shown(path) for path in projects)
