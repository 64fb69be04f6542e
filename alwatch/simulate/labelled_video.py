"""What a reader of a labelling project gives: videos with their labelled frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from alwatch.errors import SettingsError, VideoError, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alwatch.records import ImageArray


@dataclass(frozen=True, slots=True, eq=False)
class LabelledVideo:
    """The labelled frames of one video, or of one animal in it.

    Parameters
    ----------
    name : str
        `clip`, or `clip/female` of one of its animals.
    images : uint8 array of shape (n, height, width, 3), RGB
    points_px : float32 array of shape (n, k, 2)
        In pixels of the original, or of a crop that was cut from it; NaN where not labelled.
    frame : int64 array of shape (n,)
    scale : float32 array of shape (n,)
        Pixels of `images` for one pixel of the original.
    """

    name: str
    images: ImageArray
    points_px: NDArray[np.float32]
    frame: NDArray[np.int64]
    scale: NDArray[np.float32]


class LabellingProject(Protocol):
    """A project of one labelling tool.

    Parameters
    ----------
    parts : tuple of str
        Its path, which tells it from others; the last part is its name.
    bodyparts : tuple of str
    """

    parts: tuple[str, ...]
    bodyparts: tuple[str, ...]

    def videos(
        self, bodyparts: tuple[str, ...], *, size_px: tuple[int, int]
    ) -> list[LabelledVideo]:
        """Read its labelled frames, with the points of these bodyparts, brought to a size."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class FittedFrame:
    """A labelled frame that was brought to a size."""

    frame: int
    points_px: NDArray[np.float32]
    image: ImageArray
    scale: float

    @classmethod
    def of(
        cls, frame: int, image: ImageArray, points_px: NDArray[np.float32], size_px: tuple[int, int]
    ) -> FittedFrame:
        """Scale a frame into the size, its shape kept, at the top left."""
        height, width = image.shape[:2]
        scale = min(size_px[0] / height, size_px[1] / width)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        canvas = np.zeros((*size_px, 3), np.uint8)
        canvas[: inner[1], : inner[0]] = cv2.resize(image, inner, interpolation=how)
        return cls(frame, points_px, canvas, scale)


def stacked(name: str, frames: Sequence[FittedFrame]) -> LabelledVideo:
    """Make a video of its frames.

    Raises
    ------
    VideoError
        There are none.
    """
    if not frames:
        raise VideoError(f"No labelled frame of the video {shown(name)} can be read.")
    return LabelledVideo(
        name,
        np.stack([frame.image for frame in frames]),
        np.stack([frame.points_px for frame in frames]),
        np.array([frame.frame for frame in frames], np.int64),
        np.array([frame.scale for frame in frames], np.float32),
    )


def told_apart(paths: Sequence[tuple[str, ...]]) -> list[str]:
    """Name paths by their last part, and those of the same name by as many as differ.

    Parameters
    ----------
    paths : sequence of tuple of str
        Their parts.

    Returns
    -------
    list of str
        Parts joined by colons: `clip`, `day1:video`. Equal paths are numbered.
    """
    tails = Counter(path[-n:] for path in set(paths) for n in range(1, len(path) + 1))
    names = []
    for i, path in enumerate(paths):
        n = next((n for n in range(1, len(path)) if tails[path[-n:]] == 1), len(path))
        twins = paths[:i].count(path)
        names.append(":".join(path[-n:]) + (f":{twins + 1}" if twins else ""))
    return names


def read_picture(path: Path, *, what: str) -> ImageArray:
    """Read a picture file as RGB.

    Raises
    ------
    VideoError
        It is not there, or cannot be read.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) if path.is_file() else None
    if image is None:
        raise VideoError(f"{what} is labelled, but its picture {shown(path)} cannot be read.")
    return np.asarray(image, np.uint8)


def check_frames(indices: Sequence[int], n_frames: int, path: Path, labels: Path) -> None:
    """Refuse increasing frame indices that a video does not have.

    Raises
    ------
    SettingsError
        Naming the file with the labels, and the video.
    """
    if indices[0] < 0 or indices[-1] >= n_frames:
        raise SettingsError(
            f"{shown(labels)} has labels in frames {indices[0]} to {indices[-1]} of "
            f"{shown(path)}, which has {n_frames} frames; it seems to be another video."
        )
